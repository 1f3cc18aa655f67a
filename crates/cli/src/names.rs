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

/// A program of ostree-push 1.2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The pusher.
    Push,
    /// The receiver, or with `--repo` the one for old pushers.
    Receive,
    /// The receiver.
    Receive1,
    /// The receiver for pushers before version 1.
    Receive0,
    /// A login shell that only receives.
    Shell,
}

impl Program {
    const ALL: [Self; 5] = [
        Self::Push,
        Self::Receive,
        Self::Receive1,
        Self::Receive0,
        Self::Shell,
    ];

    /// The original's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Push => "ostree-push",
            Self::Receive => "ostree-receive",
            Self::Receive1 => "ostree-receive-1",
            Self::Receive0 => "ostree-receive-0",
            Self::Shell => "ostree-receive-shell",
        }
    }
}

/// The names that are links to the binary, besides `ostree`.
pub(crate) fn links() -> impl Iterator<Item = &'static str> {
    let programs = Program::ALL.into_iter().map(Program::name);
    programs.chain([UPLOAD, "rofiles-fuse"])
}

/// The name of the Go program that publishes over HTTP.
const UPLOAD: &str = "ostree-upload";

/// What the binary is to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// The command with its subcommands; the words begin with the command's own name.
    Command(Face, Vec<OsString>),
    /// A program of ostree-push, with its arguments.
    Original(Program, Vec<OsString>),
    /// ostree-upload, with its arguments.
    Upload(Vec<OsString>),
}

/// Looks at the name the binary was called by. sshd puts a dash before that of a login shell.
pub(crate) fn from_argv(argv: impl Iterator<Item = OsString>) -> Called {
    let mut argv = argv;
    let name = argv.next().unwrap_or_default();
    let name = Path::new(&name).file_name().and_then(OsStr::to_str);
    let name = name.map_or("", |name| name.strip_prefix('-').unwrap_or(name));
    if let Some(program) = Program::ALL.iter().find(|program| program.name() == name) {
        return Called::Original(*program, argv.collect());
    }
    if name == UPLOAD {
        return Called::Upload(argv.collect());
    }
    let (face, command) = match name {
        "ostree" => (Face::Ostree, None),
        "rofiles-fuse" => (Face::Oxtree, Some("rofiles-fuse")),
        _ => (Face::Oxtree, None),
    };
    let words = [face.name()].into_iter().chain(command).map(OsString::from);
    Called::Command(face, words.chain(argv).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(argv: &[&str]) -> Called {
        from_argv(argv.iter().map(OsString::from))
    }

    #[test]
    fn the_name_decides() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let command = |face, list: &[&str]| Called::Command(face, words(list));
        let original = |program, list: &[&str]| Called::Original(program, words(list));
        assert_eq!(
            of(&["/usr/bin/ostree", "refs"]),
            command(Face::Ostree, &["ostree", "refs"])
        );
        assert_eq!(
            of(&["rofiles-fuse", "x"]),
            command(Face::Oxtree, &["oxtree", "rofiles-fuse", "x"])
        );
        assert_eq!(
            of(&["ostree-push", "-v", "x"]),
            original(Program::Push, &["-v", "x"])
        );
        assert_eq!(
            of(&["/bin/ostree-upload", "push"]),
            Called::Upload(words(&["push"]))
        );
        assert_eq!(of(&["./ostree-receive"]), original(Program::Receive, &[]));
        assert_eq!(
            of(&["-ostree-receive-shell"]),
            original(Program::Shell, &[])
        );
        assert_eq!(of(&["anything"]), command(Face::Oxtree, &["oxtree"]));
        assert_eq!(of(&[]), command(Face::Oxtree, &["oxtree"]));
    }
}
