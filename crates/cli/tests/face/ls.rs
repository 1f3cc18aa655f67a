// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ls` and `cat`.

use oxtree_testkit::trees;

use crate::side::Side;

/// A repository of `mode` with a commit of a bit of everything as `main`.
fn side(mode: &str) -> Side {
    let side = Side::empty();
    side.real(&["init", "--repo=repo", &format!("--mode={mode}")])
        .expect_ok();
    side.real(&["config", "--repo=repo", "set", "core.fsync", "false"])
        .expect_ok();
    let tree = side.path("tree");
    std::fs::create_dir(&tree).unwrap();
    trees::every_kind(&tree, 1000);
    side.commit("main", &["--timestamp=@1"]);
    side
}

#[test]
fn lists_every_mode_alike() {
    for mode in ["archive", "bare", "bare-user", "bare-user-only"] {
        let side = side(mode);
        let all = side.same(&["ls", "-R", "main"]);
        assert!(all.stdout().lines().count() > 250, "{mode}");
        side.same(&["ls", "-R", "-C", "-X", "main"]);
        side.same(&["ls", "-R", "--nul-filenames-only", "main"]);
        side.same(&["ls", "-RX", "main", "/xattrs", "xattrs/several", "/links"]);
        side.same(&["cat", "main", "/files/text", "files/0", "/files/1"]);
    }
}

#[test]
fn paths_and_options() {
    let side = side("archive");
    for args in [
        &["ls", "main"][..],
        &["ls", "-d", "main"],
        &["ls", "-d", "main", "/modes", "/files/1", "links/dangling"],
        &["ls", "-C", "main", "/files", "/"],
        &["ls", "--nul-filenames-only", "-C", "main", "/files/1"],
        &["ls", "main", "/files/1", "/nope", "/files/0"],
        &["ls", "main", "/nope/below"],
        &["ls", "main", "/files/."],
        &["ls", "main", "/files/.."],
        &["ls", "main", "/files/1/"],
        &["ls", "main", "/files/1/x"],
        &["ls", "main", "/links/parent/files"],
        &["ls", "main", ""],
        &[
            "ls",
            "main",
            "/names/new\nline",
            "names/-dash",
            "names/smörgås",
        ],
        &["ls"],
        &["ls", "nope"],
        &["cat", "main", "/files"],
        &["cat", "main", "/files/1/x"],
        &["cat", "main", "/nope"],
        &["cat", "main", ""],
        &["cat", "main"],
        &["cat", "nope", "/x"],
        &["cat"],
        &["cat", "main", "/files/first", "/nope"],
    ] {
        side.same(args);
    }
}

#[test]
fn slashes_more_or_less_change_nothing() {
    // libostree does not find `sub/` or `a//b`.
    let side = side("archive");
    let expected = side.ours(&["ls", "--repo=repo", "main", "/owners"]);
    for path in ["owners/", "//owners", "/owners//"] {
        let out = side.ours(&["ls", "--repo=repo", "main", path]).expect_ok();
        assert_eq!(out.stdout(), expected.stdout(), "{path}");
    }
}

#[test]
fn cat_follows_links_within_the_commit() {
    let side = side("bare-user");
    let run = |path| side.ours(&["cat", "--repo=repo", "main", path]);
    // libostree does not know `..` in a link.
    assert_eq!(run("/links/relative").expect_ok().stdout(), "x");
    for (path, error) in [
        (
            "/links/dangling",
            "error: No such file or directory: /links/nowhere\n",
        ),
        (
            "/links/absolute",
            "error: No such file or directory: /usr\n",
        ),
        ("/links/parent", "error: Can't open directory\n"),
        (
            "/links/itself",
            "error: Too many levels of symbolic links: /links/itself\n",
        ),
    ] {
        assert_eq!(run(path).expect_failure().stderr(), error, "{path}");
    }
}
