// SPDX-License-Identifier: MIT OR Apache-2.0
//! The step that reads what a repository keeps besides refs and the objects of commits: the summary, static deltas
//! and their indexes, detached metadata, the journal of refs. libostree's fsck does not look at them.

use std::io::Read;

use oxtree_format::checksum::Hasher;
use oxtree_format::delta::{DeltaName, index};
use oxtree_format::detached::Detached;
use oxtree_format::{ObjectKind, Summary};

use super::{Fsck, Problem};
use crate::object::verify::BUFFER;
use crate::{Error, Repo, Result};

impl Fsck<'_> {
    /// Checks the files that are no objects of commits. Never changes anything.
    pub fn files(&mut self) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        let repo = self.repo;
        check(&mut problems, "summary", summary(repo));
        check(&mut problems, "summary.sig", signatures(repo));
        check(&mut problems, "state/refs-journal", repo.check_journal());
        for name in repo.static_delta_names()? {
            check(&mut problems, &name.folder(), delta(repo, &name));
        }
        for commit in repo.delta_indexes()? {
            let path = index::path(commit);
            check(&mut problems, &path, repo.check_delta_index(commit));
        }
        for object in repo.list_objects()? {
            if object.kind == ObjectKind::CommitMeta {
                let path = format!("objects/{}", object.loose_path(repo.mode().is_archive()));
                let read = repo.load_metadata(&object);
                check(
                    &mut problems,
                    &path,
                    read.and_then(|bytes| detached(&bytes)),
                );
            }
        }
        Ok(problems)
    }
}

fn check(problems: &mut Vec<Problem>, path: &str, checked: Result<()>) {
    if let Err(error) = checked {
        let reason = match error {
            Error::Format { reason, .. } | Error::Invalid(reason) => reason,
            error => error.to_string(),
        };
        let path = path.to_owned();
        problems.push(Problem::File { path, reason });
    }
}

fn invalid(error: impl ToString) -> Error {
    Error::Invalid(error.to_string())
}

fn summary(repo: &Repo) -> Result<()> {
    let Some(bytes) = repo.read_summary()? else {
        return Ok(());
    };
    let summary = Summary::parse(&bytes).map_err(invalid)?;
    summary.static_deltas().map_err(invalid)?;
    summary.collections().map_err(invalid)?;
    Ok(())
}

fn signatures(repo: &Repo) -> Result<()> {
    let bytes = repo.read_summary_signatures()?;
    bytes.map_or(Ok(()), |bytes| detached(&bytes))
}

fn detached(bytes: &[u8]) -> Result<()> {
    Detached::parse(bytes).map(drop).map_err(invalid)
}

/// Reads a delta and all of its parts. One without a superblock is none.
fn delta(repo: &Repo, name: &DeltaName) -> Result<()> {
    let Some(files) = repo.open_static_delta(name)? else {
        return Ok(());
    };
    let superblock = files.superblock()?;
    if superblock.name != *name {
        return Err(invalid("the superblock is that of another delta"));
    }
    let mut buffer = vec![0; BUFFER];
    for (at, part) in superblock.parts().enumerate() {
        let mut content = files.part(&superblock, at)?;
        let mut hasher = Hasher::new();
        loop {
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => hasher.update(&buffer[..len]),
                Err(error) => return Err(invalid(format!("part {at} cannot be read: {error}"))),
            }
        }
        if hasher.finish() != part.checksum {
            return Err(invalid(format!("part {at} is not what its checksum says")));
        }
    }
    Ok(())
}
