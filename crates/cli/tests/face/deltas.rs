// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta` beside the real `ostree`: what either makes, the other applies, in every mode.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use oxtree_testkit::{Output, Tool};

use crate::side::{Side, ours};

/// Content that does not pack, and looks different to each `seed`.
fn noise(seed: u32, len: u32) -> Vec<u8> {
    let word = |n: u32| {
        (n ^ seed)
            .wrapping_mul(2_654_435_761)
            .rotate_left(n % 7)
            .to_le_bytes()
    };
    (0..len / 4).flat_map(word).collect()
}

/// Two commits: between them files are patched, copied in part, new, gone, links, empty, too large.
fn update() -> (Side, String, String) {
    let side = Side::new();
    let tree = side.path("tree");
    let (mut patched, mut copied) = (noise(1, 300_000), noise(2, 400_000));
    fs::write(tree.join("patched"), &patched).unwrap();
    fs::write(tree.join("d/copied"), &copied).unwrap();
    fs::write(tree.join("small.txt"), "some text\n".repeat(99)).unwrap();
    fs::write(tree.join("private"), noise(3, 9000)).unwrap();
    fs::set_permissions(tree.join("private"), fs::Permissions::from_mode(0o600)).unwrap();
    let from = side.commit("main", &[]);
    patched.iter_mut().step_by(301).for_each(|byte| *byte ^= 1);
    copied.splice(150_000..150_000, *b"inserted");
    fs::write(tree.join("patched"), &patched).unwrap();
    fs::write(tree.join("d/copied"), &copied).unwrap();
    fs::write(
        tree.join("small.txt"),
        format!("header\n{}", "some text\n".repeat(99)),
    )
    .unwrap();
    fs::write(
        tree.join("private"),
        [&noise(3, 9000)[..], b"more"].concat(),
    )
    .unwrap();
    fs::write(tree.join("new"), noise(4, 1_500_000)).unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::remove_file(tree.join("f")).unwrap();
    fs::remove_file(tree.join("l")).unwrap();
    symlink("new", tree.join("l")).unwrap();
    let to = side.commit("main", &["--add-detached-metadata-string=note=hello"]);
    (side, from, to)
}

const WHOLE: &str = "--min-fallback-size=0";

/// The path of the only delta.
fn folder(side: &Side) -> String {
    let only = |path: String| {
        let mut names = fs::read_dir(side.path(&path)).unwrap();
        let name = names
            .next()
            .unwrap()
            .unwrap()
            .file_name()
            .into_string()
            .unwrap();
        assert!(names.next().is_none(), "{path}");
        format!("{path}/{name}")
    };
    only(only("repo/deltas".to_owned()))
}

fn ls(side: &Side, repo: &str, commit: &str) -> String {
    let words = ["ls", "-R", "-C", "-X", &format!("--repo={repo}"), commit];
    side.real(&words).expect_ok().stdout()
}

fn generate(side: &Side, real: bool, options: &[&str]) -> Output {
    let words = [
        &["static-delta", "generate", "--repo=repo", "main"],
        options,
    ]
    .concat();
    let output = if real {
        side.real(&words)
    } else {
        side.ours(&words)
    };
    output.expect_ok()
}

