// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a repository looks like from outside at one instant, while somebody may be writing to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use oxtree_format::Checksum;

/// Objects and refs of a repository. Objects are loose paths, `12/34….filez`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) public: BTreeSet<String>,
    pub(crate) staged: BTreeSet<String>,
    /// Of those, the ones that are all there: what was being written has its name, but not all its
    /// bytes.
    pub(crate) whole: BTreeSet<String>,
    pub(crate) refs: BTreeMap<String, String>,
}

impl Look {
    pub(crate) fn at(repo: &Path) -> Self {
        let (mut staged, mut whole) = (BTreeSet::new(), BTreeSet::new());
        for dir in quarantines(repo) {
            for object in objects(&dir) {
                if is_whole(&dir, &object) {
                    whole.insert(object.clone());
                }
                staged.insert(object);
            }
        }
        Self {
            public: objects(&repo.join("objects")),
            staged,
            whole,
            refs: refs(repo),
        }
    }

    /// The same if nothing had been received that is not public.
    pub(crate) fn without_staged(&self) -> Self {
        Self {
            public: self.public.clone(),
            refs: self.refs.clone(),
            ..Self::default()
        }
    }
}

/// Whether an object of an archive is what its name says (or, packed, can be unpacked).
fn is_whole(dir: &Path, object: &str) -> bool {
    let Ok(bytes) = fs::read(dir.join(object)) else {
        return false;
    };
    if !object.ends_with(".filez") {
        let name = object.replace('/', "");
        let checksum = Checksum::of(&bytes).to_hex();
        return name.starts_with(&checksum) && !name.ends_with(".commitmeta");
    }
    // The length of the header, padding, the header, which begins with the size of the content.
    let Some((prefix, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    let len = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
    let (Some(size), Some(packed)) = (rest.first_chunk::<8>(), rest.get(len..)) else {
        return false;
    };
    let mut content = Vec::new();
    let unpacked = DeflateDecoder::new(packed).read_to_end(&mut content);
    let is_link = packed.is_empty() && *size == [0; 8];
    is_link || (unpacked.is_ok() && content.len() as u64 == u64::from_be_bytes(*size))
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
