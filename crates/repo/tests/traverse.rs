// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks through commits: what they find, what they skip, and how much they read.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use oxtree_format::commit::NewCommit;
use oxtree_format::{
    Checksum, CommitId, DirId, DirMeta, DirMetaId, DirTreeId, FileHeader, FileId, ObjectId,
    ObjectKind, Xattrs, dirtree,
};
use oxtree_repo::traverse::{self, Found, Objects, Walk};
use oxtree_repo::{CommitState, Error, Mode, Repo, Result, Transaction};

struct Store {
    _dir: tempfile::TempDir,
    repo: Repo,
}

impl Store {
    fn new() -> Self {
        let dir = oxtree_testkit::temp_dir();
        let repo = Repo::create(&dir.path().join("repo"), Mode::BareUserOnly, None).unwrap();
        Self { _dir: dir, repo }
    }
}

fn file(transaction: &Transaction<'_>, content: &str) -> FileId {
    let header = FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink: None,
        xattrs: Xattrs::NONE,
    };
    let content = content.as_bytes();
    transaction
        .write_file_bytes(&header, content, None)
        .unwrap()
}

fn meta(transaction: &Transaction<'_>) -> DirMetaId {
    let meta = DirMeta {
        uid: 0,
        gid: 0,
        mode: 0o040_755,
        xattrs: Xattrs::NONE,
    };
    let bytes = meta.to_bytes();
    DirMetaId(
        transaction
            .write_metadata(ObjectKind::DirMeta, &bytes, None)
            .unwrap(),
    )
}

fn tree(transaction: &Transaction<'_>, files: &[(&str, FileId)], dirs: &[(&str, DirId)]) -> DirId {
    let bytes = dirtree::write(files.iter().copied(), dirs.iter().copied()).unwrap();
    let tree = transaction.write_metadata(ObjectKind::DirTree, &bytes, None);
    DirId {
        tree: DirTreeId(tree.unwrap()),
        meta: meta(transaction),
    }
}

fn commit(transaction: &Transaction<'_>, root: DirId, parent: Option<CommitId>) -> CommitId {
    let commit = NewCommit {
        metadata: Vec::new(),
        parent,
        subject: "s",
        body: "",
        timestamp: 1,
        root,
    };
    let bytes = commit.to_bytes().unwrap();
    CommitId(
        transaction
            .write_metadata(ObjectKind::Commit, &bytes, None)
            .unwrap(),
    )
}

/// `count` folders of three files each; folder 7 holds `odd`.
fn wide(transaction: &Transaction<'_>, count: usize, odd: &str) -> DirId {
    let folders: Vec<(String, DirId)> = (0..count)
        .map(|i| {
            let content = if i == 7 { odd } else { "plain" };
            let files =
                ["a", "b", "c"].map(|n| (n, file(transaction, &format!("{content}{i}{n}"))));
            (format!("{i:06}"), tree(transaction, &files, &[]))
        })
        .collect();
    let folders: Vec<(&str, DirId)> = folders.iter().map(|(n, d)| (n.as_str(), *d)).collect();
    tree(transaction, &[], &folders)
}

/// Counts what is loaded.
struct Counting<'a>(&'a Repo, AtomicUsize);

impl Objects for Counting<'_> {
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.load(object)
    }

    fn has(&self, object: &ObjectId) -> Result<bool> {
        self.0.has(object)
    }

    fn is_partial(&self, commit: CommitId) -> Result<bool> {
        self.0.is_partial(commit)
    }
}

#[test]
fn everything_is_found_once_and_the_commit_last() {
    let store = Store::new();
    let transaction = Transaction::begin(&store.repo).unwrap();
    let shared = tree(&transaction, &[("f", file(&transaction, "x"))], &[]);
    let root = tree(
        &transaction,
        &[("g", file(&transaction, "x"))],
        &[("one", shared), ("two", shared)],
    );
    let id = commit(&transaction, root, None);
    // A transaction sees its own objects before anybody else does.
    let staged = traverse::all_objects(&transaction, id).unwrap();
    transaction.commit(&[]).unwrap();
    let found = traverse::all_objects(&store.repo, id).unwrap();
    assert_eq!(found, staged);
    assert_eq!(found.last(), Some(&id.object()));
    // A commit, two dirtrees, a dirmeta, a file.
    assert_eq!(found.len(), 5);
    let stored: HashSet<ObjectId> = store.repo.list_objects().unwrap().into_iter().collect();
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), stored);
}

#[test]
fn an_update_reads_only_what_changed() {
    let store = Store::new();
    let transaction = Transaction::begin(&store.repo).unwrap();
    let old = commit(&transaction, wide(&transaction, 500, "before"), None);
    let new = commit(&transaction, wide(&transaction, 500, "after"), Some(old));
    transaction.commit(&[]).unwrap();
    let counting = Counting(&store.repo, AtomicUsize::new(0));
    let objects = traverse::new_objects(&counting, new, &[old]).unwrap();
    // Three files, the folder, the root, the commit.
    assert_eq!(objects.len(), 6);
    // Both commits, both roots, the folder in both.
    assert_eq!(counting.1.into_inner(), 6);
    // A base that is not there changes nothing but the effort.
    let nothing = CommitId(Checksum::of(b"nothing"));
    let all = traverse::new_objects(&store.repo, new, &[nothing]).unwrap();
    assert_eq!(all.len(), 1500 + 500 + 1 + 1 + 1);
}

