// SPDX-License-Identifier: MIT OR Apache-2.0
//! `oxtree install-links`.

use std::fs;

use oxtree_testkit::{BinDir, Tool, temp_dir};

use crate::OXTREE;

#[test]
fn links_are_made() {
    let dir = temp_dir();
    let at = |name: &str| dir.path().join(name);
    Tool::new(OXTREE).dir(dir.path()).ok(["install-links", "."]);
    for name in [
        "ostree-push",
        "ostree-receive",
        "ostree-receive-0",
        "ostree-receive-1",
        "ostree-receive-shell",
        "ostree-upload",
        "rofiles-fuse",
    ] {
        assert_eq!(
            fs::canonicalize(at(name)).unwrap(),
            fs::canonicalize(OXTREE).unwrap()
        );
    }
    assert_eq!(
        Tool::new(at("ostree-push")).ok(["--version"]),
        "ostree-push 1.2.0\n"
    );
    assert_eq!(dir.path().read_dir().unwrap().count(), 7);
    // Again is no mistake, but to replace something else takes a word.
    Tool::new(OXTREE).dir(dir.path()).ok(["install-links", "."]);
    fs::remove_file(at("ostree-push")).unwrap();
    fs::remove_file(at("ostree-receive")).unwrap();
    fs::write(at("ostree-receive"), "#!/usr/bin/python3").unwrap();
    let error = Tool::new(OXTREE)
        .dir(dir.path())
        .fails(["install-links", "."]);
    assert!(
        error.contains("ostree-receive is there already: --force"),
        "{error}"
    );
    assert!(
        !at("ostree-push").exists(),
        "nothing is done before all is looked at"
    );
    Tool::new(OXTREE)
        .dir(dir.path())
        .ok(["install-links", "--force", "--ostree", "."]);
    assert_eq!(dir.path().read_dir().unwrap().count(), 8);
    assert!(
        Tool::new(at("ostree"))
            .ok(["--version"])
            .starts_with("libostree:")
    );
    fs::remove_file(at("ostree")).unwrap();
    fs::create_dir(at("ostree")).unwrap();
    let error = Tool::new(OXTREE)
        .dir(dir.path())
        .fails(["install-links", "-f", "--ostree", "."]);
    assert!(error.contains("ostree is a directory"), "{error}");
    assert!(
        Tool::new(OXTREE)
            .fails(["install-links", "/no/such"])
            .contains("/no/such")
    );
}

/// Beside the binary they are relative, so that the directory can be moved or packed.
#[test]
fn links_beside_the_binary_are_relative() {
    let bins = BinDir::copied(OXTREE, &["oxtree"]);
    let dir = bins.path().to_str().unwrap();
    let text = Tool::new(bins.path().join("oxtree")).ok(["install-links", dir]);
    assert!(text.contains("/ostree-push -> oxtree\n"), "{text}");
    let link = fs::read_link(bins.path().join("ostree-push")).unwrap();
    assert_eq!(link.to_str(), Some("oxtree"));
}
