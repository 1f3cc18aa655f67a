// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a user asks for: `REF`, `REF@COMMIT`, or the checksum of a commit.

use oxtree_format::refs::RefName;
use oxtree_format::{Checksum, CommitId};

use super::wanted::Wanted;
use crate::error::{Result, invalid};

/// What a user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RefRequest {
    Commit(CommitId),
    /// A ref, which is to be set to this commit instead of where it is.
    Ref(RefName, Option<CommitId>),
}

impl RefRequest {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Some(checksum) = Checksum::from_hex(text.as_bytes()) {
            return Ok(Self::Commit(CommitId(checksum)));
        }
        let (name, commit) = match text.split_once('@') {
            None => (text, None),
            Some((name, checksum)) => {
                let parsed = Checksum::from_hex(checksum.as_bytes());
                let wrong = || invalid(format!("Invalid rev {checksum}"));
                (name, Some(CommitId(parsed.ok_or_else(wrong)?)))
            }
        };
        let name = name.parse().map_err(oxtree_repo::Error::invalid)?;
        Ok(Self::Ref(name, commit))
    }

    /// Whether it has to be asked where a ref is.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Ref(_, None))
    }

    /// The commit that is meant; `find` knows where refs are.
    pub(crate) fn resolve(
        &self,
        find: impl FnOnce(&RefName) -> Result<CommitId>,
    ) -> Result<Wanted> {
        let (name, commit) = match self {
            Self::Commit(commit) => (None, *commit),
            Self::Ref(name, Some(commit)) => (Some(name.clone()), *commit),
            Self::Ref(name, None) => (Some(name.clone()), find(name)?),
        };
        Ok(Wanted { name, commit })
    }
}