#[test]
fn what_moved_within_its_folder_is_not_new() {
    let store = Store::new();
    let transaction = Transaction::begin(&store.repo).unwrap();
    let one = file(&transaction, "one");
    let old = commit(&transaction, tree(&transaction, &[("a", one)], &[]), None);
    let new = commit(&transaction, tree(&transaction, &[("b", one)], &[]), None);
    transaction.commit(&[]).unwrap();
    let objects = traverse::new_objects(&store.repo, new, &[old]).unwrap();
    assert!(!objects.contains(&one.object()));
    assert_eq!(objects.len(), 2);
}

#[test]
fn a_missing_object_is_named_with_its_path() {
    let store = Store::new();
    let transaction = Transaction::begin(&store.repo).unwrap();
    let lost = file(&transaction, "lost");
    let inner = tree(&transaction, &[("lost", lost)], &[]);
    let middle = tree(&transaction, &[], &[("inner", inner)]);
    let root = tree(
        &transaction,
        &[("kept", file(&transaction, "k"))],
        &[("middle", middle)],
    );
    let id = commit(&transaction, root, None);
    let again = commit(&transaction, root, Some(id));
    transaction.commit(&[]).unwrap();
    let repo = &store.repo;
    traverse::check_complete(repo, id, None).unwrap();

    let missing = |id, complete| match traverse::check_complete(repo, id, complete) {
        Err(Error::Incomplete {
            commit,
            object,
            path,
        }) => Some((commit, object, path)),
        Ok(()) => None,
        Err(error) => panic!("{error}"),
    };
    repo.delete_object(&lost.object()).unwrap();
    let expected = Some((id, lost.object(), "/middle/inner/lost".to_owned()));
    assert_eq!(missing(id, None), expected);
    // What a complete commit has at the same place needs no look...
    assert_eq!(missing(again, Some(id)), None);
    // ...but not if that commit is known to be in pieces.
    repo.set_commit_state(id, CommitState::Partial).unwrap();
    assert_eq!(missing(again, Some(id)).map(|m| m.1), Some(lost.object()));

    repo.delete_object(&inner.tree.object()).unwrap();
    let expected = Some((id, inner.tree.object(), "/middle/inner".to_owned()));
    assert_eq!(missing(id, None), expected);
    repo.delete_object(&id.object()).unwrap();
    assert!(
        traverse::check_complete(repo, id, None)
            .unwrap_err()
            .is_missing_object()
    );
}

#[test]
fn depth_is_limited() {
    let store = Store::new();
    let transaction = Transaction::begin(&store.repo).unwrap();
    let mut root = tree(&transaction, &[], &[]);
    for _ in 0..traverse::MAX_DEPTH {
        root = tree(&transaction, &[], &[("d", root)]);
    }
    let deep = commit(&transaction, root, None);
    let deeper = tree(&transaction, &[], &[("d", root)]);
    let deeper = commit(&transaction, deeper, None);
    traverse::all_objects(&transaction, deep).unwrap();
    let refused = traverse::all_objects(&transaction, deeper).unwrap_err();
    assert!(refused.to_string().contains("recursion"), "{refused}");
}

#[test]
fn a_tree_that_unfolds_without_end_is_walked_in_no_time() {
    // 2^200 paths, 200 objects.
    let store = Store::new();
    let transaction = Transaction::begin(&store.repo).unwrap();
    let mut root = tree(&transaction, &[], &[]);
    for _ in 0..200 {
        root = tree(&transaction, &[], &[("a", root), ("b", root)]);
    }
    let id = commit(&transaction, root, None);
    assert_eq!(traverse::all_objects(&transaction, id).unwrap().len(), 203);
    traverse::check_complete(&transaction, id, Some(id)).unwrap();
}

#[test]
fn one_walk_through_several_commits_tells_of_each_object_once() {
    let store = Store::new();
    let transaction = Transaction::begin(&store.repo).unwrap();
    let old = commit(&transaction, wide(&transaction, 20, "before"), None);
    let new = commit(&transaction, wide(&transaction, 20, "after"), Some(old));
    let mut walk = Walk::new(&transaction);
    let mut counts = Vec::new();
    for id in [old, new, old] {
        let mut count = 0;
        walk.commit(id, &[], &mut |_: &Found<'_>| {
            count += 1;
            Ok(())
        })
        .unwrap();
        counts.push(count);
    }
    assert_eq!(counts, [20 * 4 + 3, 6, 0]);
}

#[test]
fn history_ends_where_a_parent_is_missing() {
    let store = Store::new();
    let transaction = Transaction::begin(&store.repo).unwrap();
    let root = tree(&transaction, &[], &[]);
    let mut ids = vec![commit(&transaction, root, None)];
    for _ in 0..4 {
        ids.push(commit(&transaction, root, ids.last().copied()));
    }
    transaction.commit(&[]).unwrap();
    let history = |id| -> Vec<CommitId> {
        traverse::ancestors(&store.repo, id)
            .map(|step| step.unwrap().0)
            .collect()
    };
    let newest_first: Vec<CommitId> = ids.iter().rev().copied().collect();
    assert_eq!(history(ids[4]), newest_first);
    store.repo.delete_object(&ids[1].object()).unwrap();
    assert_eq!(history(ids[4]), newest_first[..3]);
    let missing = traverse::ancestors(&store.repo, ids[1]).next().unwrap();
    assert!(missing.unwrap_err().is_missing_object());
}
