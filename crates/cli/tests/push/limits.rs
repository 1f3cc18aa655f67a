// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the receiver's config allows. A pusher says which limit is in the way before it sends
//! anything.

use oxtree_testkit::trees;

use crate::fixture::{Fixture, check_published};

#[test]
fn each_limit_is_named_by_its_key_and_can_be_raised() {
    let fixture = Fixture::new();
    let tree = fixture.tree(1);
    trees::incompressible(&tree.join("large"), 300 << 10, 9);
    for mode in ["archive", "bare-user"] {
        let source = fixture.repo(&format!("source-{mode}"), mode);
        for name in ["a", "b"] {
            source.commit(name, &tree, &["--canonical-permissions"]);
        }
        for (key, little, enough) in [
            ("max-refs", "1", "2"),
            ("max-ids", "5", "500"),
            ("max-objects", "5", "500"),
            ("max-object-size", "299K", "301K"),
            ("max-bytes", "200K", "1M"),
            ("max-unpacked-size", "200K", "1M"),
            ("max-memory", "400", "1M"),
        ] {
            let dest = fixture.repo(&format!("{mode}-{key}"), "archive");
            let key = format!("receive.{key}");
            dest.ok("config", ["set", &key, little]);
            fixture.push_refused(&source, &dest, &[], &["limit", &key]);
            dest.ok("config", ["set", &key, enough]);
            fixture.push_ok(&source, &dest, &[]);
            check_published(&source, &dest, &["a", "b"]);
        }
    }
}

#[test]
fn the_pusher_keeps_to_the_size_of_frames() {
    let fixture = Fixture::new();
    let tree = fixture.at("many");
    std::fs::create_dir(&tree).expect("mkdir");
    trees::many(&tree, 700, 1);
    trees::incompressible(&tree.join("large"), 700 << 10, 9);
    for number in 0..5 {
        trees::incompressible(&tree.join(number.to_string()), 200 << 10, number);
    }
    for mode in ["archive", "bare-user"] {
        let source = fixture.repo(&format!("source-{mode}"), mode);
        source.commit("main", &tree, &["--canonical-permissions"]);
        let dest = fixture.repo(&format!("dest-{mode}"), "archive");
        dest.ok("config", ["set", "receive.max-frame-size", "64K"]);
        fixture.push_ok(&source, &dest, &[]);
        check_published(&source, &dest, &["main"]);
    }
}

#[test]
fn a_dry_run_finds_out_as_well() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    dest.ok("config", ["set", "receive.max-objects", "3"]);
    let said = ["over the receiver's limit of 3", "receive.max-objects"];
    fixture.push_refused(&source, &dest, &["--dry-run"], &said);
    dest.ok("config", ["set", "receive.max-objects", "three"]);
    let said = ["config", "receive.max-objects", "'three'"];
    fixture.push_refused(&source, &dest, &[], &said);
}

#[test]
fn a_large_file_of_zeros_is_no_bomb() {
    let fixture = Fixture::new();
    let tree = fixture.at("zeros");
    std::fs::create_dir(&tree).expect("mkdir");
    trees::sparse(&tree.join("image"), 256 << 20);
    let source = fixture.source(&[]);
    source.commit("main", &tree, &["--canonical-permissions"]);
    let dest = fixture.repo("dest", "archive");
    fixture.push_ok(&source, &dest, &[]);
    check_published(&source, &dest, &["main"]);
    let strict = fixture.repo("strict", "archive");
    strict.ok("config", ["set", "receive.max-ratio", "100"]);
    fixture.push_refused(&source, &strict, &[], &["receive.max-ratio"]);
}
