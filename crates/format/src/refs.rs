// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of refs, remotes and collections, refspecs, and what a ref file holds.
//!
//! - A **ref name** is one or more components joined by `/`. A component starts with a letter, a
//!   digit or `_`, and goes on with those, `-` and `.`. So no component can be `.` or `..`, be
//!   hidden, or look like an option. "Letter" and "digit" are Unicode's: libostree uses PCRE's `\w`
//!   with Unicode properties on, and takes `ä`, `日本` and `٣`. The set here is that of
//!   [`char::is_alphanumeric`], which holds a few marks more than libostree takes; no name that
//!   libostree takes is refused for its characters.
//! - A name of 64 lower-case hexadecimal digits is refused: it would read as a checksum.
//! - A component has at most 255 bytes, since it becomes a file name, and a name at most
//!   [`MAX_REF_NAME`], since it becomes a path.
//! - A **remote name** is a single such component.
//! - A **collection id** is a reverse DNS name as D-Bus has them: at least two elements joined by
//!   `.`, each with ASCII letters, digits and `_` and not starting with a digit, at most 255 bytes.
//! - A **refspec** is `REF` or `REMOTE:REF`.
//! - A **ref file** holds a commit's 64 hexadecimal digits and a newline.
//!
//! libostree also takes a newline after a ref name (its pattern ends with `$`) and drops it; here
//! that is an error.

use std::fmt;
use std::str::FromStr;

use crate::{Checksum, CommitId};

/// The longest ref name, in bytes: leaves room for the path of the repository within Linux's 4096.
pub const MAX_REF_NAME: usize = 2048;

/// The longest component of a ref name or a remote name, and the longest collection id, in bytes.
pub const MAX_COMPONENT: usize = 255;

/// Why a name is none. The wording is libostree's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a ref name.
    #[error("Invalid ref name {0}")]
    RefName(String),
    /// A ref name that could be taken for a checksum.
    #[error("Rev name '{0}' looks like a checksum")]
    LooksLikeChecksum(String),
    /// Longer than a file system could hold.
    #[error(
        "ref name of {0} bytes is too long (at most {MAX_REF_NAME}, and {MAX_COMPONENT} between slashes)"
    )]
    TooLong(usize),
    /// Not a remote name.
    #[error("Invalid remote name {0}")]
    RemoteName(String),
    /// Not a collection id.
    #[error("Invalid collection ID {0}")]
    CollectionId(String),
    /// Neither `REF` nor `REMOTE:REF`.
    #[error("Invalid refspec {0}")]
    Refspec(String),
    /// A ref file that does not hold a checksum.
    #[error("not a ref file: expected 64 hexadecimal digits and a newline")]
    RefFile,
}

fn is_component(text: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.starts_with(word) && text.chars().all(|c| word(c) || c == '-' || c == '.')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::check(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }
    };
}

name! {
    /// The name of a ref, such as `debian/12/amd64`. Sorted by its bytes, as in a summary.
    RefName
}

impl RefName {
    fn check(text: &str) -> Result<(), Error> {
        if !text.split('/').all(is_component) {
            return Err(Error::RefName(text.to_owned()));
        }
        if text.len() > MAX_REF_NAME || text.split('/').any(|c| c.len() > MAX_COMPONENT) {
            return Err(Error::TooLong(text.len()));
        }
        if Checksum::from_hex(text.as_bytes()).is_some() {
            return Err(Error::LooksLikeChecksum(text.to_owned()));
        }
        Ok(())
    }

    /// The parts between the slashes. Each is safe as a file name.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

name! {
    /// The name of a remote, such as `origin`. Safe as a file name.
    RemoteName
}

impl RemoteName {
    fn check(text: &str) -> Result<(), Error> {
        if is_component(text) && text.len() <= MAX_COMPONENT {
            Ok(())
        } else {
            Err(Error::RemoteName(text.to_owned()))
        }
    }
}

name! {
    /// A collection id, such as `org.debian.Stable`. Safe as a file name.
    CollectionId
}

impl CollectionId {
    fn check(text: &str) -> Result<(), Error> {
        let element = |element: &str| {
            element.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && element
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if text.len() <= MAX_COMPONENT && text.contains('.') && text.split('.').all(element) {
            Ok(())
        } else {
            Err(Error::CollectionId(text.to_owned()))
        }
    }
}

/// `REF`, or `REMOTE:REF` for a ref as it was pulled from a remote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refspec {
    /// The remote; [`None`] for a ref of the repository's own.
    pub remote: Option<RemoteName>,
    /// The ref.
    pub name: RefName,
}

impl fmt::Display for Refspec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(remote) = &self.remote {
            write!(f, "{remote}:")?;
        }
        fmt::Display::fmt(&self.name, f)
    }
}

impl FromStr for Refspec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (remote, name) = match text.split_once(':') {
            Some((remote, name)) => (Some(remote), name),
            None => (None, text),
        };
        let wrong = |error| match error {
            error @ (Error::LooksLikeChecksum(_) | Error::TooLong(_)) => error,
            _ => Error::Refspec(text.to_owned()),
        };
        Ok(Self {
            remote: remote.map(str::parse).transpose().map_err(wrong)?,
            name: name.parse().map_err(wrong)?,
        })
    }
}

impl From<RefName> for Refspec {
    fn from(name: RefName) -> Self {
        Self { remote: None, name }
    }
}

