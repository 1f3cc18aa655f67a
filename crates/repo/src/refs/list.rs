// SPDX-License-Identifier: MIT OR Apache-2.0
//! Listing refs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oxtree_format::refs::{self, CollectionId, RefName, Refspec, RemoteName};
use oxtree_format::{CommitId, keyfile};
use rayon::prelude::*;
use rustix::fs::FileType;

use super::damaged::{DamagedRef, ReadRef, RefList};
use super::{MAX_REF_FILE, parse_file, ref_path};
use crate::{Error, Repo, Result, fs, remotes};

/// Deeper folders of refs are not looked into.
pub(super) const MAX_DEPTH: usize = 128;

/// A folder with fewer entries is read by one thread.
const PARALLEL: usize = 64;

/// A folder of refs that is being read.
struct Folder<'a> {
    dir: OwnedFd,
    /// Below the repository.
    path: &'a str,
    remote: Option<&'a RemoteName>,
    /// What the names of the refs in it begin with.
    prefix: &'a str,
    depth: usize,
}

/// What was found below a folder, in no particular order.
#[derive(Default)]
struct Found {
    refs: Vec<(Refspec, CommitId)>,
    damaged: Vec<DamagedRef>,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.refs.extend(other.refs);
        self.damaged.extend(other.damaged);
    }

    /// Adds what reading a ref has given.
    fn add_ref(&mut self, refspec: Refspec, read: Result<Option<CommitId>>) -> Result<()> {
        match ReadRef::of(read)? {
            ReadRef::At(commit) => self.refs.push((refspec, commit)),
            ReadRef::Missing => {}
            ReadRef::Damaged(damaged) => self.damaged.push(damaged),
        }
        Ok(())
    }

    fn into_list(self) -> RefList {
        let mut damaged = self.damaged;
        damaged.sort_unstable();
        RefList {
            refs: self.refs.into_iter().collect(),
            damaged,
        }
    }
}

impl Repo {
    /// All refs that are `prefix` or below it and can be read, sorted by name. Without a prefix local and
    /// remote refs. A prefix may begin with `REMOTE:`.
    pub fn list_refs(&self, prefix: Option<&str>) -> Result<BTreeMap<Refspec, CommitId>> {
        Ok(self.survey_refs(prefix)?.refs)
    }

    /// [`Repo::list_refs`], with the refs that cannot be read. Who deletes what no ref leads to has to ask
    /// for these.
    pub fn survey_refs(&self, prefix: Option<&str>) -> Result<RefList> {
        let mut found = match self.parent() {
            Some(parent) => parent.survey_refs(prefix)?,
            None => RefList::default(),
        };
        let Some(prefix) = prefix else {
            found.damaged.extend(self.missing_folders()?);
            found.extend(self.refs_below("refs/heads", None)?, |name| name);
            for remote in self.remotes_with_refs()? {
                let below = self.refs_below(&format!("refs/remotes/{remote}"), Some(&remote))?;
                found.extend(below, |name| name);
            }
            return Ok(found);
        };
        // Flatpak writes `REMOTE:.` for that.
        let whole_remote = prefix.strip_suffix(":.").or(prefix.strip_suffix(':'));
        if let Some(remote) = whole_remote {
            let remote = remote.parse().map_err(Error::invalid::<refs::Error>)?;
            let below = self.refs_below(&format!("refs/remotes/{remote}"), Some(&remote))?;
            found.extend(below, |name| name);
            return Ok(found);
        }
        let exact: Refspec = prefix.parse().map_err(Error::invalid::<refs::Error>)?;
        let path = ref_path(&exact);
        let mut own = Found::default();
        match ReadRef::of(self.read_ref_file(&path))? {
            ReadRef::At(commit) => own.refs.push((exact, commit)),
            ReadRef::Damaged(damaged) => own.damaged.push(damaged),
            ReadRef::Missing => {
                let Refspec { remote, name } = exact;
                let at = (self.dir(), path.as_str());
                own = self.collect_below(at, &path, remote.as_ref(), name.as_str(), 0)?;
            }
        }
        found.extend(own.into_list(), |name| name);
        Ok(found)
    }

