// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a directory tree looks like at one moment, to show later that nothing was changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything below a directory: types, modes, owners, sizes, link targets, inode numbers and
/// modification times (contents, too, where a file is small).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    what: String,
    time: Option<(i64, i64)>,
}

/// Files up to this size are compared by content, too.
const SMALL: u64 = 64 << 10;

impl Snapshot {
    /// Looks at all of `root`, itself included.
    ///
    /// # Panics
    /// When something cannot be read.
    #[must_use]
    pub fn of(root: impl AsRef<Path>) -> Snapshot {
        let root = root.as_ref();
        let mut entries = BTreeMap::new();
        let mut pending = vec![PathBuf::from(".")];
        while let Some(inside) = pending.pop() {
            let path = root.join(&inside);
            let entry = Entry::of(&path);
            if path.symlink_metadata().expect("stat").is_dir() {
                let dir = fs::read_dir(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
                pending.extend(dir.map(|e| inside.join(e.expect("an entry").file_name())));
            }
            entries.insert(inside, entry);
        }
        Snapshot { entries }
    }

    /// Looks at a repository, but not at its lock file nor at the times of its top directory and
    /// of `tmp/`: an attempt to write that fails may touch those. What is in `tmp/` counts.
    ///
    /// # Panics
    /// When something cannot be read.
    #[must_use]
    pub fn of_repo(root: impl AsRef<Path>) -> Snapshot {
        let mut snapshot = Snapshot::of(root);
        snapshot.entries.remove(Path::new("./.lock"));
        for dir in [".", "./tmp"] {
            if let Some(entry) = snapshot.entries.get_mut(Path::new(dir)) {
                entry.time = None;
            }
        }
        snapshot
    }

    /// The same without `inside` (below the root) and everything in it.
    #[must_use]
    pub fn without(mut self, inside: impl AsRef<Path>) -> Snapshot {
        let inside = Path::new(".").join(inside);
        self.entries.retain(|path, _| !path.starts_with(&inside));
        self
    }

    /// What is different in `later`, one line a path; empty when nothing is.
    #[must_use]
    pub fn changes(&self, later: &Snapshot) -> Vec<String> {
        let paths = self.entries.keys().chain(
            later
                .entries
                .keys()
                .filter(|path| !self.entries.contains_key(*path)),
        );
        paths
            .filter_map(
                |path| match (self.entries.get(path), later.entries.get(path)) {
                    (Some(a), Some(b)) if a == b => None,
                    (Some(_), None) => Some(format!("{}: gone", path.display())),
                    (None, _) => Some(format!("{}: new", path.display())),
                    (Some(a), Some(b)) => Some(format!("{}: {a:?}, now {b:?}", path.display())),
                },
            )
            .collect()
    }

    /// # Panics
    /// When `root` has changed since, with a list of what has.
    pub fn assert_unchanged(&self, later: &Snapshot) {
        let changes = self.changes(later);
        assert!(changes.is_empty(), "changed on disk: {changes:#?}");
    }
}

impl Entry {
    fn of(path: &Path) -> Entry {
        let stat = path
            .symlink_metadata()
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut what = format!(
            "{:o} {}:{} {}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.ino()
        );
        if stat.is_symlink() {
            what += &format!(" -> {:?}", fs::read_link(path).expect("read a link"));
        }
        if stat.is_file() {
            what += &format!(" {} bytes", stat.size());
            if stat.size() <= SMALL {
                let content = fs::read(path).expect("read a file");
                what += &format!(" {:?}", String::from_utf8_lossy(&content));
            }
        }
        Entry {
            what,
            time: Some((stat.mtime(), stat.mtime_nsec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_seen() {
        let dir = crate::temp_dir();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("tmp")).expect("mkdir");
        fs::write(at("a"), "a").expect("write");
        fs::write(at("b"), "b").expect("write");
        let before = Snapshot::of(dir.path());
        before.assert_unchanged(&Snapshot::of(dir.path()));
        fs::write(at("a"), "x").expect("write");
        fs::remove_file(at("b")).expect("delete");
        fs::write(at("tmp/c"), "").expect("write");
        let changes = before.changes(&Snapshot::of(dir.path()));
        let starts = |start: &str| changes.iter().any(|change| change.starts_with(start));
        for start in [".: ", "./a: ", "./b: gone", "./tmp: ", "./tmp/c: new"] {
            assert!(starts(start), "{start} in {changes:?}");
        }
    }

    #[test]
    fn what_is_left_out_may_change() {
        let dir = crate::temp_dir();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/tmp")).expect("mkdir");
        fs::write(at("a/tmp/b"), "b").expect("write");
        let look = || Snapshot::of(dir.path()).without("a/tmp");
        let before = look();
        fs::write(at("a/tmp/c"), "c").expect("write");
        before.assert_unchanged(&look());
        fs::write(at("a/d"), "d").expect("write");
        assert_eq!(
            before.changes(&look()).len(),
            2,
            "the file, and its directory"
        );
    }

    #[test]
    fn a_lock_is_no_change_of_a_repository() {
        let dir = crate::temp_dir();
        fs::create_dir(dir.path().join("tmp")).expect("mkdir");
        let before = Snapshot::of_repo(dir.path());
        fs::write(dir.path().join(".lock"), "").expect("write");
        fs::write(dir.path().join("tmp/x"), "").expect("write");
        fs::remove_file(dir.path().join("tmp/x")).expect("delete");
        before.assert_unchanged(&Snapshot::of_repo(dir.path()));
        fs::write(dir.path().join("tmp/x"), "").expect("write");
        assert_eq!(
            before.changes(&Snapshot::of_repo(dir.path())),
            ["./tmp/x: new"]
        );
    }
}
