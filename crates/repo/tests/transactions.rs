// SPDX-License-Identifier: MIT OR Apache-2.0
//! Transactions: what they leave, what they lock, what they refuse.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use oxtree_format::commit::NewCommit;
use oxtree_format::refs::Refspec;
use oxtree_format::{
    CommitId, DirId, DirMeta, DirMetaId, DirTreeId, FileHeader, FileId, ObjectKind, Xattrs, dirtree,
};
use oxtree_repo::{Error, Expected, LockKind, Mode, RefUpdate, Repo, SummaryUpdate, Transaction};
use oxtree_testkit::{Tmpfs, Tool, is_root};

fn create(dir: &Path, mode: Mode) -> Repo {
    Repo::create(&dir.join("repo"), mode, None).unwrap()
}

fn file(transaction: &Transaction<'_>, content: &[u8]) -> oxtree_repo::Result<FileId> {
    let header = FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink: None,
        xattrs: Xattrs::NONE,
    };
    transaction.write_file_bytes(&header, content, None)
}

fn commit(transaction: &Transaction<'_>, content: &str) -> CommitId {
    let file = file(transaction, content.as_bytes()).unwrap();
    let meta = DirMeta {
        uid: 0,
        gid: 0,
        mode: 0o040_755,
        xattrs: Xattrs::NONE,
    };
    let write = |kind, bytes: &[u8]| transaction.write_metadata(kind, bytes, None).unwrap();
    let root = DirId {
        meta: DirMetaId(write(ObjectKind::DirMeta, &meta.to_bytes())),
        tree: DirTreeId(write(
            ObjectKind::DirTree,
            &dirtree::write([("f", file)], []).unwrap(),
        )),
    };
    let commit = NewCommit {
        metadata: Vec::new(),
        parent: None,
        subject: content,
        body: "",
        timestamp: 1,
        root,
    };
    CommitId(write(ObjectKind::Commit, &commit.to_bytes().unwrap()))
}

fn set(name: &str, commit: CommitId) -> RefUpdate {
    RefUpdate::set(name.parse::<Refspec>().unwrap(), commit)
}

fn configure(repo: &Repo, key: &str, value: &str) -> Repo {
    let mut file = repo.config().file.clone();
    file.set_string("core", key, value).unwrap();
    repo.write_config(&file).unwrap();
    Repo::open(repo.path()).unwrap()
}

fn left_in_tmp(repo: &Repo) -> Vec<String> {
    let entries = fs::read_dir(repo.path().join("tmp")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "cache").collect()
}

#[test]
fn nothing_is_seen_before_the_end_and_nothing_left_without_one() {
    let dir = oxtree_testkit::temp_dir();
    let repo = create(dir.path(), Mode::Archive);
    for end in [drop::<Transaction<'_>>, |t: Transaction<'_>| {
        t.abort().unwrap();
    }] {
        let transaction = Transaction::begin(&repo).unwrap();
        let id = commit(&transaction, "x");
        assert!(transaction.has_staged(&id.object()).unwrap());
        assert!(!repo.has_object(&id.object()).unwrap());
        end(transaction);
        assert!(repo.list_objects().unwrap().is_empty());
        assert!(left_in_tmp(&repo).is_empty());
    }
    let transaction = Transaction::begin(&repo).unwrap();
    let id = commit(&transaction, "x");
    let stats = transaction.commit(&[set("main", id)]).unwrap();
    assert_eq!((stats.metadata_written, stats.content_written), (3, 1));
    assert!(left_in_tmp(&repo).is_empty());
    Tool::ostree().repo(repo.path()).fsck();
}

#[test]
fn what_was_killed_is_swept_away_by_the_next() {
    let dir = oxtree_testkit::temp_dir();
    let repo = create(dir.path(), Mode::Archive);
    let transaction = Transaction::begin(&repo).unwrap();
    commit(&transaction, "x");
    // As a kill leaves it: the lock is gone, the files are there. Of another boot, as it were.
    let [staging, _lock] = &left_in_tmp(&repo)[..] else {
        panic!("a staging directory and its lock");
    };
    let name = staging.trim_end_matches("-lock").to_owned();
    let tmp = repo.path().join("tmp");
    let old = tmp.join("staging-00000000-0000-0000-0000-000000000000-AAAAAA");
    let cp = Command::new("cp")
        .arg("-a")
        .arg(tmp.join(&name))
        .arg(&old)
        .status();
    assert!(cp.unwrap().success());
    fs::write(tmp.join("fresh"), "x").unwrap();
    transaction.commit(&[]).unwrap();
    assert_eq!(left_in_tmp(&repo), ["fresh"]);
    // What is old and nobody's goes, too.
    let expired = configure(&repo, "tmp-expiry-secs", "0");
    std::thread::sleep(Duration::from_millis(1100));
    Transaction::begin(&expired).unwrap().commit(&[]).unwrap();
    assert!(left_in_tmp(&repo).is_empty());
}

