// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--tree=tar`, with archives that GNU tar made.

use std::path::Path;

use oxtree_testkit::{Tool, trees};

use crate::pair::{MODES, Pair};

fn tar(pair: &Pair, args: &[&str]) {
    Tool::new("/bin/tar").dir(pair.path("")).ok(args);
}

#[test]
fn every_kind_of_member_in_every_format() {
    for mode in MODES {
        let pair = Pair::new(mode);
        pair.tree("tree", |path| {
            trees::everything(path, trees::QUICK);
            // libostree 2022.7 keeps attributes in the order of the archive, newer ones and ours
            // in that of the format.
            std::fs::remove_file(path.join("xattrs/several")).unwrap();
            // libarchive composes accents, so that this file and another become one there.
            std::fs::remove_file(path.join("names/e\u{301}")).unwrap();
            deep_name(path);
        });
        for (name, args) in [
            ("gnu.tar", &["--format=gnu"][..]),
            (
                "pax.tar",
                &["--format=posix", "--xattrs", "--xattrs-include=*"],
            ),
            ("sparse.tar", &["--format=gnu", "--sparse"]),
            (
                "sparse-0.0.tar",
                &["--format=posix", "--sparse", "--sparse-version=0.0"],
            ),
            (
                "sparse-0.1.tar",
                &["--format=posix", "--sparse", "--sparse-version=0.1"],
            ),
            (
                "sparse-1.0.tar",
                &["--format=posix", "--sparse", "--sparse-version=1.0"],
            ),
            ("deflated.tar.gz", &["--gzip"]),
            ("linked.tar", &["--hard-dereference"]),
        ] {
            tar(&pair, &[args, &["-cf", name, "-C", "tree", "."]].concat());
            pair.same(&["-b", "main", &format!("--tree=tar={name}")]);
            std::fs::remove_file(pair.path(name)).unwrap();
        }
        pair.fsck();
    }
}

/// A path longer than the 100 and 256 bytes that old headers hold.
fn deep_name(path: &Path) {
    let mut path = path.to_owned();
    for _ in 0..3 {
        path.push("y".repeat(120));
        trees::directory(&path, 0o755);
    }
    trees::file(&path.join("z".repeat(120)), b"far\n", 0o644);
    std::os::unix::fs::symlink("w".repeat(200), path.join("link")).unwrap();
}

#[test]
fn owners_modes_and_parents() {
    for mode in ["archive", "bare-user-only"] {
        let pair = Pair::new(mode);
        pair.tree("tree", |path| {
            trees::small(path, 1);
            trees::directory(&path.join("owned"), 0o700);
            trees::file(&path.join("owned/file"), b"x\n", 0o4755);
            std::os::unix::fs::chown(path.join("owned"), Some(1), Some(2)).unwrap();
            std::os::unix::fs::chown(path.join("owned/file"), Some(7), Some(8)).unwrap();
        });
        pair.tree("under", |path| trees::small(path, 2));
        tar(&pair, &["-cf", "whole.tar", "-C", "tree", "."]);
        tar(
            &pair,
            &["-cf", "loose.tar", "-C", "tree", "owned/file", "sub/link"],
        );
        tar(&pair, &["-cf", "top.tar", "-C", "tree", "seed", "sub"]);
        tar(&pair, &["-cf", "none.tar", "-T", "/dev/null"]);
        let gap = [
            "-cf",
            "gap.tar",
            "--no-recursion",
            "-C",
            "tree",
            ".",
            "owned/file",
        ];
        tar(&pair, &gap);
        pair.file("skip", "/seed\n/sub\n/sub/link\n/sub/noise\n/sub/empty\n");
        pair.file("override", "512 /sub\n1024 /seed\n=384 /program\n");
        for args in [
            &["--tree=tar=whole.tar"][..],
            &["--tree=tar=whole.tar", "--owner-uid=5", "--owner-gid=6"],
            &["--tree=tar=whole.tar", "--canonical-permissions"],
            &["--tree=tar=whole.tar", "--mode-ro-executables"],
            &["--tree=tar=whole.tar", "--skip-list=skip"],
            &["--tree=tar=whole.tar", "--statoverride=override"],
            &["--tree=tar=whole.tar", "--tree=dir=under"],
            &["--tree=dir=under", "--tree=tar=top.tar"],
            &["--tree=tar=whole.tar", "--tree=tar=top.tar"],
            &["--tree=tar=top.tar", "--tar-autocreate-parents"],
            &["--tree=tar=loose.tar", "--tar-autocreate-parents"],
            &["--tree=tar=gap.tar", "--tar-autocreate-parents"],
            &["--tree=tar=none.tar", "--tar-autocreate-parents"],
            &[
                "--tree=tar=loose.tar",
                "--tar-autocreate-parents",
                "--owner-uid=9",
            ],
            &[
                "--tree=dir=under",
                "--tree=tar=loose.tar",
                "--tar-autocreate-parents",
            ],
        ] {
            pair.same(&[args, &["-b", "main"]].concat());
        }
        for args in [
            &["--tree=tar=loose.tar"][..],
            &["--tree=tar=top.tar"],
            &["--tree=tar=none.tar"],
        ] {
            pair.same_failure(&[args, &["-b", "main"]].concat());
        }
        pair.fsck();
    }
}

