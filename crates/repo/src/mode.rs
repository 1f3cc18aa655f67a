// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways in which a repository can store file objects.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// How a repository stores file objects. All other objects are the same in every mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Deflated, header inside (`.filez`): for serving over HTTP.
    Archive,
    /// Files as they are, owner, mode and extended attributes included: for checkouts by hard
    /// link as root.
    Bare,
    /// Files owned by the repository's owner, metadata in the `user.ostreemeta` attribute.
    BareUser,
    /// Files owned by the repository's owner; owner and extended attributes are not stored.
    BareUserOnly,
    /// As [`Mode::Bare`] with the extended attributes in objects of their own. Read only.
    BareSplitXattrs,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 5] = [
        Self::Archive,
        Self::Bare,
        Self::BareUser,
        Self::BareUserOnly,
        Self::BareSplitXattrs,
    ];

    /// The value of `core.mode` in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive-z2",
            Self::Bare => "bare",
            Self::BareUser => "bare-user",
            Self::BareUserOnly => "bare-user-only",
            Self::BareSplitXattrs => "bare-split-xattrs",
        }
    }

    /// True for [`Mode::Archive`].
    pub fn is_archive(self) -> bool {
        self == Self::Archive
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "archive" => Ok(Self::Archive),
            text => Self::ALL
                .into_iter()
                .find(|mode| mode.as_str() == text)
                .ok_or_else(|| {
                    Error::Invalid(format!("Invalid mode '{text}' in repository configuration"))
                }),
        }
    }
}
