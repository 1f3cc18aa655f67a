// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories on this machine that were tampered with: `pull` verifies each object of a `file://`
//! remote, also what becomes a hard link.

use std::fs;
use std::path::{Path, PathBuf};

use oxtree_testkit::{BinDir, Repo, Tool};

use crate::fixture::{Fixture, MODES, OXTREE, objects, ours};

/// Gives an object of this kind the bytes of another one, so that its form is right.
fn tamper(source: &Repo, suffix: &str) {
    let all = objects(source.path()).into_iter();
    let of_kind: Vec<PathBuf> = all
        .map(|(name, _)| source.path().join(name))
        .filter(|path| path.extension().is_some_and(|found| found == suffix))
        .filter(|path| path.symlink_metadata().expect("an object").is_file())
        .collect();
    let bytes: Vec<Vec<u8>> = of_kind
        .iter()
        .map(|path| fs::read(path).expect("read"))
        .collect();
    for (number, path) in of_kind.iter().enumerate() {
        let other = bytes.iter().find(|other| **other != bytes[number]);
        let other = other.cloned().unwrap_or_else(|| flipped(&bytes[number]));
        fs::write(path, other).expect("write");
    }
}

/// With another mode: a dirmeta's third number.
fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.get_mut(11) {
        *byte ^= 1;
    }
    bytes
}

fn remote(client: &Repo, at: &Path) {
    let url = format!("file://{}", at.display());
    ours(client).ok(
        "remote",
        ["add", "--if-not-exists", "--no-gpg-verify", "o", &url],
    );
}

#[test]
fn a_remote_on_this_machine_is_verified() {
    for from in MODES {
        let file = if from == "archive" { "filez" } else { "file" };
        for suffix in [file, "dirtree", "dirmeta", "commit"] {
            let fixture = Fixture::new();
            let (source, commits) = fixture.history("source", from, 2);
            tamper(&source, suffix);
            // Files become hard links, copies, are packed or unpacked; all else is one of the first two.
            let targets = match suffix == file {
                true => &MODES[..],
                false => &[from, "archive"],
            };
            for (number, to) in targets.iter().enumerate() {
                let client = fixture.repo(&format!("client-{number}"), to);
                remote(&client, source.path());
                let failed = ours(&client).run("pull", ["o", "main"]).expect_failure();
                let said = failed.stderr();
                assert!(said.contains("Corrupted"), "{from} {to} {suffix}: {said}");
                assert_eq!(client.refs(), [""; 0]);
                assert!(!client.object(&commits[1], "commit").exists());
            }
        }
    }
}

/// The same remotes, as they should be.
#[test]
fn good_ones_are_taken() {
    for from in MODES {
        let fixture = Fixture::new();
        let (source, commits) = fixture.history("source", from, 2);
        for to in MODES {
            let client = fixture.repo(&format!("to-{to}"), to);
            remote(&client, source.path());
            ours(&client).ok("pull", ["--depth=-1", "o", "main"]);
            assert_eq!(client.rev_parse("o:main"), commits[1]);
            client.fsck();
        }
    }
}

/// A hard link is made of what is there, unless it is to be verified.
#[test]
fn pull_local_verifies_links_on_demand() {
    let fixture = Fixture::new();
    let (source, _) = fixture.history("source", "bare-user", 1);
    tamper(&source, "file");
    let client = fixture.repo("client", "bare-user");
    let path = source.path().display().to_string();
    let error = ours(&client).run("pull-local", ["--untrusted", &path, "main"]);
    assert!(error.expect_failure().stderr().contains("Corrupted"));
    assert_eq!(client.refs(), [""; 0]);
    ours(&client).ok("pull-local", [&path, "main"]);
}

/// As `ostree`, `pull-local` trusts its source as libostree does; as `oxtree` only where it links.
#[test]
fn ostree_trusts_a_repository_on_this_machine() {
    let names = BinDir::linked(OXTREE, &["ostree"]);
    let ostree = Tool::new(names.path().join("ostree"));
    for suffix in ["file", "commit"] {
        let fixture = Fixture::new();
        let (source, _) = fixture.history("source", "bare", 2);
        tamper(&source, suffix);
        let path = source.path().display().to_string();
        let client = fixture.repo(&format!("client-{suffix}"), "archive");
        ostree.repo(client.path()).ok("pull-local", [&path, "main"]);
        let client = fixture.repo(&format!("other-{suffix}"), "archive");
        let failed = ours(&client).run("pull-local", [&path, "main"]);
        assert!(failed.expect_failure().stderr().contains("Corrupted"));
    }
}
