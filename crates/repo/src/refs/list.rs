// SPDX-License-Identifier: MIT OR Apache-2.0
//! Listing refs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oxtree_format::refs::{self, CollectionId, RefName, Refspec, RemoteName};
use oxtree_format::{CommitId, keyfile};
use rayon::prelude::*;
use rustix::fs::FileType;

use super::{MAX_REF_FILE, ref_path};
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

impl Repo {
    /// All refs that are `prefix` or below it, sorted by name. Without a prefix local and remote
    /// refs. A prefix may begin with `REMOTE:`.
    pub fn list_refs(&self, prefix: Option<&str>) -> Result<BTreeMap<Refspec, CommitId>> {
        let mut refs = BTreeMap::new();
        if let Some(parent) = self.parent() {
            refs = parent.list_refs(prefix)?;
        }
        let Some(prefix) = prefix else {
            // Who takes an incomplete list for all there is may delete what it lacks.
            for folder in ["refs/heads", "refs/remotes"] {
                let path = self.path().join(folder);
                fs::open_dir(self.dir(), folder).map_err(Error::io("opendir", path))?;
            }
            self.collect_refs("refs/heads", None, &mut refs)?;
            for remote in self.remotes_with_refs()? {
                self.collect_refs(&format!("refs/remotes/{remote}"), Some(&remote), &mut refs)?;
            }
            return Ok(refs);
        };
        // Flatpak writes `REMOTE:.` for that.
        let whole_remote = prefix.strip_suffix(":.").or(prefix.strip_suffix(':'));
        if let Some(remote) = whole_remote {
            let remote = remote.parse().map_err(Error::invalid::<refs::Error>)?;
            self.collect_refs(&format!("refs/remotes/{remote}"), Some(&remote), &mut refs)?;
            return Ok(refs);
        }
        let exact: Refspec = prefix.parse().map_err(Error::invalid::<refs::Error>)?;
        let path = ref_path(&exact);
        if let Some(commit) = self.read_ref_file(&path)? {
            refs.insert(exact, commit);
        } else {
            let Refspec { remote, name } = exact;
            refs.extend(self.collect_below(
                self.dir(),
                &path,
                &path,
                remote.as_ref(),
                name.as_str(),
                0,
            )?);
        }
        Ok(refs)
    }

    /// The local refs of this very repository, sorted by name.
    pub fn local_refs(&self) -> Result<BTreeMap<RefName, CommitId>> {
        let mut refs = BTreeMap::new();
        self.collect_refs("refs/heads", None, &mut refs)?;
        Ok(refs
            .into_iter()
            .map(|(refspec, commit)| (refspec.name, commit))
            .collect())
    }

    /// The refs that mirror other collections: collection, name, commit.
    pub fn mirror_refs(&self) -> Result<BTreeMap<(CollectionId, RefName), CommitId>> {
        let mut found = BTreeMap::new();
        for name in self.names_in("refs/mirrors")? {
            let Ok(collection) = name.parse::<CollectionId>() else {
                continue;
            };
            let mut refs = BTreeMap::new();
            self.collect_refs(&format!("refs/mirrors/{collection}"), None, &mut refs)?;
            found.extend(
                refs.into_iter()
                    .map(|(refspec, id)| ((collection.clone(), refspec.name), id)),
            );
        }
        Ok(found)
    }

    /// The remotes that have refs here.
    pub fn remotes_with_refs(&self) -> Result<Vec<RemoteName>> {
        let names = self.names_in("refs/remotes")?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn collect_refs(
        &self,
        base: &str,
        remote: Option<&RemoteName>,
        refs: &mut BTreeMap<Refspec, CommitId>,
    ) -> Result<()> {
        refs.extend(self.collect_below(self.dir(), base, base, remote, "", 0)?);
        Ok(())
    }

    /// What is below the folder `name` of `at`, in no particular order. Folders of many are read by
    /// all threads.
    fn collect_below(
        &self,
        at: BorrowedFd<'_>,
        name: &str,
        path: &str,
        remote: Option<&RemoteName>,
        prefix: &str,
        depth: usize,
    ) -> Result<Vec<(Refspec, CommitId)>> {
        let io = |path: &str| Error::io("reading", self.path().join(path));
        let dir = match fs::open_dir(at, name) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            dir => dir.map_err(io(path))?,
        };
        if depth > MAX_DEPTH {
            return Ok(Vec::new());
        }
        let entries = fs::entries_once(&dir).map_err(io(path))?;
        let folder = Folder {
            dir,
            path,
            remote,
            prefix,
            depth,
        };
        if entries.len() < PARALLEL {
            let mut found = Vec::new();
            for (name, kind) in entries {
                found.extend(self.collect_entry(&folder, name, kind)?);
            }
            return Ok(found);
        }
        let found: Vec<Vec<_>> = entries
            .into_par_iter()
            .with_min_len(PARALLEL / 4)
            .map(|(name, kind)| self.collect_entry(&folder, name, kind))
            .collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    fn collect_entry(
        &self,
        folder: &Folder<'_>,
        name: Vec<u8>,
        kind: FileType,
    ) -> Result<Vec<(Refspec, CommitId)>> {
        // Temporary files and what cannot be a ref are passed over, as libostree does.
        let Ok(name) = String::from_utf8(name) else {
            return Ok(Vec::new());
        };
        let below = format!("{}/{name}", folder.path);
        let full = match folder.prefix {
            "" => name.clone(),
            prefix => format!("{prefix}/{name}"),
        };
        let Ok(full) = full.parse::<RefName>() else {
            return Ok(Vec::new());
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
                folder.dir.as_fd(),
                &name,
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
        let commit = match bytes {
            Ok(Some(bytes)) => Some(self.parse_ref_file(&below, &bytes)?),
            _ => self.read_ref_file(&below)?,
        };
        let refspec = Refspec {
            remote: folder.remote.cloned(),
            name: full,
        };
        Ok(commit.map(|commit| (refspec, commit)).into_iter().collect())
    }

    /// The aliases among the local refs, with the ref that each names.
    pub fn list_aliases(&self) -> Result<BTreeMap<RefName, RefName>> {
        let mut aliases = BTreeMap::new();
        for name in self.local_refs()?.into_keys() {
            let target = self.alias_target(&format!("refs/heads/{name}"))?;
            let target = target
                .as_deref()
                .and_then(|path| path.strip_prefix("refs/heads/"))
                .and_then(|target| target.parse().ok());
            aliases.extend(target.map(|target| (name, target)));
        }
        Ok(aliases)
    }

    /// The refs that are in a collection: mirrors of others, the local ones if the repository has a
    /// collection id itself, and those of remotes that have one.
    pub fn collection_refs(&self) -> Result<BTreeMap<(CollectionId, RefName), CommitId>> {
        let mut refs = self.mirror_refs()?;
        if let Some(own) = &self.config().collection_id {
            let local = self.local_refs()?.into_iter();
            refs.extend(local.map(|(name, commit)| ((own.clone(), name), commit)));
        }
        for remote in self.remotes_with_refs()? {
            let section = remotes::section(&remote);
            let id = self.config().file.string(&section, "collection-id");
            let Some(id) = id.map_err(Error::invalid::<keyfile::Error>)? else {
                continue;
            };
            let id: CollectionId = id.parse().map_err(Error::invalid::<refs::Error>)?;
            let mut found = BTreeMap::new();
            self.collect_refs(&format!("refs/remotes/{remote}"), None, &mut found)?;
            let found = found.into_iter();
            refs.extend(found.map(|(refspec, commit)| ((id.clone(), refspec.name), commit)));
        }
        Ok(refs)
    }
}
