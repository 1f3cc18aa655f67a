// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recognising hard links into the repository without reading them.

use std::collections::HashMap;

use oxtree_format::{FileId, ObjectKind};
use rustix::fs::Stat;

use crate::fs;
use crate::{Repo, Result};

/// The file objects of a repository by device and inode.
#[derive(Debug, Default)]
pub struct DevInoCache(HashMap<(u64, u64), FileId>);

impl DevInoCache {
    /// Looks at all file objects of `repo` and its parents. There are none to be found in an
    /// archive, whose objects are never linked into a checkout.
    pub fn scan(repo: &Repo) -> Result<Self> {
        let mut cache = match repo.parent() {
            Some(parent) => Self::scan(parent)?.0,
            None => HashMap::new(),
        };
        if repo.mode().is_archive() {
            return Ok(Self(cache));
        }
        for object in repo.list_objects()? {
            if object.kind != ObjectKind::File {
                continue;
            }
            let path = repo.loose(&object);
            let stat =
                fs::stat(repo.objects(), &path).map_err(repo.object_io("looking at", &path))?;
            if let Some(stat) = stat {
                cache.insert(key(&stat), FileId(object.checksum));
            }
        }
        Ok(Self(cache))
    }

    /// The file object that this is a link to.
    pub(crate) fn lookup(&self, stat: &Stat) -> Option<FileId> {
        self.0.get(&key(stat)).copied()
    }
}

fn key(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
