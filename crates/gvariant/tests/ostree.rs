// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares with what the real `ostree` writes and prints.

use std::fs;

use oxtree_gvariant::{Be, Dict, Seq, Variant, from_bytes, text};
use oxtree_testkit::Tool;

type Commit<'a> = (
    Dict<'a>,
    &'a [u8],
    Seq<'a, (&'a str, &'a [u8])>,
    &'a str,
    &'a str,
    Be<u64>,
    &'a [u8],
    &'a [u8],
);

/// What a user may type after `--add-metadata=KEY=`.
const VALUES: [&str; 12] = [
    "uint32 5",
    "-7",
    "[1, 2]",
    "\"it's\"",
    "@a{sv} {}",
    "{'a': <1>, 'b': <[byte 1]>}",
    "(1.5, 'é', true)",
    "b'bytes\\377'",
    "[byte 0x01, 0x00, 2]",
    "uint64 18446744073709551615",
    "@ms nothing",
    "objectpath '/a/b'",
];

#[test]
fn reads_and_prints_metadata_like_ostree() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let ostree = Tool::ostree().env("LC_ALL", "C.UTF-8");
    let repo = ostree.repo(dir.path().join("repo")).init("archive");

    let options: Vec<String> = VALUES
        .iter()
        .enumerate()
        .map(|(i, value)| format!("--add-metadata=key{i}={value}"))
        .collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let checksum = repo.commit("main", &tree, &options);
    let bytes = fs::read(repo.object(&checksum, "commit")).unwrap();

    // The whole object, both ways that `ostree show` prints it.
    let object = Variant::new("(a{sv}aya(say)sstayay)", &bytes).unwrap();
    let swapped = object.byteswapped().unwrap();
    for (args, value) in [
        (vec!["--raw"], swapped.as_ref()),
        (vec!["--raw", "--no-byteswap"], object),
    ] {
        let shown = repo.ok("show", args.into_iter().chain([checksum.as_str()]));
        let printed = text::print(value, true).unwrap();
        assert!(
            shown.lines().any(|line| line == printed),
            "{shown}\n{printed}"
        );
    }

    // Each value is what our parser makes of the text.
    let (metadata, .., timestamp, _, _) = from_bytes::<Commit<'_>>(&bytes).unwrap();
    assert_eq!(timestamp.0, 1_767_323_045);
    for (i, value) in VALUES.iter().enumerate() {
        let parsed = text::parse(value).unwrap();
        assert_eq!(
            metadata.lookup(&format!("key{i}")),
            Some(parsed.as_ref()),
            "{value}"
        );
    }
}