#[test]
fn what_a_killed_commit_has_left_is_gone_with_the_next() {
    let dir = oxtree_testkit::temp_dir();
    let repo = create(dir.path(), Mode::Archive);
    let tmp = repo.path().join("tmp");
    let killed = Transaction::begin(&repo).unwrap();
    commit(&killed, "killed");
    let name = left_in_tmp(&repo)
        .into_iter()
        .find(|name| !name.ends_with("-lock"))
        .unwrap();
    // Of this very boot: nobody holds the lock any more, and the files are there.
    for copy in ["BBBBBB", "CCCCCC"] {
        let copy = tmp.join(format!("{}{copy}", &name[..name.len() - 6]));
        let cp = Command::new("cp")
            .arg("-a")
            .arg(tmp.join(&name))
            .arg(&copy)
            .status();
        assert!(cp.unwrap().success());
        fs::write(format!("{}-lock", copy.display()), "").unwrap();
    }
    drop(killed);
    for other in ["oxtree-delta-x-DDDDDD", "staging-x-EEEEEE"] {
        fs::create_dir(tmp.join(other)).unwrap();
        fs::write(tmp.join(format!("{other}-lock")), "").unwrap();
    }
    let next = Transaction::begin(&repo).unwrap();
    let left = left_in_tmp(&repo);
    // An empty one is used again.
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        left.iter().all(|name| name.starts_with("staging-x-EEEEEE")),
        "{left:?}"
    );
    let id = commit(&next, "next");
    next.commit(&[set("main", id)]).unwrap();
    assert!(left_in_tmp(&repo).is_empty());
    Tool::ostree().repo(repo.path()).fsck();
}

#[test]
fn a_staging_directory_in_use_is_left_alone() {
    let dir = oxtree_testkit::temp_dir();
    let repo = create(dir.path(), Mode::Archive);
    let long = Transaction::begin(&repo).unwrap();
    let id = commit(&long, "long");
    let expired = configure(&repo, "tmp-expiry-secs", "0");
    std::thread::sleep(Duration::from_millis(1100));
    let short = Transaction::begin(&expired).unwrap();
    commit(&short, "short");
    short.commit(&[]).unwrap();
    // The real tool does not take it for its own either.
    fs::create_dir(dir.path().join("tree")).unwrap();
    let real = Tool::ostree().repo(repo.path());
    real.commit("real", dir.path().join("tree"), &[]);
    long.commit(&[set("main", id)]).unwrap();
    real.fsck();
    assert_eq!(real.refs(), ["main", "real"]);
}

#[test]
fn locks_are_those_of_the_real_tool() {
    let dir = oxtree_testkit::temp_dir();
    let repo = configure(&create(dir.path(), Mode::Archive), "lock-timeout-secs", "1");
    fs::create_dir(dir.path().join("tree")).unwrap();
    let real = Tool::ostree().repo(repo.path());
    let prune = || real.run("prune", ["--refs-only"]);
    let commit_real = || real.commit("real", dir.path().join("tree"), &[]);
    // A transaction shares with others, and keeps prune out.
    let transaction = Transaction::begin(&repo).unwrap();
    commit_real();
    let refused = prune().expect_failure();
    assert!(
        refused.stderr().contains("ocking repo exclusive"),
        "{refused:?}"
    );
    let exclusive = repo.lock(LockKind::Exclusive).unwrap_err();
    assert!(matches!(exclusive, Error::Locked { .. }), "{exclusive}");
    drop(transaction);
    prune().expect_ok();
    // And the other way round.
    let exclusive = repo.lock(LockKind::Exclusive).unwrap();
    assert!(exclusive.is_some());
    let shared = Transaction::begin(&repo).unwrap_err();
    assert!(matches!(shared, Error::Locked { .. }), "{shared}");
    let tree = dir.path().join("tree");
    let words = ["-b", "real", tree.to_str().unwrap()];
    real.run("commit", words).expect_failure();
    drop(exclusive);
    commit_real();
    let unlocked = configure(&repo, "locking", "false");
    assert!(unlocked.lock(LockKind::Exclusive).unwrap().is_none());
}

#[test]
fn disk_space_is_kept_free() {
    let dir = oxtree_testkit::temp_dir();
    let repo = create(dir.path(), Mode::Archive);
    let full = configure(&repo, "min-free-space-size", "999999TB");
    let transaction = Transaction::begin(&full).unwrap();
    let refused = file(&transaction, b"x").unwrap_err();
    assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
    assert!(
        refused.to_string().contains("min-free-space-size"),
        "{refused}"
    );
    drop(transaction);
    assert!(repo.list_objects().unwrap().is_empty());
    let none = configure(&full, "min-free-space-size", "0MB");
    file(&Transaction::begin(&none).unwrap(), b"x").unwrap();
}

