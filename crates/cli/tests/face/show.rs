// SPDX-License-Identifier: MIT OR Apache-2.0
//! `show` and `log`.

use crate::side::Side;

/// Three commits with every kind of message, time and metadata; their checksums.
fn history(side: &Side) -> [String; 3] {
    let first = side.commit(
        "main",
        &[
            "-s",
            "first",
            "-m",
            "body\ntwo lines\n\nend\n",
            "--timestamp=@0",
            "--add-metadata-string=version=1.0",
            "--generate-sizes",
        ],
    );
    let second = side.commit(
        "main",
        &[
            "--timestamp=@1700000000",
            "--add-metadata=num=uint32 5",
            "--add-metadata=bytes=[byte 1, 171]",
            "--add-metadata=version=<'odd'>",
            "--add-detached-metadata-string=det=x",
            "--add-detached-metadata-string=another=é\n",
        ],
    );
    let odd = side.commit(
        "odd",
        &[
            "-s",
            "\nmulti\nsubject\n",
            "-m",
            "\n",
            "--timestamp=@-100",
            "--add-metadata-string=ostree.endoflife=soon",
        ],
    );
    [first, second, odd]
}

#[test]
fn commits() {
    let side = Side::new();
    history(&side);
    for rev in ["main", "main^", "odd"] {
        for options in [&[][..], &["--raw"], &["-B"], &["--raw", "--no-byteswap"]] {
            side.same(&[&["show"], options, &[rev]].concat());
        }
        side.same(&["show", "--print-related", rev]);
        side.same(&["show", "--print-sizes", rev]);
        side.same(&["log", rev]);
        side.same(&["log", "--raw", rev]);
    }
}

#[test]
fn metadata() {
    let side = Side::new();
    history(&side);
    for key in [
        "version",
        "num",
        "bytes",
        "ostree.ref-binding",
        "ostree.sizes",
        "nope",
        "",
    ] {
        let option = format!("--print-metadata-key={key}");
        side.same(&["show", &option, "main"]);
        side.same(&["show", &option, "-B", "main^"]);
    }
    for key in ["det", "another", "nope"] {
        side.same(&["show", "--print-detached-metadata-key", key, "main"]);
        side.same(&["show", "--print-detached-metadata-key", key, "main^"]);
    }
    // Newer than the real tool on this machine.
    let list = side.ours(&["show", "--repo=repo", "--list-metadata-keys", "main"]);
    let keys = "bytes\nnum\nostree.ref-binding\nversion\n";
    assert_eq!(list.expect_ok().stdout(), keys);
    let list = side.ours(&[
        "show",
        "--repo=repo",
        "--list-detached-metadata-keys",
        "main",
    ]);
    assert_eq!(list.expect_ok().stdout(), "another\ndet\n");
    let args = [
        "show",
        "--repo=repo",
        "--print-hex",
        "--print-metadata-key=bytes",
        "main",
    ];
    assert_eq!(side.ours(&args).expect_ok().stdout(), "01ab\n");
}

#[test]
fn every_object() {
    let side = Side::new();
    history(&side);
    let mut count = 0;
    for folder in side.repo().join("objects").read_dir().unwrap() {
        let folder = folder.unwrap();
        for object in folder.path().read_dir().unwrap() {
            let first = folder.file_name().into_string().unwrap();
            let name = object.unwrap().file_name().into_string().unwrap();
            let checksum = first + name.split_once('.').unwrap().0;
            side.same(&["show", &checksum]);
            side.same(&["show", "--raw", &checksum]);
            side.same(&["show", "-B", &checksum]);
            count += 1;
        }
    }
    assert!(count >= 9, "{count} objects");
}

#[test]
fn sizes_of_what_is_missing() {
    let side = Side::new();
    let noise: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(side.path("tree/big"), noise).unwrap();
    side.commit("main", &["--generate-sizes"]);
    side.same(&["show", "--print-sizes", "main"]);
    for folder in side.repo().join("objects").read_dir().unwrap() {
        for object in folder.unwrap().path().read_dir().unwrap() {
            let path = object.unwrap().path();
            if path.extension().is_some_and(|e| e == "filez") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    let output = side.same(&["show", "--print-sizes", "main"]);
    assert!(output.stdout().contains("MB/"), "{output:?}");
}

#[test]
fn history_that_was_not_fetched() {
    let side = Side::new();
    let [first, ..] = history(&side);
    let (folder, name) = first.split_at(2);
    std::fs::remove_file(side.repo().join(format!("objects/{folder}/{name}.commit"))).unwrap();
    let output = side.same(&["log", "main"]);
    assert!(output.stdout().contains("<< History beyond"), "{output:?}");
    side.same(&["show", "main"]);
    side.same(&["show", &first]);
    side.same(&["log", &first]);
}

#[test]
fn files_as_variants() {
    let side = Side::new();
    let [first, ..] = history(&side);
    let (folder, name) = first.split_at(2);
    let path = format!("repo/objects/{folder}/{name}.commit");
    side.same(&["show", "--print-variant-type=(a{sv}aya(say)sstayay)", &path]);
    side.same(&["show", "--print-variant-type=ay", &path]);
    side.same(&["show", "--print-variant-type=ay", "no-such-file"]);
    for sig in ["u", "(a{sv", "", "a{sv}"] {
        let option = format!("--print-variant-type={sig}");
        let output = side
            .ours(&["show", "--repo=repo", &option, &path])
            .expect_failure();
        assert!(output.stderr().starts_with("error: "), "{output:?}");
    }
}

#[test]
fn dates_out_of_range() {
    let side = Side::new();
    side.commit("last", &["--timestamp=@253402300799"]);
    side.same(&["show", "last"]);
    let commit = side.commit("beyond", &["--timestamp=@253402300800"]);
    let output = side
        .ours(&["show", "--repo=repo", "beyond"])
        .expect_failure();
    let expected =
        format!("error: Failed to read commit {commit}: Invalid timestamp: 253402300800\n");
    assert_eq!(output.stderr(), expected);
    side.same(&["show", "--raw", "beyond"]);
}

#[test]
fn unknown_revs() {
    let side = Side::new();
    history(&side);
    let nowhere = "0".repeat(64);
    for rev in ["nope", "a b", "main^^^", "origin:main", &nowhere] {
        side.same(&["show", rev]);
        side.same(&["log", rev]);
        side.same(&["show", "--print-metadata-key=x", rev]);
    }
    let damaged = side.commit("damaged", &["--timestamp=@9"]);
    let (folder, name) = damaged.split_at(2);
    std::fs::write(
        side.repo().join(format!("objects/{folder}/{name}.commit")),
        "nonsense",
    )
    .unwrap();
    for args in [["show", "damaged"], ["log", "damaged"]] {
        let output = side
            .ours(&[&args[..], &["--repo=repo"]].concat())
            .expect_failure();
        assert!(output.stderr().contains(&damaged), "{output:?}");
        assert_eq!(output.stderr().lines().count(), 1, "{output:?}");
    }
}
