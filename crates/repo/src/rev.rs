// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revisions: what a user may write where a commit is meant.

use oxtree_format::refs::{RefName, Refspec};
use oxtree_format::{Checksum, Commit, CommitId, ObjectKind};

use crate::{Error, Repo, Result};

impl Repo {
    /// The commit that `rev` means: a checksum, a unique beginning of one, `REF`, `REMOTE:REF`,
    /// each with any number of `^` for the parent.
    pub fn resolve_rev(&self, rev: &str) -> Result<CommitId> {
        self.try_resolve_rev(rev)?.ok_or_else(|| {
            let name = rev.trim_end_matches('^');
            Error::RefNotFound(if name.is_empty() { rev } else { name }.to_owned())
        })
    }

    /// As [`Repo::resolve_rev`], with [`None`] if there is no such ref.
    pub fn try_resolve_rev(&self, rev: &str) -> Result<Option<CommitId>> {
        if let Some(child) = rev.strip_suffix('^') {
            let Some(child) = self.try_resolve_rev(child)? else {
                return Ok(None);
            };
            let bytes = self.load_commit(child)?;
            let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(child, error))?;
            return commit.parent.map(Some).ok_or(Error::NoParent(child));
        }
        if let Some(checksum) = Checksum::from_hex(rev.as_bytes()) {
            return Ok(Some(CommitId(checksum)));
        }
        // libostree asks for prefixes before refs, wherever a word could be one.
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if (1..64).contains(&rev.len())
            && rev.bytes().all(is_hex)
            && let Some(commit) = self.unique_prefix(rev)?
        {
            return Ok(Some(commit));
        }
        let refspec: Refspec = rev
            .parse()
            .map_err(|error: oxtree_format::refs::Error| Error::Invalid(error.to_string()))?;
        self.resolve_refspec(&refspec)
    }

    /// A plain name is looked for among the local refs, as `REMOTE/NAME`, in every remote, and in
    /// the parent repository.
    fn resolve_refspec(&self, refspec: &Refspec) -> Result<Option<CommitId>> {
        if let Some(commit) = self.read_ref(refspec)? {
            return Ok(Some(commit));
        }
        if refspec.remote.is_some() {
            return Ok(None);
        }
        let name = refspec.name.as_str();
        if let Some((remote, below)) = name.split_once('/') {
            let parts = (remote.parse().ok(), below.parse::<RefName>().ok());
            if let (Some(remote), Some(name)) = parts
                && let Some(commit) = self.read_ref(&Refspec {
                    remote: Some(remote),
                    name,
                })?
            {
                return Ok(Some(commit));
            }
        }
        for remote in self.remotes_with_refs()? {
            let refspec = Refspec {
                remote: Some(remote),
                name: refspec.name.clone(),
            };
            if let Some(commit) = self.read_ref(&refspec)? {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    fn unique_prefix(&self, prefix: &str) -> Result<Option<CommitId>> {
        let mut found: Vec<CommitId> = self
            .objects_with_prefix(prefix)?
            .into_iter()
            .filter(|object| object.kind == ObjectKind::Commit)
            .map(|object| CommitId(object.checksum))
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some(commit), true) => Ok(Some(commit)),
            (None, _) => Ok(None),
            _ => Err(Error::Invalid(format!("Refspec '{prefix}' not unique"))),
        }
    }

    /// The only commit of the repository.
    pub fn single_commit(&self) -> Result<CommitId> {
        let mut commits = self
            .list_objects()?
            .into_iter()
            .filter(|o| o.kind == ObjectKind::Commit);
        match (commits.next(), commits.next()) {
            (Some(commit), None) => Ok(CommitId(commit.checksum)),
            (None, _) => Err(Error::Invalid("No commit objects found".to_owned())),
            _ => Err(Error::Invalid("Multiple commit objects found".to_owned())),
        }
    }
}
