// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes that the kernel knows by number, one for each name it has looked up. Two names of one file are two
//! nodes, because one of them may get a copy of its own.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The number of the root directory.
pub(crate) const ROOT: u64 = 1;

#[derive(Debug)]
struct Node {
    /// Where it is; [`None`] for the root and for what was deleted.
    place: Option<(u64, OsString)>,
    /// How often the kernel was told of it and has not forgotten it.
    lookups: u64,
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    by_number: HashMap<u64, Node>,
    by_place: HashMap<(u64, OsString), u64>,
    last: u64,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        let root = Node {
            place: None,
            lookups: 1,
        };
        Self {
            by_number: HashMap::from([(ROOT, root)]),
            by_place: HashMap::new(),
            last: ROOT,
        }
    }

    /// The number of the entry `name` of `parent`, which the kernel is about to be told.
    pub(crate) fn look_up(&mut self, parent: u64, name: &OsStr) -> u64 {
        let place = (parent, name.to_owned());
        if let Some(number) = self.by_place.get(&place)
            && let Some(node) = self.by_number.get_mut(number)
        {
            node.lookups += 1;
            return *number;
        }
        self.last += 1;
        let node = Node {
            place: Some(place.clone()),
            lookups: 1,
        };
        self.by_place.insert(place, self.last);
        self.by_number.insert(self.last, node);
        self.last
    }

    /// The kernel has forgotten what it was told `times` of.
    pub(crate) fn forget(&mut self, number: u64, times: u64) {
        let Some(node) = self.by_number.get_mut(&number) else {
            return;
        };
        node.lookups = node.lookups.saturating_sub(times);
        if node.lookups > 0 || number == ROOT {
            return;
        }
        let place = self.by_number.remove(&number).and_then(|node| node.place);
        // The place may have been taken by another node since.
        if let Some(place) = place
            && self.by_place.get(&place) == Some(&number)
        {
            self.by_place.remove(&place);
        }
    }

    /// The path below the root of the directory that a node is in, and its name there; [`None`] if
    /// it was deleted. The root is `.` in itself.
    pub(crate) fn path(&self, number: u64) -> Option<(PathBuf, OsString)> {
        if number == ROOT {
            return Some((PathBuf::from("."), OsString::from(".")));
        }
        let (mut parent, name) = self.by_number.get(&number)?.place.clone()?;
        let mut above = Vec::new();
        while parent != ROOT {
            let (next, name) = self.by_number.get(&parent)?.place.as_ref()?;
            above.push(name);
            parent = *next;
        }
        let mut path = PathBuf::from(".");
        path.extend(above.iter().rev());
        Some((path, name))
    }

    /// The path of a directory itself below the root.
    pub(crate) fn dir_path(&self, number: u64) -> Option<PathBuf> {
        let (path, name) = self.path(number)?;
        Some(path.join(name))
    }

    /// The name is gone.
    pub(crate) fn removed(&mut self, parent: u64, name: &OsStr) {
        if let Some(number) = self.by_place.remove(&(parent, name.to_owned()))
            && let Some(node) = self.by_number.get_mut(&number)
        {
            node.place = None;
        }
    }

    /// An entry has another place, where nothing is now besides it.
    pub(crate) fn renamed(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) {
        let moved = self.by_place.remove(&(from.0, from.1.to_owned()));
        self.removed(to.0, to.1);
        if let Some(number) = moved {
            self.put(number, to);
        }
    }

    /// Two entries have changed their places.
    pub(crate) fn exchanged(&mut self, one: (u64, &OsStr), other: (u64, &OsStr)) {
        let first = self.by_place.remove(&(one.0, one.1.to_owned()));
        let second = self.by_place.remove(&(other.0, other.1.to_owned()));
        for (number, place) in [(first, other), (second, one)] {
            if let Some(number) = number {
                self.put(number, place);
            }
        }
    }

    fn put(&mut self, number: u64, place: (u64, &OsStr)) {
        let place = (place.0, place.1.to_owned());
        if let Some(node) = self.by_number.get_mut(&number) {
            node.place = Some(place.clone());
        }
        self.by_place.insert(place, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(nodes: &Nodes, number: u64) -> Option<String> {
        let path = nodes.dir_path(number)?;
        Some(path.to_string_lossy().into_owned())
    }

    #[test]
    fn names_come_and_go() {
        let mut nodes = Nodes::new();
        let dir = nodes.look_up(ROOT, OsStr::new("dir"));
        let file = nodes.look_up(dir, OsStr::new("file"));
        assert_eq!(nodes.look_up(dir, OsStr::new("file")), file);
        assert_eq!(path_of(&nodes, file).unwrap(), "./dir/file");
        assert_eq!(path_of(&nodes, ROOT).unwrap(), "./.");

        nodes.renamed((ROOT, OsStr::new("dir")), (ROOT, OsStr::new("other")));
        assert_eq!(path_of(&nodes, file).unwrap(), "./other/file");

        nodes.removed(dir, OsStr::new("file"));
        assert_eq!(path_of(&nodes, file), None);
        let new = nodes.look_up(dir, OsStr::new("file"));
        assert_ne!(new, file);

        // The old one goes without taking the new one along.
        nodes.forget(file, 2);
        assert_eq!(nodes.look_up(dir, OsStr::new("file")), new);
        nodes.forget(new, 2);
        assert!(nodes.by_place.keys().all(|(_, name)| name != "file"));
    }

    #[test]
    fn what_is_renamed_over_is_gone() {
        let mut nodes = Nodes::new();
        let [one, two] = ["one", "two"].map(|name| nodes.look_up(ROOT, OsStr::new(name)));
        nodes.renamed((ROOT, OsStr::new("one")), (ROOT, OsStr::new("two")));
        assert_eq!(path_of(&nodes, two), None);
        assert_eq!(path_of(&nodes, one).unwrap(), "./two");
        let three = nodes.look_up(ROOT, OsStr::new("three"));
        nodes.exchanged((ROOT, OsStr::new("two")), (ROOT, OsStr::new("three")));
        assert_eq!(path_of(&nodes, one).unwrap(), "./three");
        assert_eq!(path_of(&nodes, three).unwrap(), "./two");
    }
}
