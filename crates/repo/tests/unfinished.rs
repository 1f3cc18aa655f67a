// SPDX-License-Identifier: MIT OR Apache-2.0
//! What pushes that were cut off leave behind.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oxtree_format::{Checksum, CommitId, FileHeader, FileId, ObjectId, ObjectKind, Xattrs};
use oxtree_repo::{Environment, Mode, Repo, Transaction};
use oxtree_testkit::{temp_dir, trees};

const MODES: [Mode; 4] = [
    Mode::Archive,
    Mode::Bare,
    Mode::BareUser,
    Mode::BareUserOnly,
];

/// The repository as it is after the machine was started for the `boot`th time.
fn open(path: &Path, boot: &str) -> Repo {
    let environment = Environment {
        boot_id: Some(boot.to_owned()),
        ..Environment::default()
    };
    Repo::open_in(path, &environment).expect("open the repository")
}

fn create(dir: &Path, mode: Mode) -> PathBuf {
    let path = dir.join(format!("repo-{mode}"));
    Repo::create(&path, mode, None).expect("make a repository");
    path
}

fn put(transaction: &Transaction<'_>, content: &[u8]) -> FileId {
    let header = FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink: None,
        xattrs: Xattrs::NONE,
    };
    let mut from = content;
    let size = content.len() as u64;
    let put = transaction.write_file(&header, size, &mut from, None);
    put.expect("put a file")
}

fn link(transaction: &Transaction<'_>, target: &str) -> FileId {
    let header = FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o120_777,
        symlink: Some(target.into()),
        xattrs: Xattrs::NONE,
    };
    let put = transaction.write_file(&header, 0, &mut std::io::empty(), None);
    put.expect("put a link")
}

fn tree(transaction: &Transaction<'_>) -> ObjectId {
    let bytes = oxtree_format::dirtree::write([], []).expect("an empty folder");
    let put = transaction.write_metadata(ObjectKind::DirTree, &bytes, None);
    ObjectId::new(ObjectKind::DirTree, put.expect("put a dirtree"))
}

