// SPDX-License-Identifier: MIT OR Apache-2.0
//! `prune` beside the real one: the same is printed, and the same objects remain.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use oxtree_testkit::Output;

use crate::side::{Side, ours};

/// A repository with histories, a mirror, static deltas, detached metadata, and objects that belong
/// to nothing.
fn store(mode: &str) -> Side {
    let side = Side::empty();
    side.real(&["init", "--repo=repo", &format!("--mode={mode}")])
        .expect_ok();
    side.real(&["config", "--repo=repo", "set", "core.fsync", "false"])
        .expect_ok();
    fs::create_dir_all(side.path("tree/sub/deep")).unwrap();
    for (number, day) in (1..=4).zip([1, 2, 3, 20]) {
        for branch in ["stable", "dev/x"] {
            let text = format!("{branch} {number}\n");
            fs::write(side.path("tree/sub/deep/file"), &text).unwrap();
            fs::write(side.path("tree/all"), format!("{number}\n")).unwrap();
            let time = format!("--timestamp=2026-01-{day:02} 12:00:00 +0000");
            let note = format!("--add-detached-metadata-string=note={number}");
            side.commit(branch, &[&time, &note]);
        }
    }
    side.commit(
        "gone",
        &["--timestamp=2026-01-10 12:00:00 +0000", "-s", "gone"],
    );
    let mirrored = side.rev("gone");
    let create = ["refs", "--repo=repo", "--delete", "gone"];
    side.real(&create).expect_ok();
    let create = "--create=org.example.Other:app";
    side.real(&["refs", "--repo=repo", "--collections", create, &mirrored])
        .expect_ok();
    for rev in ["stable", "stable^", "dev/x"] {
        side.real(&["static-delta", "--repo=repo", "generate", rev])
            .expect_ok();
    }
    // A commit without its branch, and what is left of one that was cut off.
    fs::write(side.path("tree/all"), "orphan\n").unwrap();
    side.real(&["commit", "--repo=repo", "--orphan", "--tree=dir=tree"])
        .expect_ok();
    fs::write(side.path("tree/all"), "cut off\n").unwrap();
    let cut_off = side.commit("cut-off", &[]);
    side.real(&["refs", "--repo=repo", "--delete", "cut-off"])
        .expect_ok();
    fs::remove_file(loose(&side.repo(), &cut_off, "commit")).unwrap();
    side
}

fn loose(repo: &Path, checksum: &str, kind: &str) -> std::path::PathBuf {
    let (first, rest) = checksum.split_at(2);
    repo.join(format!("objects/{first}/{rest}.{kind}"))
}

/// Every file below a directory, but what only tells of locks and times.
fn files(dir: &Path) -> BTreeSet<String> {
    let (mut found, mut pending) = (BTreeSet::new(), vec![String::new()]);
    while let Some(inside) = pending.pop() {
        let Ok(entries) = fs::read_dir(dir.join(&inside)) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{inside}{name}");
            match entry.file_type().unwrap().is_dir() {
                true => pending.push(format!("{path}/")),
                false => drop(found.insert(path)),
            }
        }
    }
    found
}

impl Side {
    fn rev(&self, rev: &str) -> String {
        let words = ["rev-parse", "--repo=repo", rev];
        self.real(&words).expect_ok().stdout().trim().to_owned()
    }

    fn assert_same_files(&self, about: &dyn std::fmt::Debug) {
        for part in ["objects", "deltas", "state"] {
            let (real, ours) = (self.repo().join(part), self.path("copy").join(part));
            assert_eq!(files(&ours), files(&real), "{about:?}: {part}");
        }
        self.real(&["fsck", "--repo=copy", "-q"]).expect_ok();
    }

    /// Prunes two copies of `store`, one with each tool.
    fn both_prune(&self, args: &[&str]) {
        for copy in ["repo", "copy"] {
            drop(fs::remove_dir_all(self.path(copy)));
            let (from, to) = (self.path("store"), self.path(copy));
            oxtree_testkit::Tool::new("/bin/cp").ok([Path::new("-a"), &from, &to]);
        }
        let words: Vec<&str> = ["prune"].iter().chain(args).copied().collect();
        self.same_change(&words);
        self.assert_same_files(&args);
    }
}

