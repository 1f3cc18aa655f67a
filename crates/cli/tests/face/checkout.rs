// SPDX-License-Identifier: MIT OR Apache-2.0
//! `checkout`. What it does with every mode and every kind of file is tested in the library; here
//! are the options, what happens to what is there already, and the errors.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;

use oxtree_testkit::{Output, compare_trees, trees};

use crate::side::{Side, ours};

const MODES: [&str; 4] = ["archive", "bare", "bare-user", "bare-user-only"];

/// A repository of `mode` in which the real tool has committed a tree with whiteouts as `main`.
fn side(mode: &str) -> Side {
    let side = Side::empty();
    side.real(&["init", "--repo=repo", &format!("--mode={mode}")])
        .expect_ok();
    side.real(&["config", "--repo=repo", "set", "core.fsync", "false"])
        .expect_ok();
    let tree = side.path("tree");
    std::fs::create_dir(&tree).unwrap();
    trees::small(&tree, 1);
    trees::directory(&tree.join("opaque"), 0o1777);
    trees::file(&tree.join("opaque/.wh..wh..opq"), b"", 0o644);
    trees::file(&tree.join("opaque/new"), b"new\n", 0o4755);
    trees::file(&tree.join("sub/.wh.gone"), b"", 0o644);
    trees::file(&tree.join("sub/.wh.gone-dir"), b"x", 0o644);
    trees::file(&tree.join("sub/.ostree-wh.white"), b"", 0o640);
    trees::file(&tree.join("sub/unreadable"), b"secret\n", 0o200);
    symlink("new", tree.join("opaque/link")).unwrap();
    side.commit("main", &["--timestamp=@1"]);
    side
}

/// Fills a directory with what is in the way of some entries of the commit, and what is not.
fn occupy(dir: &Path, with_conflicts: bool) {
    trees::directory(dir, 0o750);
    trees::directory(&dir.join("sub"), 0o700);
    trees::directory(&dir.join("sub/gone-dir"), 0o700);
    trees::file(&dir.join("sub/gone-dir/x"), b"x", 0o600);
    trees::file(&dir.join("sub/gone"), b"x", 0o600);
    trees::directory(&dir.join("opaque"), 0o700);
    trees::file(&dir.join("opaque/old"), b"x", 0o600);
    trees::file(&dir.join("same"), b"the same in every small tree\n", 0o644);
    if with_conflicts {
        trees::file(&dir.join("seed"), b"other\n", 0o600);
        trees::file(&dir.join("sub/empty"), b"other\n", 0o600);
        trees::file(&dir.join("sub/link"), b"other\n", 0o600);
    }
}

/// The error without names that are made up on the way.
fn error(output: &Output) -> String {
    let text = output.stderr();
    let line = text.lines().last().unwrap_or("").to_owned();
    match (line.find("renameat("), line.find("): ")) {
        (Some(from), Some(to)) => format!("{}{}", &line[..from], &line[to..]),
        _ => line,
    }
}

/// Checks out with both, after `prepare` has made what is there before, and compares all.
fn same(side: &Side, args: &[&str], prepare: impl Fn(&Path)) -> Output {
    let [real, ours] = ["real-out", "our-out"].map(|name| side.path(name));
    for out in [&real, &ours] {
        let _ = std::fs::remove_dir_all(out);
        prepare(out);
    }
    let was_there = ours.symlink_metadata().is_ok();
    let words = |out| [&["checkout", "--repo=repo"], args, &["main", out]].concat();
    let (by_real, by_ours) = (side.real(&words("real-out")), side.ours(&words("our-out")));
    assert_eq!(
        (by_ours.code, by_ours.stdout(), error(&by_ours)),
        (by_real.code, by_real.stdout(), error(&by_real)),
        "{args:?}"
    );
    if by_ours.code == Some(0) && real.exists() {
        let differences = compare_trees(&real, &ours);
        assert_eq!(differences, Vec::<String>::new(), "{args:?}");
    } else {
        // The real one leaves half a tree.
        let stays = was_there || by_ours.code == Some(0);
        assert_eq!(ours.exists(), real.exists() && stays, "{args:?}");
    }
    by_ours
}

fn nothing(_: &Path) {}

