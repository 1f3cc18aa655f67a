// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names the binary answers to.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Whose manners the command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// Its own: hints with errors, exit code 2 for wrong usage.
    Oxtree,
    /// libostree's: what its command prints, as scripts expect it; exit code 1 for everything.
    Ostree,
}

impl Face {
    /// The name to be used in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Oxtree => "oxtree",
            Self::Ostree => "ostree",
        }
    }

    /// The exit code for a command line that makes no sense.
    pub(crate) fn usage_code(self) -> u8 {
        match self {
            Self::Oxtree => 2,
            Self::Ostree => 1,
        }
    }
}

/// Looks at the name the binary was called by. `ostree-push ARGS` is `oxtree push ARGS`.
pub(crate) fn from_argv(argv: impl Iterator<Item = OsString>) -> (Face, Vec<OsString>) {
    let mut argv = argv;
    let name = argv.next().unwrap_or_default();
    let name = Path::new(&name).file_name().and_then(OsStr::to_str);
    let (face, command) = match name {
        Some("ostree") => (Face::Ostree, None),
        Some("ostree-push") => (Face::Oxtree, Some("push")),
        Some("ostree-receive") => (Face::Oxtree, Some("receive")),
        Some("rofiles-fuse") => (Face::Oxtree, Some("rofiles-fuse")),
        _ => (Face::Oxtree, None),
    };
    let words = [face.name()].into_iter().chain(command).map(OsString::from);
    (face, words.chain(argv).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(argv: &[&str]) -> (Face, Vec<OsString>) {
        from_argv(argv.iter().map(OsString::from))
    }

    #[test]
    fn the_name_decides() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            of(&["/usr/bin/ostree", "refs"]),
            (Face::Ostree, words(&["ostree", "refs"]))
        );
        assert_eq!(
            of(&["ostree-push", "-v", "x"]),
            (Face::Oxtree, words(&["oxtree", "push", "-v", "x"]))
        );
        assert_eq!(
            of(&["./ostree-receive"]),
            (Face::Oxtree, words(&["oxtree", "receive"]))
        );
        assert_eq!(of(&["anything"]), (Face::Oxtree, words(&["oxtree"])));
        assert_eq!(of(&[]), (Face::Oxtree, words(&["oxtree"])));
    }
}