/// The one quarantine below `tmp/`.
fn quarantine(repo: &Path) -> PathBuf {
    let mut found = entries(&repo.join("tmp"));
    found.retain(|path| !path.to_string_lossy().ends_with("-lock") && path.is_dir());
    found.retain(|path| !path.ends_with("cache"));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("read a folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

fn loose(quarantine: &Path, object: &ObjectId, mode: Mode) -> PathBuf {
    quarantine.join(object.loose_path(mode.is_archive()))
}

fn has(transaction: &Transaction<'_>, object: ObjectId) -> bool {
    transaction.has_staged(&object).expect("an answer")
}

#[test]
fn what_is_whole_is_found_after_a_restart_and_nothing_else() {
    let dir = temp_dir();
    for mode in MODES {
        let path = create(dir.path(), mode);
        let repo = open(&path, "first");
        let first = Transaction::quarantine(&repo).expect("a quarantine");
        assert!(!first.is_resumed());
        let large = vec![7; 3 << 20];
        let good = [
            put(&first, b"good"),
            put(&first, &large),
            link(&first, "to"),
        ];
        let bad = [
            put(&first, b"short"),
            put(&first, b"changed"),
            put(&first, b"not finished"),
            put(&first, b"a folder"),
            put(&first, b"a link"),
        ];
        let folder = tree(&first);
        let commit = CommitId(Checksum::of(b"a commit"));
        first
            .write_detached_metadata(commit, b"")
            .expect("put detached metadata");
        drop(first);

        let staging = quarantine(&path);
        let [short, changed, unfinished, a_folder, a_link] =
            bad.map(|id| loose(&staging, &id.object(), mode));
        File::options()
            .write(true)
            .open(&short)
            .and_then(|file| file.set_len(file.metadata()?.len() - 1))
            .expect("cut it off");
        let mut bytes = fs::read(&changed).expect("read it");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&changed, bytes).expect("change it");
        if mode.is_archive() {
            fs::set_permissions(&unfinished, Permissions::from_mode(0o600)).expect("chmod");
        } else {
            touch(&unfinished, Duration::from_secs(5));
        }
        for path in [&a_folder, &a_link] {
            fs::remove_file(path).expect("delete it");
        }
        fs::create_dir(&a_folder).expect("mkdir");
        symlink("/etc/passwd", &a_link).expect("symlink");
        fs::write(staging.join("nothing"), "x").expect("write");
        fs::create_dir(staging.join("AB")).expect("mkdir");
        fs::create_dir_all(staging.join("00/0")).expect("mkdir");
        fs::write(staging.join("00/.tmp-x"), "x").expect("write");

        let repo = open(&path, "second");
        let second = Transaction::quarantine(&repo).expect("a quarantine");
        assert!(!second.is_resumed(), "nothing was asked for");
        for id in good {
            assert!(has(&second, id.object()), "{mode}");
        }
        assert!(second.is_resumed(), "{mode}");
        second
            .load_metadata(&folder)
            .expect("what is read is found, too");
        for id in bad {
            assert!(!has(&second, id.object()), "{mode}");
        }
        assert!(!has(
            &second,
            ObjectId::new(ObjectKind::CommitMeta, commit.0)
        ));
        second.commit(&[]).expect("published");
        // What is no object is nobody's: that waits for its end.
        let mut left = entries(&staging);
        left.sort_unstable();
        assert_eq!(left, ["00", "nothing"].map(|name| staging.join(name)));
        assert_eq!(repo.list_objects().expect("a list").len(), good.len() + 1);
        let mut buffer = vec![0; 4096];
        for object in repo.list_objects().expect("a list") {
            repo.verify_object(&object, &mut buffer).expect("whole");
        }
    }
}

/// Sets a file's, or a folder's, time of change to `ago` before now.
fn touch(path: &Path, ago: Duration) {
    let file = File::open(path).expect("open it");
    file.set_modified(SystemTime::now() - ago).expect("touch");
}

#[test]
fn what_is_asked_for_is_taken_from_all_but_one_that_is_in_use() {
    let dir = temp_dir();
    let path = create(dir.path(), Mode::Archive);
    let mut ids = Vec::new();
    {
        let repo = open(&path, "first");
        let many: Vec<_> = (0..3)
            .map(|_| Transaction::quarantine(&repo).expect("a quarantine"))
            .collect();
        for (number, one) in many.iter().enumerate() {
            for at in 0..=number {
                ids.push(put(one, format!("{number} {at}").as_bytes()));
            }
            ids.push(put(one, b"in all of them"));
        }
    }
    let repo = open(&path, "second");
    let [one, other] = [1, 2].map(|_| Transaction::quarantine(&repo).expect("a quarantine"));
    let common = ids.pop().expect("some");
    ids.retain(|id| *id != common);
    let (mine, yours) = ids.split_at(3);
    for (transaction, ids) in [(&one, mine), (&other, yours)] {
        // Many threads may ask for the same.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for id in ids {
                        assert!(has(transaction, id.object()));
                    }
                });
            }
        });
    }
    assert!(one.is_resumed() && other.is_resumed());
    // What another has in use is not to be had.
    let third = Transaction::quarantine(&repo).expect("a quarantine");
    for id in mine {
        assert!(!has(&third, id.object()));
    }
    one.commit(&[]).expect("published");
    let public = repo.list_objects().expect("a list");
    assert_eq!(public.len(), mine.len(), "nothing that nobody asked for");
    assert!(mine.iter().all(|id| public.contains(&id.object())));
    other.abort().expect("thrown away");
    // One object is left, three times.
    assert_eq!(
        repo.unfinished()
            .expect("a list")
            .iter()
            .filter(|one| !one.running)
            .count(),
        3
    );
    assert!(has(&third, common.object()));
    drop(third);
    let left = repo.unfinished().expect("a list");
    assert_eq!(left.iter().map(|one| one.objects).sum::<u64>(), 3);
    assert!(left.iter().all(|one| !one.running));
}

#[test]
fn leftovers_make_room_when_space_is_short() {
    let dir = temp_dir();
    let path = create(dir.path(), Mode::BareUser);
    let repo = open(&path, "first");
    let cut_off = Transaction::quarantine(&repo).expect("a quarantine");
    let running = Transaction::quarantine(&repo).expect("a quarantine");
    put(&cut_off, &vec![1; 1 << 20]);
    let kept = put(&running, b"kept");
    drop(cut_off);
    let config = fs::read_to_string(path.join("config")).expect("read");
    fs::write(
        path.join("config"),
        format!("{config}min-free-space-size=999999TB\n"),
    )
    .expect("write");
    let full = open(&path, "first");
    let refused = Transaction::begin(&full).expect("a transaction");
    let header = FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink: None,
        xattrs: Xattrs::NONE,
    };
    let error = refused
        .write_file(&header, 1, &mut &b"x"[..], None)
        .expect_err("no room");
    assert!(error.is_no_space(), "{error}");
    let left = repo.unfinished().expect("a list");
    assert!(
        left.iter().all(|one| one.running) && left.len() == 1,
        "{left:?}"
    );
    assert!(has(&running, kept.object()));
}