#[test]
fn options_give_the_same_trees() {
    for mode in MODES {
        let side = side(mode);
        for args in [
            &[][..],
            &["-U"],
            &["-U", "-z"],
            &["-M"],
            &["-U", "--disable-cache"],
            &["--fsync=true"],
            &["-U", "--fsync=no"],
            &["--whiteouts"],
            &["--process-passthrough-whiteouts"],
            &["-U", "--process-passthrough-whiteouts"],
            &["-C", "--process-passthrough-whiteouts"],
            &["--subpath=/opaque"],
            &["--subpath=sub", "-U"],
            &["--subpath=/opaque/new"],
            &["--subpath=opaque/new", "-U", "-C"],
            &["--subpath=/opaque/link"],
            &["--subpath=opaque/link", "-C"],
            &["--subpath=/nope", "--allow-noent"],
            &["-H"],
            &["-UH"],
        ] {
            same(&side, args, nothing);
        }
    }
}

#[test]
fn what_is_there_is_joined_replaced_or_refused() {
    for mode in MODES {
        let side = side(mode);
        for conflicts in [false, true] {
            for args in [
                &["--union"][..],
                &["--union", "-U"],
                &["--union", "-C"],
                &["--union-add"],
                &["--union-add", "-UC"],
                &["--union-identical", "-H"],
                &["--union-identical", "-UH"],
                &["--union", "--whiteouts"],
                &["--union", "--whiteouts", "-UC"],
                &["--union-add", "--whiteouts"],
                &["--union", "--process-passthrough-whiteouts"],
            ] {
                same(&side, args, |out| occupy(out, conflicts));
            }
        }
        // A second time: everything is there already.
        for args in [
            &["--union"][..],
            &["--union", "-U"],
            &["--union-identical", "-UH"],
            &["--union-identical", "-H"],
        ] {
            let twice = |out: &Path| {
                let name = out.to_str().unwrap();
                let words = [&["checkout", "--repo=repo"], args, &["main", name]].concat();
                let _ = side.real(&words);
            };
            same(&side, args, twice);
        }
    }
}

#[test]
fn types_in_the_way() {
    for mode in MODES {
        let side = side(mode);
        for args in [
            &["--union", "-U"][..],
            &["--union"],
            &["--union-add", "-U"],
            &["--union-identical", "-UH"],
        ] {
            same(&side, args, |out| {
                std::fs::create_dir_all(out).unwrap();
                trees::file(&out.join("sub"), b"no directory", 0o644);
            });
        }
        for args in [&["--union-add", "-U"], &["--union", "--whiteouts"]] {
            same(&side, args, |out| {
                std::fs::create_dir_all(out.join("seed/x")).unwrap();
                std::fs::create_dir_all(out.join("opaque/link/x")).unwrap();
            });
        }
        // As libostree since 2026: with whiteouts, a directory replaces a file or a link.
        for target in [None, Some("nowhere")] {
            let out = side.path("layers");
            std::fs::create_dir(&out).unwrap();
            match target {
                Some(target) => symlink(target, out.join("sub")).unwrap(),
                None => trees::file(&out.join("sub"), b"no directory", 0o644),
            }
            let words = [
                "checkout",
                "--repo=repo",
                "-U",
                "--union",
                "--whiteouts",
                "main",
                "layers",
            ];
            side.ours(&words).expect_ok();
            assert!(
                out.join("sub").symlink_metadata().unwrap().is_dir(),
                "{mode}"
            );
            std::fs::remove_dir_all(out).unwrap();
        }
        let over_dir = side.path("over-dir");
        std::fs::create_dir_all(over_dir.join("seed")).unwrap();
        let out = side.ours(&["checkout", "--repo=repo", "--union", "main", "over-dir"]);
        assert!(error(&out).ends_with("): Is a directory"), "{out:?}");
        let left = std::fs::read_dir(&over_dir).unwrap();
        let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            names
                .iter()
                .all(|name| !name.to_string_lossy().starts_with('.')),
            "{names:?}"
        );
    }
}

