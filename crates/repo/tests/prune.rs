// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prunes while others write: with a grace period nobody loses what is counted on, and nothing is
//! published that lacks something.

use std::path::Path;
use std::time::Duration;

use oxtree_format::commit::NewCommit;
use oxtree_format::{
    CommitId, DirId, DirMeta, DirMetaId, DirTreeId, FileHeader, ObjectKind, Xattrs, dirtree,
};
use oxtree_repo::prune::Options;
use oxtree_repo::{Error, Mode, RefUpdate, Repo, Transaction};

const GRACE: Duration = Duration::from_millis(500);

fn create(dir: &Path) -> Repo {
    Repo::create(&dir.join("repo"), Mode::Archive, None).unwrap()
}

/// Writes a commit with this subject, of a tree that is always the same.
fn commit(transaction: &Transaction<'_>, subject: &str) -> CommitId {
    let header = FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink: None,
        xattrs: Xattrs::NONE,
    };
    let file = transaction
        .write_file_bytes(&header, b"hello", None)
        .unwrap();
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
        subject,
        body: "",
        timestamp: 1,
        root,
    };
    CommitId(write(ObjectKind::Commit, &commit.to_bytes().unwrap()))
}

fn set(name: &str, commit: CommitId) -> RefUpdate {
    RefUpdate::set(name.parse().unwrap(), commit)
}

fn publish(repo: &Repo, subject: &str, refs: &[&str]) -> CommitId {
    let transaction = Transaction::begin(repo).unwrap();
    let id = commit(&transaction, subject);
    let refs: Vec<RefUpdate> = refs.iter().map(|name| set(name, id)).collect();
    transaction.commit(&refs).unwrap();
    id
}

fn with_grace() -> Options {
    Options {
        refs_only: true,
        grace: Some(GRACE),
        ..Options::default()
    }
}

/// Long enough for everything to be older than the grace period.
fn grow_old() {
    std::thread::sleep(GRACE + Duration::from_millis(100));
}

#[test]
fn what_an_open_transaction_counts_on_is_missed_before_it_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path());
    publish(&repo, "forgotten", &[]);
    grow_old();
    let transaction = Transaction::begin(&repo).unwrap();
    // Its file and its tree are there, so that they are not written.
    let late = commit(&transaction, "late");
    assert_eq!(transaction.stats().content_written, 0);
    let plan = repo.plan_prune(&with_grace()).unwrap();
    assert_eq!(plan.objects.len(), 4);
    assert_eq!(plan.execute(&()).unwrap().objects, 4);
    let failed = transaction.commit(&[set("main", late)]).unwrap_err();
    assert!(
        failed.is_missing_object() || matches!(failed, Error::Incomplete { .. }),
        "{failed}"
    );
    assert!(repo.list_refs(None).unwrap().is_empty());
    // The next try writes them.
    let again = publish(&repo, "late", &["main"]);
    assert_eq!(again, late);
    oxtree_repo::traverse::check_complete(&repo, late, None).unwrap();
}

#[test]
fn what_was_published_after_the_plan_was_made_is_kept() {
    for refs in [&["main"][..], &[]] {
        let dir = tempfile::tempdir().unwrap();
        let repo = create(dir.path());
        publish(&repo, "forgotten", &[]);
        grow_old();
        let plan = repo.plan_prune(&with_grace()).unwrap();
        assert_eq!(plan.objects.len(), 4);
        let late = publish(&repo, "late", refs);
        // Only the old commit goes.
        assert_eq!(plan.execute(&()).unwrap().objects, 1);
        oxtree_repo::traverse::check_complete(&repo, late, None).unwrap();
    }
}

#[test]
fn a_transaction_of_before_that_lost_nothing_goes_through() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path());
    publish(&repo, "kept", &["kept"]);
    grow_old();
    let transaction = Transaction::begin(&repo).unwrap();
    let late = commit(&transaction, "late");
    repo.plan_prune(&with_grace())
        .unwrap()
        .execute(&())
        .unwrap();
    transaction.commit(&[set("main", late)]).unwrap();
}

#[test]
fn a_plan_for_a_dry_run_is_not_carried_out() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path());
    let options = Options {
        dry_run: true,
        ..with_grace()
    };
    let plan = repo.plan_prune(&options).unwrap();
    assert!(matches!(plan.execute(&()), Err(Error::Invalid(_))));
}

#[test]
fn without_grace_it_waits_for_those_who_write() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path());
    let mut file = repo.config().file.clone();
    file.set_string("core", "lock-timeout-secs", "0").unwrap();
    repo.write_config(&file).unwrap();
    let repo = Repo::open(repo.path()).unwrap();
    let open = Transaction::begin(&repo).unwrap();
    let refused = repo.plan_prune(&Options::default());
    assert!(matches!(refused, Err(Error::Locked { .. })));
    drop(open);
    let plan = repo.plan_prune(&Options::default()).unwrap();
    assert!(matches!(
        Transaction::begin(&repo),
        Err(Error::Locked { .. })
    ));
    drop(plan);
    drop(Transaction::begin(&repo).unwrap());
}