/// Every option does what the real one does.
fn as_the_real_one(mode: &str) {
    let side = store(mode);
    fs::rename(side.repo(), side.path("store")).unwrap();
    for args in [
        &[][..],
        &["--no-prune"],
        &["--refs-only"],
        &["--refs-only", "--no-prune"],
        &["--refs-only", "--depth=0"],
        &["--refs-only", "--depth=1", "--no-prune"],
        &["--refs-only", "--depth=1"],
        &["--refs-only", "--depth=-1"],
        &["--depth=0"],
        &["--commit-only"],
        &["--commit-only", "--refs-only", "--depth=0"],
        &["--commit-only", "--refs-only", "--depth=0", "--no-prune"],
    ] {
        side.both_prune(args);
    }
    // The real one forgets mirrors where one of these options is given, and leaves refs that lead
    // nowhere.
    let mirrors = side.path("store/refs/mirrors");
    fs::remove_dir_all(&mirrors).unwrap();
    fs::create_dir(&mirrors).unwrap();
    for args in [
        &["--keep-younger-than=2026-01-02 12:00:00 +0000"][..],
        &["--keep-younger-than=2026-01-15", "--no-prune"],
        &["--keep-younger-than=2030-01-01", "--commit-only"],
        &["--retain-branch-depth=stable=1", "--depth=0"],
        &[
            "--retain-branch-depth=stable=-1",
            "--keep-younger-than=2026-01-15",
        ],
        &["--only-branch=stable", "--depth=0"],
        &["--only-branch=stable", "--only-branch=dev/x", "--depth=1"],
        &[
            "--only-branch=dev/x",
            "--depth=0",
            "--retain-branch-depth=stable=1",
        ],
    ] {
        side.both_prune(args);
    }
}

#[test]
fn as_the_real_one_in_an_archive() {
    as_the_real_one("archive");
}

#[test]
fn as_the_real_one_in_a_bare_user_repository() {
    as_the_real_one("bare-user");
}

#[test]
fn deleted_commits_leave_tombstones() {
    let side = store("archive");
    let (tip, parent) = (side.rev("stable"), side.rev("stable^"));
    fs::rename(side.repo(), side.path("store")).unwrap();
    for args in [
        vec![format!("--delete-commit={parent}")],
        vec![
            format!("--delete-commit={parent}"),
            "--refs-only".to_owned(),
        ],
        vec![
            format!("--delete-commit={parent}"),
            "--commit-only".to_owned(),
        ],
        vec![format!("--delete-commit={tip}")],
        vec![
            format!("--delete-commit={tip}"),
            "--static-deltas-only".to_owned(),
        ],
        vec!["--static-deltas-only".to_owned()],
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        side.both_prune(&args);
        side.assert_copies_equal();
    }
}

/// What `prune` prints in a repository of ours alone.
fn pruned(side: &Side, args: &[&str]) -> Output {
    let words = ["prune", "--repo=repo"];
    ours("oxtree")
        .dir(side.path(""))
        .run(words.iter().chain(args))
        .expect_ok()
}

#[test]
fn mirrors_are_refs_whatever_the_options_are() {
    let side = store("archive");
    pruned(&side, &["--keep-younger-than=2026-01-15"]);
    side.real(&["fsck", "--repo=repo"]).expect_ok();
    let refs = side.real(&["refs", "--repo=repo", "--collections"]);
    assert!(refs.expect_ok().stdout().contains("app"));
}

#[test]
fn a_dry_run_says_what_goes_by_ref_and_deletes_nothing() {
    let side = store("archive");
    let before = files(&side.repo());
    let said = pruned(&side, &["--no-prune", "--refs-only", "--depth=0"]).stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("dev/x: 3 of 4 commits, "), "{said}");
    assert!(lines[1].starts_with("stable: 3 of 4 commits, "), "{said}");
    assert!(
        lines[2].starts_with("(org.example.Other, app): 0 of 1 commits, 0 objects"),
        "{said}"
    );
    assert!(lines[3].starts_with("(no ref): 1 commits, "), "{said}");
    let objects = |line: &str| -> u64 {
        let (before, _) = line.split_once(" objects").expect("a number of objects");
        before.rsplit([' ', ',']).next().unwrap().parse().unwrap()
    };
    let in_all = objects(lines.last().unwrap().trim_start_matches("Would delete:"));
    assert_eq!(
        lines[..4].iter().map(|line| objects(line)).sum::<u64>(),
        in_all
    );
    let after: BTreeSet<String> = files(&side.repo());
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.iter().all(|name| name.ends_with("lock")), "{new:?}");
    assert!(before.is_subset(&after));
}

#[test]
fn a_policy_says_what_stays_of_which_ref() {
    let side = store("archive");
    let policy = "# Development goes first.\n[ref \"dev/*\"]\ndepth=0\n[ref \"s*\"]\ndepth=2\n";
    fs::write(side.path("policy"), policy).unwrap();
    pruned(&side, &["--policy=policy"]);
    for (branch, commits) in [("dev/x", 1), ("stable", 3)] {
        let log = side.real(&["log", "--repo=repo", branch]).stdout();
        let shown = log
            .lines()
            .filter(|line| line.starts_with("commit "))
            .count();
        assert_eq!(shown, commits, "{branch}");
    }
    side.real(&["fsck", "--repo=repo"]).expect_ok();
    fs::write(side.path("policy"), "[ref \"dev/*\"]\ndepht=0\n").unwrap();
    let fault = side.ours(&["prune", "--repo=repo", "--policy=policy"]);
    assert!(fault.expect_failure().stderr().contains("depht"));
}

