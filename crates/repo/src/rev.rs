// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revisions: what a user may write where a commit is meant.

use oxtree_format::refs::{RefName, Refspec, RemoteName};
use oxtree_format::{Checksum, Commit, CommitId, ObjectKind};

use crate::refs::ReadRef;
use crate::{Error, Repo, Result};

impl Repo {
    /// The commit that `rev` means: a checksum, a unique beginning of one, `REF`, `REMOTE:REF`, `REMOTE:CHECKSUM`,
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
        // A commit is the same whichever remote it is from, and whether there is such a remote or not.
        if let Some((remote, checksum)) = rev.split_once(':')
            && let Some(checksum) = Checksum::from_hex(checksum.as_bytes())
            && remote.parse::<RemoteName>().is_ok()
        {
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
        let mut damaged = None;
        for place in self.places_of(refspec)? {
            match ReadRef::of(self.read_ref(&place))? {
                ReadRef::At(commit) => return Ok(Some(commit)),
                ReadRef::Missing => {}
                ReadRef::Damaged(one) => damaged = damaged.or(Some(one)),
            }
        }
        damaged.map_or(Ok(None), |damaged| Err(Error::DamagedRef(damaged)))
    }

    /// Where a ref is looked for, in this order.
    fn places_of(&self, refspec: &Refspec) -> Result<Vec<Refspec>> {
        let mut places = vec![refspec.clone()];
        if refspec.remote.is_some() {
            return Ok(places);
        }
        if let Some((remote, below)) = refspec.name.as_str().split_once('/')
            && let (Ok(remote), Ok(name)) = (remote.parse(), below.parse::<RefName>())
        {
            places.push(Refspec {
                remote: Some(remote),
                name,
            });
        }
        let remotes = self.remotes_with_refs()?.into_iter();
        places.extend(remotes.map(|remote| Refspec {
            remote: Some(remote),
            name: refspec.name.clone(),
        }));
        Ok(places)
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
