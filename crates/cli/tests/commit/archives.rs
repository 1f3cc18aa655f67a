// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--tree=tar` with archives that are packed in every way, whole and damaged.

use std::fs;

use oxtree_testkit::{Tool, trees};

use crate::pair::Pair;

const PACKERS: [(&str, &str); 7] = [
    ("gz", "gzip -c"),
    ("bz2", "bzip2 -c"),
    ("xz", "xz -c"),
    ("sha.xz", "xz -c --check=sha256"),
    ("crc.xz", "xz -c --check=crc32"),
    ("zst", "zstd -qc"),
    ("lzma", "xz -c --format=lzma"),
];

/// Bytes that cannot be packed.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(next).collect()
}

pub(crate) fn shell(pair: &Pair, script: &str) {
    Tool::new("/bin/sh").dir(pair.path("")).ok(["-c", script]);
}

/// `tree` in a tar and a cpio archive, each packed in every way.
fn packed(pair: &Pair) {
    pair.tree("tree", |path| {
        trees::small(path, 1);
        trees::file(&path.join("noise"), &noise(40_000), 0o644);
    });
    shell(
        pair,
        "tar cf t.tar -C tree .; cd tree && find . | cpio --quiet -oH newc >../t.cpio",
    );
    for (name, command) in PACKERS {
        for kind in ["tar", "cpio"] {
            shell(pair, &format!("{command} <t.{kind} >t.{kind}.{name}"));
        }
    }
}

#[test]
fn all_ways_of_packing_give_one_commit() {
    let pair = Pair::new("archive");
    packed(&pair);
    let expected = pair.same(&["--orphan", "--tree=tar=t.tar"]);
    for (name, _) in PACKERS {
        for kind in ["tar", "cpio"] {
            let tree = format!("--tree=tar=t.{kind}.{name}");
            assert_eq!(pair.same(&["--orphan", &tree]), expected, "{tree}");
        }
        // Zeros after the end are padding.
        let padding = format!("cp t.tar.{name} padded; head -c 512 /dev/zero >>padded");
        shell(&pair, &padding);
        if name != "zst" {
            assert_eq!(pair.same(&["--orphan", "--tree=tar=padded"]), expected);
        }
    }
    // Two members, the archive in both.
    shell(
        &pair,
        "(head -c 9000 t.tar | gzip; tail -c +9001 t.tar | gzip -9) >two.gz",
    );
    assert_eq!(pair.same(&["--orphan", "--tree=tar=two.gz"]), expected);
}

#[test]
fn damaged_archives_are_refused() {
    let pair = Pair::new("archive");
    packed(&pair);
    let args = ["-b", "main", "--timestamp=@1700000000", "--tree=tar=t.tar"];
    let whole = pair.ours.ok("commit", args).trim().to_owned();
    pair.ours.ok("refs", ["--delete", "main"]);
    let attempt = |what: &str, bytes: &[u8]| {
        fs::write(pair.path("damaged"), bytes).unwrap();
        let args = [
            "-b",
            "main",
            "--timestamp=@1700000000",
            "--tree=tar=damaged",
        ];
        let out = pair.ours.run("commit", args);
        let message = out.stderr();
        // A byte that nothing depends on may be what it likes.
        if out.code == Some(0) {
            assert_eq!(out.stdout().trim(), whole, "{what}: wrong bytes");
            pair.ours.ok("refs", ["--delete", "main"]);
            return true;
        }
        assert!(message.contains("damaged: "), "{what}: {message}");
        assert!(!message.contains("whole buffer"), "{what}: {message}");
        assert_eq!(pair.ours.refs(), [""; 0], "{what}");
        false
    };
    for (name, _) in PACKERS {
        for kind in ["tar", "cpio"] {
            let good = fs::read(pair.path(&format!("t.{kind}.{name}"))).unwrap();
            for back in [3, 11, 25, good.len() / 2, good.len() / 3] {
                let mut bad = good.clone();
                bad[good.len() - back] ^= 0x40;
                let taken = attempt(&format!("{kind}.{name}, {back} before the end"), &bad);
                assert!(!taken || back < 30, "{kind}.{name} {back}");
            }
            for cut in [1, 7, 300, good.len() / 2] {
                let what = format!("{kind}.{name} without its last {cut} bytes");
                assert!(!attempt(&what, &good[..good.len() - cut]), "{what}");
            }
            let more = [&good[..], b"garbage"].concat();
            assert!(!attempt(&format!("{kind}.{name} and garbage"), &more));
        }
    }
    for kind in ["tar", "cpio"] {
        let good = fs::read(pair.path(&format!("t.{kind}"))).unwrap();
        assert!(!attempt(kind, &good[..good.len() / 2 + 77]));
    }
}

#[test]
fn messages_name_what_is_wrong() {
    let pair = Pair::new("archive");
    packed(&pair);
    shell(
        &pair,
        "head -c 5000 t.tar >cut.tar; head -c 5000 t.cpio >cut.cpio; head -c 5000 t.tar.xz >cut.xz; \
         printf 'PK\\003\\004' | cat - t.tar >a.zip; (cat t.tar.gz; echo text) >more.gz",
    );
    for (name, text) in [
        ("cut.tar", "it is truncated"),
        ("cut.cpio", "it is truncated"),
        (
            "cut.xz",
            "the xz data ends too early: the file is truncated",
        ),
        ("a.zip", "this is a zip archive"),
        ("more.gz", "after the end of the packed data"),
    ] {
        let out = pair
            .ours
            .run("commit", ["--orphan", &format!("--tree=tar={name}")]);
        let message = out.expect_failure().stderr();
        assert!(
            message.contains(&format!("reading {name}: ")) && message.contains(text),
            "{message}"
        );
    }
    let script = format!(
        "exec {} commit --repo=ours --orphan --tree=tar=- <cut.xz",
        env!("CARGO_BIN_EXE_oxtree")
    );
    let out = Tool::new("/bin/sh").dir(pair.path("")).run(["-c", &script]);
    let message = out.expect_failure().stderr();
    assert!(
        message.contains("reading standard input: the xz data ends too early"),
        "{message}"
    );
}
