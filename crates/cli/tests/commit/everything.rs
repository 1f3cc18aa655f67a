// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree with every kind of thing in it.

use oxtree_testkit::{Compare, Repo, Tool, peak_rss, trees};

use crate::pair::{MODES, Pair};

#[test]
fn the_same_commit_in_every_mode() {
    for mode in MODES {
        let pair = Pair::new(mode);
        let tree = pair.tree("tree", |path| trees::everything(path, trees::FULL));
        let commit = pair.same(&["--branch=main", "--subject=all", "tree"]);
        assert_eq!(pair.ours.rev_parse("main"), commit);
        pair.fsck();
        assert_same_objects(&pair);
        assert_same_checkouts(&pair);
        // Again: nothing new but the commit.
        pair.same(&["--branch=main", "--table-output", "tree"]);
        pair.same(&["--branch=main", "--skip-if-unchanged", "tree"]);
        if mode == "bare" {
            let out = pair.path("out");
            Tool::ostree()
                .repo(pair.ours.path())
                .checkout("main", &out, &[]);
            // libostree leaves out attributes without a value, and so do we.
            let lost = ["./xattrs/several: xattr user.empty = \"\" and none"];
            assert_eq!(Compare::default().run(&tree, &out), lost);
        }
    }
}

/// Each tool checks out what the other has committed, to the same tree.
fn assert_same_checkouts(pair: &Pair) {
    let (by_real, by_ours) = (pair.path("by-real"), pair.path("by-ours"));
    Tool::ostree()
        .repo(pair.ours.path())
        .checkout("main", &by_real, &[]);
    crate::pair::our_tool()
        .repo(pair.real.path())
        .checkout("main", &by_ours, &[]);
    let mut differences = Compare::default().mtimes(true).run(&by_real, &by_ours);
    // What is linked from a bare repository is of 1970 with both; what is made anew is as old as
    // the checkout, with both.
    let epoch = "0.000000000";
    differences.retain(|line| !line.contains(": mtime ") || line.contains(epoch));
    assert_eq!(differences, Vec::<String>::new());
    for tree in [by_real, by_ours] {
        std::fs::remove_dir_all(tree).unwrap();
    }
}

/// The real tool's objects and no others; where they are not deflated, the same bytes.
fn assert_same_objects(pair: &Pair) {
    let names = |repo: &Repo| {
        let mut names = crate::pair::files_below(&repo.path().join("objects"));
        for name in &mut names {
            *name = name.strip_prefix(repo.path()).unwrap().to_owned();
        }
        names.sort();
        names
    };
    let objects = names(&pair.ours);
    assert_eq!(objects, names(&pair.real));
    let (real, ours) = (pair.real.path(), pair.ours.path());
    for object in objects {
        if object
            .extension()
            .is_some_and(|extension| extension == "filez")
        {
            continue;
        }
        let read = |repo: &std::path::Path| match std::fs::read_link(repo.join(&object)) {
            Ok(target) => target.into_os_string().into_encoded_bytes(),
            Err(_) => std::fs::read(repo.join(&object)).unwrap(),
        };
        assert_eq!(read(ours), read(real), "{}", object.display());
    }
    // Owners, modes and attributes are the same, too; the bytes were compared above.
    let differences: Vec<String> = Compare::default()
        .run(&real.join("objects"), &ours.join("objects"))
        .into_iter()
        .filter(|line| !line.contains(".filez: "))
        .collect();
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn memory_does_not_grow_with_files() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| {
        trees::incompressible(&path.join("big"), 300 << 20, 1);
        trees::sparse(&path.join("sparse"), 300 << 20);
        for n in 0..40 {
            trees::incompressible(&path.join(format!("{n}")), 1 << 20, n);
        }
    });
    let repo = format!("--repo={}", pair.ours.path().display());
    let tree = pair.path("tree");
    let args = ["commit", &repo, "-b", "main", tree.to_str().unwrap()];
    let peak = peak_rss(env!("CARGO_BIN_EXE_oxtree"), &args);
    assert!(peak < 64 << 20, "{peak} bytes");
}
