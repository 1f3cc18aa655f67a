// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of a repository's objects somebody needs.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use oxtree_format::{ObjectId, ObjectKind};

/// Every loose object of a repository, each with a mark that any thread can set. Costs 34 bytes an
/// object, and nothing more while a walk marks them.
#[derive(Debug)]
pub(super) struct Marks {
    /// Sorted.
    objects: Vec<ObjectId>,
    /// Where the objects begin whose checksums begin with this byte, and where the last ones end.
    starts: Vec<usize>,
    marked: Vec<AtomicBool>,
    /// Dirtrees visited that are in no list, because they are in a parent repository or gone.
    foreign: Mutex<HashSet<ObjectId>>,
}

impl Marks {
    pub(super) fn new(mut objects: Vec<ObjectId>) -> Self {
        objects.sort_unstable();
        let starts = (0..=256)
            .map(|first| {
                objects.partition_point(|object| usize::from(object.checksum.0[0]) < first)
            })
            .collect();
        let marked = objects.iter().map(|_| AtomicBool::new(false)).collect();
        Self {
            objects,
            starts,
            marked,
            foreign: Mutex::default(),
        }
    }

    /// All objects, sorted.
    pub(super) fn objects(&self) -> &[ObjectId] {
        &self.objects
    }

    fn find(&self, object: &ObjectId) -> Option<usize> {
        let first = usize::from(object.checksum.0[0]);
        let start = self.starts[first];
        let found = self.objects[start..self.starts[first + 1]].binary_search(object);
        found.ok().map(|at| start + at)
    }

    /// Marks an object; true if it is to be looked into, because it had no mark before.
    pub(super) fn mark(&self, object: &ObjectId) -> bool {
        match self.find(object) {
            Some(at) => !self.marked[at].swap(true, Ordering::Relaxed),
            None if object.kind == ObjectKind::DirTree => {
                // A panic elsewhere leaves a set that is still a set.
                let mut foreign = self
                    .foreign
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                foreign.insert(*object)
            }
            None => false,
        }
    }

    /// Whether the object is in this very repository.
    pub(super) fn has(&self, object: &ObjectId) -> bool {
        self.find(object).is_some()
    }

    /// Whether the object is in this very repository, and needed.
    pub(super) fn is_marked(&self, object: &ObjectId) -> bool {
        self.find(object)
            .is_some_and(|at| self.marked[at].load(Ordering::Relaxed))
    }

    /// The objects that nobody needs, sorted.
    pub(super) fn unmarked(&self) -> Vec<ObjectId> {
        let all = self.objects.iter().zip(&self.marked);
        all.filter(|(_, marked)| !marked.load(Ordering::Relaxed))
            .map(|(object, _)| *object)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxtree_format::Checksum;

    #[test]
    fn each_object_is_found_and_marked_once() {
        let id = |n: u32| ObjectId::new(ObjectKind::File, Checksum::of(&n.to_le_bytes()));
        let marks = Marks::new((0..1000).map(id).collect());
        for n in (0..1000).step_by(2) {
            assert!(marks.mark(&id(n)) && !marks.mark(&id(n)));
        }
        let unmarked = marks.unmarked();
        assert_eq!(unmarked.len(), 500);
        assert!(unmarked.is_sorted());
        assert!((0..1000).all(|n| marks.is_marked(&id(n)) == (n % 2 == 0)));
        assert!(!marks.has(&id(1000)) && !marks.is_marked(&id(1000)));
    }

    #[test]
    fn folders_that_are_elsewhere_are_visited_once() {
        let marks = Marks::new(Vec::new());
        let tree = ObjectId::new(ObjectKind::DirTree, Checksum::of(b"x"));
        assert!(marks.mark(&tree) && !marks.mark(&tree));
        let file = ObjectId::new(ObjectKind::File, Checksum::of(b"x"));
        assert!(!marks.mark(&file));
    }
}