#[test]
fn durability_is_a_matter_of_the_config() {
    for (key, value) in [("fsync", "false"), ("per-object-fsync", "true")] {
        for mode in [Mode::Archive, Mode::BareUserOnly] {
            let dir = oxtree_testkit::temp_dir();
            let repo = configure(&create(dir.path(), mode), key, value);
            let transaction = Transaction::begin(&repo).unwrap();
            let id = commit(&transaction, key);
            transaction.commit(&[set("main", id)]).unwrap();
            assert!(left_in_tmp(&repo).is_empty());
            Tool::ostree().repo(repo.path()).fsck();
        }
    }
}

#[test]
fn several_refs_change_together_or_not_at_all() {
    let dir = oxtree_testkit::temp_dir();
    let repo = create(dir.path(), Mode::Archive);
    let transaction = Transaction::begin(&repo).unwrap();
    let (old, new) = (commit(&transaction, "old"), commit(&transaction, "new"));
    transaction
        .commit(&[set("a", old), set("b/c", old)])
        .unwrap();
    let refs = || {
        repo.list_refs(None)
            .unwrap()
            .into_values()
            .collect::<Vec<_>>()
    };
    let expecting = |name: &str, expected: Option<CommitId>| RefUpdate {
        expected: Expected::Exactly(expected),
        ..set(name, new)
    };
    for bad in [
        expecting("b/c", Some(new)),
        expecting("b/c", None),
        expecting("missing", Some(old)),
        // Names in each other's way.
        set("b", new),
        set("a/below", new),
    ] {
        let done = repo.update_refs(&[set("a", new), bad.clone(), set("d", new)]);
        assert!(done.is_err(), "{bad:?}");
        assert_eq!(refs(), [old, old], "{bad:?}");
    }
    repo.update_refs(&[
        expecting("a", Some(old)),
        expecting("b/c", Some(old)),
        set("d", new),
    ])
    .unwrap();
    assert_eq!(refs(), [new, new, new]);
}

#[test]
fn objects_and_refs_of_a_parent_repository() {
    let dir = oxtree_testkit::temp_dir();
    let parent = create(dir.path(), Mode::BareUserOnly);
    let transaction = Transaction::begin(&parent).unwrap();
    let id = commit(&transaction, "x");
    transaction.commit(&[set("main", id)]).unwrap();
    let child = Repo::create(&dir.path().join("child"), Mode::BareUserOnly, None).unwrap();
    let child = configure(&child, "parent", parent.path().to_str().unwrap());
    assert_eq!(child.resolve_rev("main").unwrap(), id);
    assert!(child.has_object(&id.object()).unwrap());
    assert!(!child.has_own_object(&id.object()).unwrap());
    oxtree_repo::traverse::check_complete(&child, id, None).unwrap();
    for object in oxtree_repo::traverse::all_objects(&child, id).unwrap() {
        child.verify_object(&object, &mut [0; 64]).unwrap();
    }
    // Round in circles: an error, not for ever.
    let mut file = parent.config().file.clone();
    let path = child.path().to_str().unwrap();
    file.set_string("core", "parent", path).unwrap();
    parent.write_config(&file).unwrap();
    assert!(Repo::open(child.path()).is_err());
}

#[test]
fn where_nothing_can_be_written_nothing_is() {
    assert!(is_root(), "needs root");
    let disk = Tmpfs::mount(16 << 20);
    let repo = create(disk.path(), Mode::Archive);
    let transaction = Transaction::begin(&repo).unwrap();
    let id = commit(&transaction, "x");
    transaction.commit(&[set("main", id)]).unwrap();
    disk.make_read_only();
    let seen = Repo::open(repo.path()).unwrap();
    assert_eq!(seen.resolve_rev("main").unwrap(), id);
    for result in [
        Transaction::begin(&seen).err(),
        seen.update_refs(&[set("b", id)]).err(),
        seen.update_summary(&SummaryUpdate::default()).err(),
        seen.write_config(&seen.config().file).err(),
        seen.lock(LockKind::Shared).err(),
    ] {
        let error = result.expect("an error");
        let kind = error.io_kind();
        assert_eq!(
            kind,
            Some(std::io::ErrorKind::ReadOnlyFilesystem),
            "{error}"
        );
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    assert!(is_root(), "needs root");
    let disk = Tmpfs::mount(1 << 20);
    let repo = create(disk.path(), Mode::BareUserOnly);
    let repo = configure(&repo, "min-free-space-percent", "0");
    let transaction = Transaction::begin(&repo).unwrap();
    let content = oxtree_testkit::trees::Noise::new(1).bytes(2 << 20);
    let error = file(&transaction, &content).unwrap_err();
    assert_eq!(
        error.io_kind(),
        Some(std::io::ErrorKind::StorageFull),
        "{error}"
    );
    drop(transaction);
    assert!(left_in_tmp(&repo).is_empty());
    assert!(repo.list_objects().unwrap().is_empty());
}