#[test]
fn links_in_the_destination_are_not_followed() {
    let side = side("bare-user");
    let (out, elsewhere) = (side.path("out"), side.path("elsewhere"));
    for args in [
        &["--union", "-U"][..],
        &["--union-add", "-U"],
        &["--union-identical", "-UH"],
        &["--union", "-C"],
    ] {
        let _ = std::fs::remove_dir_all(&out);
        let _ = std::fs::remove_dir_all(&elsewhere);
        std::fs::create_dir(&out).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        symlink("../elsewhere", out.join("sub")).unwrap();
        let words = [&["checkout", "--repo=repo"], args, &["main", "out"]].concat();
        let refused = side.ours(&words).expect_failure();
        assert_eq!(refused.stderr(), "error: opendir(sub): Not a directory\n");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
    // What the user names himself is another matter.
    symlink("elsewhere", side.path("named")).unwrap();
    side.ours(&["checkout", "--repo=repo", "-U", "--union", "main", "named"])
        .expect_ok();
    assert!(elsewhere.join("sub/noise").is_file());
}

#[test]
fn wrong_invocations() {
    let side = side("bare-user");
    std::fs::create_dir(side.path("there")).unwrap();
    std::fs::write(side.path("file"), "").unwrap();
    for args in [
        &["main", "there"][..],
        &["main", "file"],
        &["main", "no/such/directory"],
        &["nope", "x"],
        &[],
        &["--subpath=/nope", "main", "x"],
        &["--subpath=/sub/nope/z", "main", "x"],
        &["--subpath=/seed/x", "main", "x"],
        &["--subpath=", "main", "x"],
        &["-C", "--union", "--union-add", "main", "x"],
        &["--union-add", "--union-identical", "main", "x"],
        &["--union", "--union-identical", "main", "x"],
        &["--union-identical", "main", "x"],
        &["-H", "-C", "main", "x"],
        &["--selinux-prefix=/", "main", "x"],
        &["--fsync=maybe", "main", "x"],
        &["--skip-list=nope", "main", "x"],
        &["--from-stdin"],
    ] {
        let words = [&["checkout"], args].concat();
        side.same(&words).expect_failure();
        assert!(!side.path("x").exists(), "{args:?}");
    }
    std::fs::create_dir_all(side.path("root/etc/selinux")).unwrap();
    std::fs::write(
        side.path("root/etc/selinux/config"),
        "SELINUX=enforcing\nSELINUXTYPE=gone\n",
    )
    .unwrap();
    let out = side.ours(&[
        "checkout",
        "--repo=repo",
        "--selinux-policy=root",
        "main",
        "x",
    ]);
    let message = out.expect_failure().stderr();
    assert!(
        message.starts_with("error: With policy root 'root/etc/selinux/gone': "),
        "{message}"
    );
}

#[test]
fn the_destination_can_be_left_out_and_more_words_are_ignored() {
    let side = side("bare-user");
    for words in [
        &["checkout", "-U", "main"][..],
        &["checkout", "-U", "main", "out", "more"],
    ] {
        let words = [words, &["--repo=repo"]].concat();
        side.ours(&words).expect_ok();
    }
    let none = Vec::<String>::new();
    assert_eq!(compare_trees(side.path("main"), side.path("out")), none);
}

#[test]
fn skip_lists() {
    let side = side("bare-user");
    for list in [
        "/sub\n/seed\n",
        "/sub/\n/program",
        "/sub/link\n\n/opaque/new\n",
        "/",
    ] {
        std::fs::write(side.path("list"), list).unwrap();
        same(&side, &["-U", "--skip-list=list"], nothing);
        same(&side, &["--skip-list=list", "--subpath=/sub"], nothing);
    }
    std::fs::write(side.path("list"), "/noise\n").unwrap();
    same(&side, &["--skip-list=list", "--subpath=/sub"], nothing);
}

#[test]
fn many_at_once() {
    let side = side("bare-user");
    for (pairs, args) in [
        ("main\0/sub\0main\0/opaque\0", &["-U", "--union"][..]),
        ("main\0/sub\0main\0/opaque\0", &["-U"]),
        ("main\0/sub\0main\0/nope\0", &["-U", "--union"]),
        (
            "main\0/sub\0main\0/nope\0",
            &["-U", "--union", "--allow-noent"],
        ),
        ("main\0/sub", &["-U"]),
        ("main", &["-U"]),
        ("main\0\0", &["-U"]),
        ("", &["-U"]),
        ("nope\0/sub\0", &["-U"]),
    ] {
        std::fs::write(side.path("pairs"), pairs).unwrap();
        let [real, ours] = ["real-out", "our-out"].map(|name| side.path(name));
        let words = |out| {
            let from = ["checkout", "--repo=repo", "--from-file=pairs"];
            [&from[..], args, &[out]].concat()
        };
        let (by_real, by_ours) = (side.real(&words("real-out")), side.ours(&words("our-out")));
        assert_eq!(
            (by_ours.code, error(&by_ours)),
            (by_real.code, error(&by_real)),
            "{pairs:?} {args:?}"
        );
        if by_ours.code == Some(0) {
            assert_eq!(ours.exists(), real.exists(), "{pairs:?} {args:?}");
        } else {
            // The real one leaves half a tree.
            assert!(!ours.exists(), "{pairs:?} {args:?}");
        }
        if ours.exists() {
            assert_eq!(compare_trees(&real, &ours), Vec::<String>::new());
            std::fs::remove_dir_all(ours).unwrap();
        }
        let _ = std::fs::remove_dir_all(real);
    }
    let mut command = ours("ostree").command(["checkout", "-U", "--from-stdin", "--repo"]);
    command.args([side.repo(), side.path("by-stdin")]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"main\0/sub\0").unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert!(side.path("by-stdin/noise").is_file());
}

#[test]
fn the_cache_of_an_archive_is_filled_and_linked_to() {
    let side = side("archive");
    let links = |name: &str| side.path(name).symlink_metadata().unwrap().nlink();
    let run = |args: &[&str]| {
        let words = [&["checkout", "--repo=repo", "-U", "main"], args].concat();
        side.ours(&words).expect_ok()
    };
    run(&["--disable-cache", "a"]);
    assert!(!side.path("repo/uncompressed-objects-cache").exists());
    run(&["b"]);
    run(&["c"]);
    assert_eq!((links("a/sub/noise"), links("c/sub/noise")), (1, 3));
    assert_eq!((links("c/sub/empty"), links("c/sub/link")), (1, 1));
    let left = std::fs::read_dir(side.path("repo/tmp")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().contains("cache-")),
        "{names:?}"
    );
    // The real tool links to what we have cached.
    side.real(&["checkout", "--repo=repo", "-U", "main", "d"])
        .expect_ok();
    assert_eq!(links("d/sub/noise"), 4);
    side.ours(&[
        "config",
        "--repo=repo",
        "set",
        "core.enable-uncompressed-cache",
        "false",
    ])
    .expect_ok();
    run(&["e"]);
    assert_eq!(links("e/sub/noise"), 1);
}