    /// The refs that cannot be used: they cannot be read, or their commits are missing. Dangling aliases are none
    /// of them.
    pub fn unusable_refs(&self) -> Result<Vec<DamagedRef>> {
        let found = self.survey_refs(None)?;
        let mut unusable = found.damaged;
        unusable.retain(|one| !one.is_dangling);
        for (refspec, commit) in found.refs {
            if !self.has_object(&commit.object())? {
                let reason = Error::not_found(commit);
                unusable.push(DamagedRef::new(&ref_path(&refspec), reason));
            }
        }
        Ok(unusable)
    }

    /// The folders without which nobody knows what refs there were.
    fn missing_folders(&self) -> Result<Vec<DamagedRef>> {
        let has_remotes = self
            .config()
            .file
            .groups()
            .any(|group| group.starts_with("remote \""));
        let mut missing = Vec::new();
        for (folder, counts) in [("refs/heads", true), ("refs/remotes", has_remotes)] {
            let stat = fs::stat(self.dir(), folder);
            let stat = stat.map_err(Error::io("looking at", self.path().join(folder)))?;
            if stat.is_none() && counts {
                missing.push(DamagedRef::new(folder, "the folder is missing"));
            }
        }
        Ok(missing)
    }

    /// The local refs of this very repository that can be read, sorted by name.
    pub fn local_refs(&self) -> Result<BTreeMap<RefName, CommitId>> {
        Ok(self.survey_local_refs()?.refs)
    }

    /// [`Repo::local_refs`], with those that cannot be read.
    pub fn survey_local_refs(&self) -> Result<RefList<RefName>> {
        let mut found = RefList::default();
        found.extend(self.refs_below("refs/heads", None)?, |refspec| refspec.name);
        Ok(found)
    }

    /// The refs that mirror other collections and can be read: collection, name, commit.
    pub fn mirror_refs(&self) -> Result<BTreeMap<(CollectionId, RefName), CommitId>> {
        Ok(self.survey_mirror_refs()?.refs)
    }

    /// [`Repo::mirror_refs`], with those that cannot be read.
    pub fn survey_mirror_refs(&self) -> Result<RefList<(CollectionId, RefName)>> {
        let mut found = RefList::default();
        for name in self.names_in("refs/mirrors")? {
            let Ok(collection) = name.parse::<CollectionId>() else {
                continue;
            };
            let below = self.refs_below(&format!("refs/mirrors/{collection}"), None)?;
            found.extend(below, |refspec| (collection.clone(), refspec.name));
        }
        Ok(found)
    }