#[test]
fn what_is_young_stays_with_all_that_it_needs() {
    let side = store("archive");
    let before = files(&side.path("repo/objects"));
    let grace = "--keep-unreferenced-younger-than";
    pruned(&side, &[&format!("{grace}=1h")]);
    assert_eq!(files(&side.path("repo/objects")), before);
    let young = [
        "commit",
        "--repo=repo",
        "--orphan",
        "--tree=dir=tree",
        "--timestamp=2026-01-01",
    ];
    // Several times as long as this machine takes for a commit and a look at what goes.
    let begun = Instant::now();
    side.real(&[&young[..], &["--timestamp=2026-01-02"]].concat())
        .expect_ok();
    let look = ["prune", "--repo=repo", "--no-prune", "--depth=0"];
    side.ours(&look).expect_ok();
    let seconds = 4 * begun.elapsed().as_secs() + 2;
    // Times of commits are whole seconds.
    let wait = Duration::from_secs(seconds + 1) + Duration::from_millis(100);
    std::thread::sleep(wait);
    // Its file is old.
    let young = side.real(&young).expect_ok().stdout();
    pruned(&side, &["--depth=0", &format!("{grace}={seconds}s")]);
    side.real(&["fsck", "--repo=repo"]).expect_ok();
    side.real(&["ls", "--repo=repo", "-R", young.trim()])
        .expect_ok();
    let commits = |side: &Side| {
        let all = files(&side.path("repo/objects"));
        all.iter().filter(|name| name.ends_with(".commit")).count()
    };
    assert_eq!(commits(&side), 4);
    std::thread::sleep(wait);
    pruned(&side, &["--depth=0", &format!("{grace}={seconds}s")]);
    assert_eq!(commits(&side), 3);
    side.real(&["fsck", "--repo=repo"]).expect_ok();
}

#[test]
fn damage_stops_it_before_anything_is_lost() {
    for kind in ["commit", "dirtree"] {
        let side = store("archive");
        let checksum = match kind {
            "commit" => side.rev("stable"),
            _ => {
                let ls = ["ls", "--repo=repo", "-d", "-C", "stable", "/"];
                let line = side.real(&ls).expect_ok().stdout();
                line.split_whitespace().nth(4).unwrap().to_owned()
            }
        };
        let path = loose(&side.repo(), &checksum, kind);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 9;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        let before = files(&side.path("repo/objects"));
        let failed = side.ours(&["prune", "--repo=repo", "--refs-only"]);
        let said = failed.expect_failure().stderr();
        assert!(said.contains(&checksum), "{said}");
        assert_eq!(files(&side.path("repo/objects")), before);
    }
}

#[test]
fn what_a_push_has_received_is_not_touched() {
    let side = store("archive");
    let quarantine = side.path("repo/tmp/oxtree-push-boot-abcdef/12");
    fs::create_dir_all(&quarantine).unwrap();
    let name = format!("{}.filez", "3".repeat(62));
    fs::write(quarantine.join(&name), "x").unwrap();
    pruned(&side, &["--refs-only", "--depth=0"]);
    assert!(quarantine.join(name).exists());
}

#[test]
fn leftovers_of_a_prune_that_was_cut_off_go() {
    let side = store("archive");
    let checksum = "5".repeat(64);
    let meta = loose(&side.repo(), &checksum, "commitmeta");
    fs::create_dir_all(meta.parent().unwrap()).unwrap();
    fs::write(&meta, "").unwrap();
    let marker = side.path(&format!("repo/state/{checksum}.commitpartial"));
    fs::create_dir_all(marker.parent().unwrap()).unwrap();
    fs::write(&marker, "").unwrap();
    pruned(&side, &[]);
    assert!(!meta.exists() && !marker.exists());
}

#[test]
fn summaries_of_remotes_that_are_gone_go() {
    let side = store("archive");
    let add = ["remote", "add", "--repo=repo", "kept", "http://example.org"];
    side.real(&add).expect_ok();
    let cache = side.path("repo/tmp/cache/summaries");
    fs::create_dir_all(&cache).unwrap();
    for name in ["kept", "kept.sig", "gone", "gone.sig"] {
        fs::write(cache.join(name), "").unwrap();
    }
    pruned(&side, &["--no-prune"]);
    assert_eq!(files(&cache).len(), 4);
    pruned(&side, &[]);
    assert_eq!(
        files(&cache).into_iter().collect::<Vec<_>>(),
        ["kept", "kept.sig"]
    );
}