#[test]
fn leftovers_expire_by_their_age_alone() {
    let dir = temp_dir();
    let path = create(dir.path(), Mode::Archive);
    let day = Duration::from_secs(86_400);
    let repo = open(&path, "first");
    let publish = || {
        let other = Transaction::begin(&repo).expect("a transaction");
        other.commit(&[]).expect("published");
    };
    let running = Transaction::quarantine(&repo).expect("a quarantine");
    let id = put(&running, b"x");
    let staging = quarantine(&path);
    let age = |ago: Duration| {
        entries(&staging).iter().for_each(|dir| touch(dir, ago));
        touch(&staging, ago);
    };
    age(2 * day);
    publish();
    assert!(staging.exists(), "it is in use");
    drop(running);

    // Something was added to a folder an hour ago.
    age(2 * day);
    touch(&entries(&staging)[0], day / 24);
    publish();
    assert!(staging.exists(), "it is not old");
    // A lock file whose directory was never made, and one that is new.
    let stray = ["oxtree-push-x-AAAAAA-lock", "staging-y-BBBBBB-lock"].map(|name| {
        let path = path.join("tmp").join(name);
        fs::write(&path, "").expect("write");
        path
    });
    touch(&stray[0], 2 * day);
    let of_another_boot = open(&path, "second");
    let other = Transaction::begin(&of_another_boot).expect("a transaction");
    other.commit(&[]).expect("published");
    assert!(staging.exists(), "a restart is no reason");
    assert!(!stray[0].exists() && stray[1].exists());

    let unfinished = repo.unfinished().expect("a list");
    assert_eq!(unfinished.len(), 1);
    let one = &unfinished[0];
    assert!(!one.running && one.objects == 1 && one.bytes > 0, "{one:?}");
    assert!(
        one.age > Duration::from_secs(3000) && one.age < day,
        "{one:?}"
    );

    age(2 * day);
    publish();
    assert!(!staging.exists());
    assert!(!repo.has_object(&id.object()).expect("an answer"));
    assert!(repo.unfinished().expect("a list").is_empty());
}

#[test]
fn cleaning_up_leaves_alone_what_is_in_use_or_new() {
    let dir = temp_dir();
    let path = create(dir.path(), Mode::BareUser);
    let repo = open(&path, "first");
    let [old, new, running] =
        [1, 2, 3].map(|_| Transaction::quarantine(&repo).expect("a quarantine"));
    for one in [&old, &new, &running] {
        put(one, b"x");
    }
    let before = repo.unfinished().expect("a list");
    assert_eq!(before.len(), 3);
    assert!(before.iter().all(|one| one.running && one.objects == 1));
    drop(old);
    let left: Vec<_> = repo.unfinished().expect("a list");
    let old = left.iter().find(|one| !one.running).expect("one has ended");
    let tmp = path.join("tmp").join(&old.name);
    entries(&tmp)
        .iter()
        .for_each(|dir| touch(dir, Duration::from_secs(600)));
    touch(&tmp, Duration::from_secs(600));
    drop(new);
    let delete = |secs| {
        let deleted = repo.delete_unfinished(Duration::from_secs(secs));
        deleted.expect("deleted")
    };
    assert!(delete(3600).is_empty());
    assert_eq!(delete(300)[0].name, old.name);
    assert_eq!(delete(300), []);
    assert_eq!(delete(0).len(), 1);
    assert_eq!(repo.unfinished().expect("a list").len(), 1);
    drop(running);
    assert_eq!(delete(0).len(), 1);
    // An unrelated tree, to be sure that the repository is as good as ever.
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("mkdir");
    trees::small(&tree, 1);
    let repo = oxtree_testkit::Tool::ostree().repo(&path);
    repo.commit("main", &tree, &[]);
    repo.fsck();
}