    /// The remotes that have refs here.
    pub fn remotes_with_refs(&self) -> Result<Vec<RemoteName>> {
        let names = self.names_in("refs/remotes")?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn refs_below(&self, base: &str, remote: Option<&RemoteName>) -> Result<RefList> {
        let found = self.collect_below((self.dir(), base), base, remote, "", 0)?;
        Ok(found.into_list())
    }

    /// What is below the folder `name` of `at`. Folders of many are read by all threads.
    fn collect_below(
        &self,
        (at, name): (BorrowedFd<'_>, &str),
        path: &str,
        remote: Option<&RemoteName>,
        prefix: &str,
        depth: usize,
    ) -> Result<Found> {
        let unreadable = |error| match self.unreadable(path, error) {
            Error::DamagedRef(damaged) => Ok(Found {
                refs: Vec::new(),
                damaged: vec![damaged],
            }),
            error => Err(error),
        };
        let dir = match fs::open_dir(at, name) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Found::default());
            }
            Err(error) => return unreadable(error),
            Ok(dir) => dir,
        };
        if depth > MAX_DEPTH {
            return Ok(Found::default());
        }
        let entries = match fs::entries_once(&dir) {
            Ok(entries) => entries,
            Err(error) => return unreadable(error),
        };
        let folder = Folder {
            dir,
            path,
            remote,
            prefix,
            depth,
        };
        let mut found = Found::default();
        if entries.len() < PARALLEL {
            for (name, kind) in entries {
                found.add(self.collect_entry(&folder, name, kind)?);
            }
            return Ok(found);
        }
        let all: Vec<Found> = entries
            .into_par_iter()
            .with_min_len(PARALLEL / 4)
            .map(|(name, kind)| self.collect_entry(&folder, name, kind))
            .collect::<Result<_>>()?;
        for one in all {
            found.add(one);
        }
        Ok(found)
    }

    fn collect_entry(&self, folder: &Folder<'_>, name: Vec<u8>, kind: FileType) -> Result<Found> {
        // Temporary files and what cannot be a ref are passed over, as libostree does.
        let Ok(name) = String::from_utf8(name) else {
            return Ok(Found::default());
        };
        let below = format!("{}/{name}", folder.path);
        let full = match folder.prefix {
            "" => name.clone(),
            prefix => format!("{prefix}/{name}"),
        };
        let Ok(full) = full.parse::<RefName>() else {
            return Ok(Found::default());
        };
        let io = || Error::io("reading", self.path().join(&below));
        let kind = match kind {
            FileType::Unknown => fs::stat(&folder.dir, &*name)
                .map_err(io())?
                .map_or(FileType::Unknown, |stat| {
                    FileType::from_raw_mode(stat.st_mode)
                }),
            kind => kind,
        };
        if kind.is_dir() {
            return self.collect_below(
                (folder.dir.as_fd(), &name),
                &below,
                folder.remote,
                full.as_str(),
                folder.depth + 1,
            );
        }
        let bytes = match kind.is_file() {
            // Most are, and no aliases: no need to find out what they are.
            true => fs::read_file(&folder.dir, &*name, MAX_REF_FILE),
            false => Ok(None),
        };
        let read = match bytes {
            Ok(Some(bytes)) => parse_file(&below, &bytes).map(Some),
            _ => self.read_ref_file(&below),
        };
        let refspec = Refspec {
            remote: folder.remote.cloned(),
            name: full,
        };
        let mut found = Found::default();
        found.add_ref(refspec, read)?;
        Ok(found)
    }

    /// The aliases among the local refs, with the ref that each names.
    pub fn list_aliases(&self) -> Result<BTreeMap<RefName, RefName>> {
        let mut aliases = BTreeMap::new();
        let local = self.survey_local_refs()?;
        let damaged = local.damaged.iter().filter_map(DamagedRef::refspec);
        let damaged: Vec<RefName> = damaged.map(|refspec| refspec.name).collect();
        for name in local.refs.into_keys().chain(damaged) {
            // An alias that leads nowhere is none.
            let target = match self.alias_target(&format!("refs/heads/{name}")) {
                Err(Error::DamagedRef(_)) => None,
                target => target?,
            };
            let target = target
                .as_deref()
                .and_then(|path| path.strip_prefix("refs/heads/"))
                .and_then(|target| target.parse().ok());
            aliases.extend(target.map(|target| (name, target)));
        }
        Ok(aliases)
    }

    /// The refs that are in a collection: mirrors of others, the local ones if the repository has a
    /// collection id itself, and those of remotes that have one. Those that cannot be read are left out.
    pub fn collection_refs(&self) -> Result<BTreeMap<(CollectionId, RefName), CommitId>> {
        Ok(self.survey_collection_refs()?.refs)
    }

    /// [`Repo::collection_refs`], with those that cannot be read.
    pub fn survey_collection_refs(&self) -> Result<RefList<(CollectionId, RefName)>> {
        let mut found = self.survey_mirror_refs()?;
        if let Some(own) = &self.config().collection_id {
            found.extend(self.survey_local_refs()?, |name| (own.clone(), name));
        }
        for remote in self.remotes_with_refs()? {
            let section = remotes::section(&remote);
            let id = self.config().file.string(&section, "collection-id");
            let Some(id) = id.map_err(Error::invalid::<keyfile::Error>)? else {
                continue;
            };
            let id: CollectionId = id.parse().map_err(Error::invalid::<refs::Error>)?;
            let below = self.refs_below(&format!("refs/remotes/{remote}"), None)?;
            found.extend(below, |refspec| (id.clone(), refspec.name));
        }
        Ok(found)
    }
}
