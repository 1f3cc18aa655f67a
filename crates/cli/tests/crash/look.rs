// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a repository looks like from outside at one instant, while somebody may be writing to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Objects and refs of a repository. Objects are loose paths, `12/34….filez`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) public: BTreeSet<String>,
    pub(crate) staged: BTreeSet<String>,
    /// How large those are: the one that was being written has its name, but not all its bytes.
    pub(crate) staged_sizes: BTreeMap<String, u64>,
    pub(crate) refs: BTreeMap<String, String>,
}

impl Look {
    pub(crate) fn at(repo: &Path) -> Self {
        let staged_sizes: BTreeMap<String, u64> = quarantines(repo)
            .iter()
            .flat_map(|dir| {
                let size = |path: &String| fs::metadata(dir.join(path)).map_or(0, |m| m.len());
                let sized = objects(dir)
                    .into_iter()
                    .map(move |path| (size(&path), path));
                sized.map(|(size, path)| (path, size)).collect::<Vec<_>>()
            })
            .collect();
        Self {
            public: objects(&repo.join("objects")),
            staged: staged_sizes.keys().cloned().collect(),
            staged_sizes,
            refs: refs(repo),
        }
    }
}

/// Names in a directory; none if it is not there, or not any more.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// What pushes have received and not published.
pub(crate) fn quarantines(repo: &Path) -> Vec<PathBuf> {
    let tmp = repo.join("tmp");
    let names = names(&tmp).into_iter();
    names
        .filter(|name| name.starts_with("oxtree-push-") && !name.ends_with("-lock"))
        .map(|name| tmp.join(name))
        .collect()
}

/// The objects in a directory of the layout of `objects/`. What has no complete name is none.
pub(crate) fn objects(dir: &Path) -> BTreeSet<String> {
    let fanouts = names(dir).into_iter().filter(|name| name.len() == 2);
    let all = fanouts.flat_map(|fanout| {
        let objects = names(&dir.join(&fanout)).into_iter();
        objects.map(move |name| format!("{fanout}/{name}"))
    });
    let is_object = |path: &String| {
        path.split_once('.')
            .is_some_and(|(checksum, _)| checksum.len() == 65)
    };
    all.filter(is_object).collect()
}

fn refs(repo: &Path) -> BTreeMap<String, String> {
    let heads = repo.join("refs/heads");
    let (mut found, mut pending) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(inside) = pending.pop() {
        for name in names(&heads.join(&inside)) {
            let path = inside.join(name);
            match fs::read_to_string(heads.join(&path)) {
                Ok(commit) => {
                    let name = path.display().to_string();
                    found.insert(name, commit.trim().to_owned());
                }
                Err(_) => pending.push(path),
            }
        }
    }
    found
}