#[test]
fn what_nobody_may_do() {
    let side = side("archive");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    let dir = side.path("");
    std::fs::set_permissions(&dir, open).unwrap();
    let nobody = ours("ostree").as_nobody().dir(&dir);
    let out = nobody.run(["checkout", "--repo=repo", "main", "x"]);
    assert!(error(&out.expect_failure()).ends_with("fchown: Operation not permitted"));
    // The cache cannot be written: then it goes without.
    nobody.ok(["checkout", "--repo=repo", "-U", "main", "y"]);
    assert!(side.path("y/sub/noise").is_file());
}

#[test]
fn what_we_committed_checks_out_alike() {
    for mode in MODES {
        let side = Side::empty();
        let tree = side.path("tree");
        std::fs::create_dir(&tree).unwrap();
        trees::every_kind(&tree, 1000);
        for words in [
            &["init", &format!("--mode={mode}")][..],
            &["config", "set", "core.fsync", "false"],
            &["commit", "--branch=main", "tree"],
        ] {
            side.ours(&[words, &["--repo=repo"]].concat()).expect_ok();
        }
        for args in [&[][..], &["-U"], &["-C"], &["--subpath=/owners"]] {
            same(&side, args, nothing);
        }
        if mode == "bare" || mode == "archive" {
            side.ours(&["checkout", "--repo=repo", "main", "out"])
                .expect_ok();
            // Attributes without a value are not committed, by libostree neither.
            let lost = ["./xattrs/several: xattr user.empty = \"\" and none"];
            assert_eq!(compare_trees(&tree, side.path("out")), lost);
        }
    }
}