#[test]
fn each_applies_what_the_other_makes() {
    let (side, from, to) = update();
    let wanted = ls(&side, "repo", &to);
    // Who makes it (the real one or not), how, and who applies it into which mode.
    type Case<'a> = (bool, &'a [&'a str], &'a [(&'a str, bool)]);
    let cases: [Case<'_>; 6] = [
        (true, &[], &[("bare-user", false), ("archive", false)]),
        (
            true,
            &[
                "--disable-bsdiff",
                "--max-chunk-size=1",
                "--swap-endianness",
            ],
            &[("bare", false)],
        ),
        (true, &["--inline", "--empty"], &[("bare-user", false)]),
        (
            false,
            &["--max-chunk-size=1"],
            &[("bare-user", true), ("bare", true), ("bare", false)],
        ),
        (
            false,
            &["--inline", "--swap-endianness"],
            &[("bare-user", true)],
        ),
        (
            false,
            &["--disable-bsdiff", "--set-endianness=B"],
            &[("bare-user", true)],
        ),
    ];
    for (real, options, targets) in cases {
        generate(&side, real, &[options, &[WHOLE]].concat());
        let folder = folder(&side);
        for (mode, by_real) in targets {
            let what = format!("{options:?} into {mode}, made by the real one: {real}");
            let _ = fs::remove_dir_all(side.path("dst"));
            side.real(&["init", "--repo=dst", "--mode", mode])
                .expect_ok();
            if !options.contains(&"--empty") {
                side.real(&["pull-local", "--repo=dst", "repo", &from])
                    .expect_ok();
            }
            let words = ["static-delta", "apply-offline", "--repo=dst", &folder];
            let applied = if *by_real {
                side.real(&words)
            } else {
                side.ours(&words)
            };
            assert!(applied.code == Some(0), "{what}: {}", applied.stderr());
            side.real(&["fsck", "--repo=dst"]).expect_ok();
            assert_eq!(ls(&side, "dst", &to), wanted, "{what}");
            let note = [
                "show",
                "--repo=dst",
                "--print-detached-metadata-key=note",
                &to,
            ];
            assert_eq!(side.real(&note).expect_ok().stdout(), "'hello'\n", "{what}");
        }
        let name = side.real(&["static-delta", "list", "--repo=repo"]).stdout();
        let name = name.trim();
        // The real one cannot look into parts that are in the superblock.
        if !options.contains(&"--inline") {
            let show = ["static-delta", "show", "--repo=repo", name];
            let shown = side.ours(&show).expect_ok().stdout();
            let real = side.real(&show).expect_ok().stdout();
            let lines = |text: &str| -> Vec<String> {
                let own = |line: &&str| !line.starts_with("Signed:");
                text.lines().filter(own).map(str::to_owned).collect()
            };
            assert_eq!(lines(&shown), lines(&real));
        }
        side.ours(&["static-delta", "delete", "--repo=repo", name])
            .expect_ok();
        assert_eq!(fs::read_dir(side.path("repo/deltas")).unwrap().count(), 0);
    }
}

#[test]
fn what_is_made_is_what_was_asked_for() {
    let (side, from, to) = update();
    let said = |options: &[&str]| generate(&side, false, options).stderr();
    let small = said(&["--min-fallback-size=1"]);
    assert!(
        small.contains("fallback for") && small.contains("rollsum=1 objects"),
        "{small}"
    );
    assert!(small.contains("bsdiff=2 objects"), "{small}");
    assert!(said(&["--disable-bsdiff"]).contains("bsdiff=0 objects"));
    assert!(said(&["--max-bsdiff-size=0"]).contains("bsdiff=0 objects"));
    let folder = folder(&side);
    assert!(side.path(&folder).join("0").exists());
    // One replaces the other, parts and all.
    said(&["--inline"]);
    assert!(!side.path(&folder).join("0").exists());
    let again = generate(&side, false, &["--if-not-exists"]);
    assert_eq!(
        again.stdout(),
        format!("Delta {from}-{to} already exists.\n")
    );
    // What a client cannot read as root is none of a patch's bases.
    let show = side.ours(&[
        "static-delta",
        "show",
        "--repo=repo",
        &format!("{from}-{to}"),
    ]);
    let operations = show.expect_ok().stdout();
    assert!(
        operations.contains(" open=3 ") && operations.contains(" bspatch=2\n"),
        "{operations}"
    );

    fs::create_dir(side.path("out")).unwrap();
    said(&["--filename=out/some.delta", WHOLE, "--max-chunk-size=1"]);
    assert!(side.path("out/some.delta").exists() && side.path("out/1").exists());
    side.real(&["init", "--repo=dst", "--mode=bare-user"])
        .expect_ok();
    let apply = [
        "static-delta",
        "apply-offline",
        "--repo=dst",
        "out/some.delta",
    ];
    let missing = side.ours(&apply);
    let message = format!("Commit {from}, which is the delta source, is not in repository");
    assert!(
        missing.code == Some(1) && missing.stderr().contains(&message),
        "{missing:?}"
    );
    side.real(&["pull-local", "--repo=dst", "repo", &from])
        .expect_ok();
    side.ours(&apply).expect_ok();
    side.real(&["fsck", "--repo=dst"]).expect_ok();
    // A part that another one was put in the place of.
    fs::copy(side.path("out/0"), side.path("out/1")).unwrap();
    side.real(&["refs", "--repo=dst", "--delete", "main"]);
    side.real(&["prune", "--repo=dst", "--refs-only", "--depth=0"]);
    side.real(&["pull-local", "--repo=dst", "repo", &from])
        .expect_ok();
    let wrong = side.ours(&apply);
    assert!(
        wrong.code == Some(1) && wrong.stderr().contains("out of")
            || wrong.stderr().contains("instead of"),
        "{wrong:?}"
    );
    side.real(&["fsck", "--repo=dst"]).expect_ok();

    for (words, says) in [
        (&["show", "GARBAGE"][..], "Invalid rev GARBAGE"),
        (&["show"], "DELTA must be specified"),
        (&["delete", &to], "Can't find delta"),
        (&["generate"], "TO revision must be specified"),
        (
            &["generate", "--empty", "--from=main^", "main"],
            "Cannot specify both --empty and --from=REV",
        ),
        (
            &["generate", "--set-endianness=x", "main"],
            "Invalid endianness 'x'",
        ),
        (&["apply-offline"], "PATH must be specified"),
        (&["bla"], "Unknown \"static-delta\" subcommand 'bla'"),
    ] {
        let words = [&["static-delta"], words, &["--repo=repo"]].concat();
        let (real, ours) = (side.real(&words), side.ours(&words));
        assert_eq!(real.code, ours.code, "{words:?}");
        for output in [real, ours] {
            assert!(output.stderr().contains(says), "{words:?}: {output:?}");
        }
    }
}

#[test]
fn signatures_and_indexes() {
    let side = Side::new();
    let to = side.commit("main", &[]);
    let dummy = |real: bool, words: &[&str]| {
        let tool = if real { Tool::ostree() } else { ours("ostree") };
        let tool = tool
            .env("OSTREE_DUMMY_SIGN_ENABLED", "1")
            .env("LC_ALL", "C.UTF-8");
        tool.dir(side.path("."))
            .run([&["static-delta"], words, &["--repo=repo"]].concat())
    };
    assert_eq!(dummy(false, &["list"]).stdout(), "(No static deltas)\n");
    assert_eq!(
        dummy(false, &["indexes"]).stdout(),
        "(No static deltas indexes)\n"
    );
    let sign = [
        "generate",
        "--empty",
        "main",
        "--sign-type=dummy",
        "--sign=good",
    ];
    for maker in [true, false] {
        dummy(maker, &sign).expect_ok();
        for reader in [true, false] {
            let verify = |key| dummy(reader, &["verify", "--sign-type=dummy", &to, key]);
            assert_eq!(verify("good").expect_ok().stdout(), "Verification OK\n");
            let bad = verify("bad");
            assert_eq!(
                (bad.code, bad.stdout()),
                (Some(1), "Verification fails\n".to_owned())
            );
            assert!(
                bad.stderr().contains("dummy: incorrect signature"),
                "{bad:?}"
            );
        }
    }
    // What is to be signed is, by a key that is trusted, or not applied.
    let folder = folder(&side);
    side.real(&["init", "--repo=dst", "--mode=bare-user"])
        .expect_ok();
    side.real(&[
        "config",
        "--repo=dst",
        "set",
        "core.sign-verify-deltas",
        "true",
    ])
    .expect_ok();
    let apply = |keys: &[&str]| {
        let words = [
            &[
                "static-delta",
                "apply-offline",
                "--repo=dst",
                "--sign-type=dummy",
                &folder,
            ],
            keys,
        ];
        let tool = ours("ostree").env("OSTREE_DUMMY_SIGN_ENABLED", "1");
        tool.dir(side.path(".")).run(words.concat())
    };
    let without = apply(&[]);
    assert!(
        without
            .stderr()
            .contains("Key is mandatory to check delta signature"),
        "{without:?}"
    );
    assert!(
        apply(&["bad"])
            .stderr()
            .contains("signature: dummy: incorrect signatures found: 1")
    );
    dummy(true, &["generate", "--empty", "main"]).expect_ok();
    assert!(
        apply(&["good"])
            .stderr()
            .contains("no signatures in static-delta")
    );
    let objects = side.path("dst/objects");
    assert_eq!(fs::read_dir(&objects).unwrap().count(), 0);
    dummy(false, &sign).expect_ok();
    apply(&["good"]).expect_ok();
    side.real(&["fsck", "--repo=dst"]).expect_ok();

    // A repository on this machine is taken for one far away.
    side.real(&["init", "--repo=third", "--mode=bare-user"])
        .expect_ok();
    let pull = [
        "pull-local",
        "--repo=third",
        "--require-static-deltas",
        "repo",
        "main",
    ];
    let none = side.ours(&pull);
    assert!(
        none.stderr()
            .contains("Static deltas required, but none found for"),
        "{none:?}"
    );
    side.real(&["summary", "-u", "--repo=repo"]).expect_ok();
    let pulled = side.ours(&pull).expect_ok().stdout();
    assert!(
        pulled.starts_with("1 delta parts, 2 loose fetched; "),
        "{pulled}"
    );
    assert!(pulled.ends_with("; 0 bytes content written\n"), "{pulled}");
    side.real(&["fsck", "--repo=third"]).expect_ok();
    // An object that the delta does without is one more.
    fs::create_dir(side.path("large")).unwrap();
    fs::write(side.path("large/noise"), noise(4, 1 << 20)).unwrap();
    let commit = ["commit", "--repo=repo", "-b", "large", "large"];
    let large = side.ours(&commit).expect_ok().stdout();
    dummy(
        false,
        &["generate", "--empty", "--min-fallback-size=1", "large"],
    )
    .expect_ok();
    side.real(&["summary", "-u", "--repo=repo"]).expect_ok();
    let pull = [&pull[..4], &["large"]].concat();
    let pulled = side.ours(&pull).expect_ok().stdout();
    assert!(
        pulled.starts_with("1 delta parts, 3 loose fetched; 1.0\u{a0}MB transferred"),
        "{pulled}"
    );
    assert!(
        pulled.ends_with("; 1.0\u{a0}MB content written\n"),
        "{pulled}"
    );
    side.real(&["fsck", "--repo=third"]).expect_ok();
    dummy(false, &["delete", large.trim()]).expect_ok();
    fs::remove_dir_all(side.path("repo/delta-indexes")).unwrap();

    // The index is the one that a summary comes with.
    dummy(false, &["reindex", "--to=main"]).expect_ok();
    assert_eq!(dummy(false, &["indexes"]).stdout(), format!("{to}\n"));
    let path = fs::read_dir(side.path("repo/delta-indexes"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let file = fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
    let index = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    side.real(&["summary", "-u", "--repo=repo"]).expect_ok();
    assert_eq!(fs::read(&file).unwrap(), index);
    dummy(false, &["delete", &to]).expect_ok();
    dummy(false, &["reindex"]).expect_ok();
    assert!(!file.exists());
}

/// A delta that is one file, or a folder elsewhere, is shown as one of the repository is.
#[test]
fn files_are_shown() {
    let (side, from, to) = update();
    let words = ["static-delta", "generate", "--repo=repo", "--inline", WHOLE];
    let ends = [format!("--from={from}"), format!("--to={to}")];
    let file = side.path("one.delta");
    let filename = format!("--filename={}", file.display());
    side.ours(&[&words[..], &[&ends[0], &ends[1]]].concat())
        .expect_ok();
    side.ours(&[&words[..], &[&ends[0], &ends[1], &filename]].concat())
        .expect_ok();
    let show = |delta: &str| side.ours(&["static-delta", "show", "--repo=repo", delta]);
    let name = format!("{from}-{to}");
    let shown = show(&name).expect_ok().stdout();
    assert!(shown.contains(&format!("To: {to}")), "{shown}");
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("Timestamp"));
        lines.map(str::to_owned).collect()
    };
    let folder = side.path(&folder(&side));
    for path in [&file, &folder, &folder.join("superblock")] {
        let of_path = show(path.to_str().unwrap()).expect_ok().stdout();
        assert_eq!(lines(&of_path), lines(&shown), "{}", path.display());
    }
    fs::write(&file, "no delta").unwrap();
    for (path, reason) in [
        (file.to_str().unwrap(), "one.delta"),
        ("./none", "./none"),
        ("none", "Invalid rev none"),
    ] {
        let said = show(path).expect_failure().stderr();
        assert!(said.contains(reason), "{said}");
    }
}
