// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with the repository at the far side, or with the disk it is on.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use oxtree_testkit::{BinDir, Repo, Snapshot, Tmpfs, Tool, trees};

use crate::fixture::{Fixture, OXTREE, assert_error, check_published};

#[test]
fn no_such_repository() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    fs::create_dir(fixture.at("empty")).expect("mkdir");
    fs::write(fixture.at("file"), "no repository").expect("write");
    for (name, what) in [
        ("none", &["repo", "not found"]),
        ("empty", &["not an OSTree repository", "objects"]),
        ("file", &["not an OSTree repository", "Not a directory"]),
    ] {
        let before = Snapshot::of(fixture.at(""));
        let words = fixture.words(&source, &fixture.at(name), &[]);
        let output = crate::fixture::oxtree().run(words);
        let path = fixture.at(name).display().to_string();
        assert_error(&output, 1, &[&path, what[0], what[1]]);
        before.assert_unchanged(&Snapshot::of(fixture.at("")));
    }
}

#[test]
fn a_config_that_cannot_be_used() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    let config = dest.path().join("config");
    let good = fs::read_to_string(&config).expect("read the config");
    for (bad, word) in [
        (good.replace("mode=archive-z2", "mode=odd"), "odd"),
        (good.replace("repo_version=1", "repo_version=9"), "9"),
        (
            format!("{good}[receive]\ndeny-deletes=perhaps\n"),
            "deny-deletes",
        ),
    ] {
        fs::write(&config, bad).expect("write the config");
        fixture.push_refused(&source, &dest, &[], &["config", word]);
    }
}

/// Pushes to a receiver that runs as `nobody`.
fn as_nobody(fixture: &Fixture, source: &Repo, dest: &Repo, said: &[&str]) {
    let bins = BinDir::copied(OXTREE, &["oxtree"]);
    let receive = format!(
        "--command=setpriv --reuid=65534 --regid=65534 --clear-groups {} receive",
        bins.path().join("oxtree").display()
    );
    fixture.push_refused(source, dest, &[&receive], said);
    fixture.push_refused(source, dest, &[&receive, "--dry-run"], said);
}

#[test]
fn no_permission() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    let path = dest.path().display().to_string();
    // Not even to be looked at.
    as_nobody(&fixture, &source, &dest, &["Permission denied", &path]);
    // To be read, but not to be written.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(fixture.at(""), open).expect("chmod");
    as_nobody(
        &fixture,
        &source,
        &dest,
        &["Permission denied", "writing", &path],
    );
}

#[test]
fn a_read_only_file_system() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let disk = Tmpfs::mount(4 << 20);
    let dest = Tool::ostree()
        .repo(disk.path().join("repo"))
        .init("archive");
    disk.make_read_only();
    fixture.push_refused(&source, &dest, &[], &["Read-only file system"]);
}

#[test]
fn a_full_disk() {
    let fixture = Fixture::new();
    let tree = fixture.tree(1);
    trees::incompressible(&tree.join("large"), 3 << 20, 1);
    for number in 0..40 {
        trees::incompressible(&tree.join(format!("small-{number}")), 50_000, number);
    }
    let source = fixture.source(&[]);
    source.commit("main", &tree, &["--canonical-permissions"]);
    for mode in ["archive", "bare"] {
        let disk = Tmpfs::mount(4 << 20);
        let dest = Tool::ostree().repo(disk.path().join("repo")).init(mode);
        fixture.push_refused(&source, &dest, &[], &["min-free-space-percent", "3"]);
        dest.ok("config", ["set", "core.min-free-space-percent", "0"]);
        fixture.push_refused(&source, &dest, &[], &["No space left on device"]);
        // What does fit can still be pushed.
        let small = fixture.repo(&format!("small-{mode}"), "archive");
        fixture.commit(&small, "main", 2);
        fixture.push_ok(&small, &dest, &[]);
        check_published(&small, &dest, &["main"]);
    }
}

#[test]
fn a_lock_that_somebody_holds() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    fixture.commit(&dest, "other", 3);
    dest.ok("config", ["set", "core.lock-timeout-secs", "1"]);
    // Another process: closing the file anywhere in this one would give up the lock.
    let script = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); \
                  print('held', flush=True); sys.stdin.read()";
    let mut holder = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(dest.path().join(".lock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start python3");
    let mut held = [0; 5];
    let mut stdout = holder.stdout.take().expect("a pipe");
    stdout.read_exact(&mut held).expect("the lock is held");
    fixture.push_refused(&source, &dest, &[], &["locked by another process", "1 s"]);
    drop(holder.stdin.take());
    holder.wait().expect("the holder's end");
    fixture.push_ok(&source, &dest, &[]);
}