/// Reads a ref file. White space after the digits is let pass, as libostree does.
pub fn parse_ref_file(bytes: &[u8]) -> Result<CommitId, Error> {
    Checksum::from_hex(bytes.trim_ascii_end())
        .map(CommitId)
        .ok_or(Error::RefFile)
}

/// The content of the file of a ref to `commit`.
pub fn write_ref_file(commit: CommitId) -> String {
    format!("{commit}\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";

    #[test]
    fn ref_names() {
        let long = "a".repeat(255);
        let good = [
            "main", "a/b", "a.", "_a", "a-b", "ä", "é/x", "日本", "٣", "a.b/c_d", "a..b", &long,
        ];
        for name in good {
            assert_eq!(name.parse::<RefName>().unwrap().as_str(), name);
        }
        let bad = [
            "", ".a", "-a", "a b", "a//b", "/a", "a/", "a:b", "x/.y", "x/-y", "a+b", "a~b", "a\nb",
            "a\n", "a@b", "a^", "..", "a/../b", "a\0", "a‿b", "a\\b", ".",
        ];
        for name in bad {
            let error = name.parse::<RefName>().unwrap_err();
            assert_eq!(error.to_string(), format!("Invalid ref name {name}"));
        }
    }

    #[test]
    fn checksums_and_long_names_are_no_ref_names() {
        let error = HEX.parse::<RefName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Rev name '{HEX}' looks like a checksum")
        );
        assert!(HEX.to_uppercase().parse::<RefName>().is_ok());
        assert!(format!("x/{HEX}").parse::<RefName>().is_ok());
        assert_eq!("a".repeat(256).parse::<RefName>(), Err(Error::TooLong(256)));
        let deep = "a/".repeat(1024) + "a";
        assert_eq!(deep.parse::<RefName>(), Err(Error::TooLong(2049)));
    }

    #[test]
    fn components_of_a_name() {
        let name: RefName = "debian/12/amd64".parse().unwrap();
        assert_eq!(
            name.components().collect::<Vec<_>>(),
            ["debian", "12", "amd64"]
        );
    }

    #[test]
    fn remote_names() {
        for name in ["origin", "ö", "a.b-c_d", "1"] {
            assert!(name.parse::<RemoteName>().is_ok(), "{name}");
        }
        for name in [
            "",
            "a b",
            "a/b",
            ".x",
            "..",
            "a\"b",
            "a:b",
            &"a".repeat(256),
        ] {
            let error = name.parse::<RemoteName>().unwrap_err();
            assert_eq!(error.to_string(), format!("Invalid remote name {name}"));
        }
    }

    #[test]
    fn collection_ids() {
        let longest = format!("{}.abcd", "a".repeat(250));
        for id in ["org.foo", "_a._b", "a.b.c1", &longest] {
            assert!(id.parse::<CollectionId>().is_ok(), "{id}");
        }
        let too_long = format!("{}.abcde", "a".repeat(250));
        let bad = [
            "",
            "org",
            "org.foo-bar",
            "org.1a",
            "org..a",
            ".org.a",
            "org.a.",
            "örg.a",
            "a/b.c",
            "org.a b",
            "-a.b",
            "a.b\n",
            &too_long,
        ];
        for id in bad {
            let error = id.parse::<CollectionId>().unwrap_err();
            assert_eq!(error.to_string(), format!("Invalid collection ID {id}"));
        }
    }

    #[test]
    fn refspecs() {
        let spec: Refspec = "origin:a/b".parse().unwrap();
        assert_eq!(spec.remote.as_ref().unwrap().as_str(), "origin");
        assert_eq!(spec.name.as_str(), "a/b");
        assert_eq!(spec.to_string(), "origin:a/b");
        assert_eq!("a/b".parse::<Refspec>().unwrap().to_string(), "a/b");
        for text in ["", ":x", "o:", "a:b:c", "o/p:x", ".o:x", "a b", "o:x\n"] {
            let error = text.parse::<Refspec>().unwrap_err();
            assert_eq!(error.to_string(), format!("Invalid refspec {text}"));
        }
    }

    #[test]
    fn ref_files() {
        let id: CommitId = HEX.parse().unwrap();
        assert_eq!(write_ref_file(id), format!("{HEX}\n"));
        for text in [HEX.to_owned(), write_ref_file(id), format!("{HEX}\r\n")] {
            assert_eq!(parse_ref_file(text.as_bytes()), Ok(id));
        }
        for text in ["", "\n", &HEX[1..], &format!(" {HEX}"), &HEX.to_uppercase()] {
            assert_eq!(parse_ref_file(text.as_bytes()), Err(Error::RefFile));
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "\\PC*|[a-z0-9./:_-]{0,12}") {
            if let Ok(spec) = text.parse::<Refspec>() {
                prop_assert_eq!(spec.to_string(), text);
            }
        }

        /// A name never leads out of the directory it is put into.
        #[test]
        fn components_are_plain_file_names(text in "\\PC*|[a-z0-9./_-]{0,12}") {
            if let Ok(name) = text.parse::<RefName>() {
                for component in name.components() {
                    prop_assert!(!component.is_empty() && !component.starts_with('.'));
                    prop_assert!(!component.contains(['/', '\0']));
                }
            }
        }
    }
}