#[test]
fn standard_input() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| trees::small(path, 1));
    tar(&pair, &["-czf", "tree.tgz", "-C", "tree", "."]);
    let expected = pair.same(&["--orphan", "--tree=tar=tree.tgz"]);
    for (name, packed) in [("tree.txz", "-cJf"), ("tree.tzst", "--zstd -cf")] {
        let mut args: Vec<&str> = packed.split(' ').collect();
        args.extend([name, "-C", "tree", "."]);
        tar(&pair, &args);
        let again = pair.same(&["--orphan", &format!("--tree=tar={name}")]);
        assert_eq!(again, expected);
    }
    let find = "cd tree && find . | cpio --quiet -o -H newc >../tree.cpio";
    Tool::new("/bin/sh").dir(pair.path("")).ok(["-c", find]);
    assert_eq!(pair.same(&["--orphan", "--tree=tar=tree.cpio"]), expected);
    let script = format!(
        "exec {} commit --repo={} --orphan --timestamp=@1700000000 --tree=tar=- <{}",
        env!("CARGO_BIN_EXE_oxtree"),
        pair.ours.path().display(),
        pair.path("tree.tgz").display()
    );
    assert_eq!(Tool::new("/bin/sh").ok(["-c", &script]).trim(), expected);
}

#[test]
fn bad_archives() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| trees::small(path, 1));
    pair.tree("fifo", trees::with_fifo);
    pair.tree("name", trees::with_non_utf8_name);
    tar(&pair, &["-cf", "good.tar", "-C", "tree", "."]);
    tar(&pair, &["-czf", "good.tgz", "-C", "tree", "."]);
    tar(&pair, &["-cf", "fifo.tar", "-C", "fifo", "."]);
    tar(&pair, &["-cf", "name.tar", "-C", "name", "."]);
    let up = [
        "-P",
        "--transform=s,^seed$,a/../../seed,",
        "-cf",
        "up.tar",
        "-C",
        "tree",
        "seed",
    ];
    tar(&pair, &up);
    let clash = [
        "--transform=s,^sub,seed,",
        "-cf",
        "clash.tar",
        "-C",
        "tree",
        "seed",
        "sub",
    ];
    tar(&pair, &clash);
    for (name, from, len) in [("cut.tar", "good.tar", 700), ("cut.tgz", "good.tgz", 300)] {
        let bytes = std::fs::read(pair.path(from)).unwrap();
        std::fs::write(pair.path(name), &bytes[..len]).unwrap();
    }
    pair.file("text", &"this is no archive\n".repeat(100));
    for (name, message) in [
        ("fifo.tar", "Unsupported file type for path \"fifo\""),
        ("name.tar", "Invalid UTF-8 in filename bad-\\xff-name"),
        ("up.tar", "Invalid uplink '..' in path a/../../seed"),
        ("clash.tar", "Can't replace file with directory: seed"),
        ("cut.tar", "reading cut.tar"),
        ("cut.tgz", "reading cut.tgz"),
        ("text", "reading text"),
        (
            "missing.tar",
            "opening missing.tar: No such file or directory",
        ),
    ] {
        let tree = format!("--tree=tar={name}");
        pair.both_fail(&["-b", "main", "--tar-autocreate-parents", &tree], message);
        assert_eq!(pair.ours.refs(), [""; 0]);
    }
}

#[test]
fn names_are_filtered() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| {
        trees::small(path, 1);
        for dir in ["boot/x", "etc", "usr/bin"] {
            std::fs::create_dir_all(path.join(dir)).unwrap();
        }
        trees::file(&path.join("boot/kernel"), b"k\n", 0o644);
        trees::file(&path.join("etc/conf"), b"c\n", 0o644);
        std::fs::hard_link(path.join("boot/kernel"), path.join("usr/hard")).unwrap();
        std::os::unix::fs::symlink("conf", path.join("etc/link")).unwrap();
    });
    tar(&pair, &["-cf", "dot.tar", "-C", "tree", "."]);
    tar(
        &pair,
        &["-cf", "plain.tar", "-C", "tree", "boot", "etc", "usr"],
    );
    tar(
        &pair,
        &[
            "-Pcf",
            "absolute.tar",
            "--transform=s,^,//,S",
            "-C",
            "tree",
            "boot",
            "etc",
        ],
    );
    for archive in ["dot.tar", "plain.tar", "absolute.tar"] {
        for filter in [
            r"^boot(.*),usr/lib/ostree-boot\1",
            r"^etc/(.*),/usr/./etc//\1/",
            r"(k|conf),\U\1\Ez\x41",
            r"(?P<c>conf),\u\g<c>\g<1>\0",
            r"a,\9b",
            "a*,-",
            "e,",
        ] {
            let tree = format!("--tree=tar={archive}");
            let filter = format!("--tar-pathname-filter={filter}");
            let parents = "--tar-autocreate-parents";
            pair.same(&["--orphan", &tree, &filter, parents]);
        }
    }
    let tree = "--tree=tar=dot.tar";
    pair.same_failure(&["--orphan", tree, "--tar-pathname-filter=nocomma"]);
    for (filter, text) in [
        ("(,x", "unclosed group"),
        ("(?=a),x", "look-around"),
        (r"^etc(.*),../etc\1", "Invalid uplink '..' in path ../etc"),
    ] {
        let filter = format!("--tar-pathname-filter={filter}");
        let parents = "--tar-autocreate-parents";
        let out = pair
            .ours
            .run("commit", ["--orphan", tree, &filter, parents]);
        let message = out.expect_failure().stderr();
        assert!(message.contains(text), "{filter}: {message}");
    }
    pair.fsck();
}
