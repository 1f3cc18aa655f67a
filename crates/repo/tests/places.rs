// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where repositories are made: on which file systems, for whom, and what is not followed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use oxtree_format::ObjectKind;
use oxtree_repo::{Mode, Repo, Transaction};
use oxtree_testkit::{Tmpfs, is_root};

#[test]
fn a_file_system_without_blocks_has_no_limit() {
    assert!(is_root(), "needs root");
    let ramfs = Tmpfs::mount_ramfs();
    for (name, rule) in [("percent", "percent=3"), ("size", "size=1TB")] {
        let path = ramfs.path().join(name);
        Repo::create(&path, Mode::Archive, None).unwrap();
        let config = format!("[core]\nrepo_version=1\nmode=archive\nmin-free-space-{rule}\n");
        fs::write(path.join("config"), config).unwrap();
        let repo = Repo::open(&path).unwrap();
        let transaction = Transaction::begin(&repo).unwrap();
        let tree = oxtree_format::dirtree::write([], []).unwrap();
        let write = transaction.write_metadata(ObjectKind::DirTree, &tree, None);
        write.unwrap();
        transaction.commit(&[]).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_repository_is_not_writable_by_all_users() {
    let dir = oxtree_testkit::temp_dir();
    let path = dir.path().join("repo");
    // Whatever umask the test runs with.
    let repo = Repo::create(&path, Mode::Archive, None).unwrap();
    for folder in [
        ".",
        "objects",
        "refs",
        "refs/heads",
        "tmp",
        "tmp/cache",
        "state",
    ] {
        assert_eq!(mode(&path.join(folder)) & 0o002, 0, "{folder}");
    }
    let remote = "origin".parse().unwrap();
    repo.write_remote_cookies(&remote, b"secret").unwrap();
    assert_eq!(mode(&path.join("origin.cookies.txt")), 0o600);
}

#[test]
fn nothing_is_made_behind_links() {
    let dir = oxtree_testkit::temp_dir();
    let path = dir.path().join("repo");
    let repo = Repo::create(&path, Mode::Archive, None).unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, path.join("refs/heads/link")).unwrap();
    let update =
        oxtree_repo::RefUpdate::set("link/a/b".parse().unwrap(), "1".repeat(64).parse().unwrap());
    repo.update_refs(&[update]).unwrap_err();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
