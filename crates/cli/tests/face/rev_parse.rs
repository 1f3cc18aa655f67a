// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rev-parse`.

use crate::side::Side;

#[test]
fn beside_the_real_one() {
    let side = Side::new();
    side.same(&["rev-parse", "-S"]);
    let first = side.commit("main", &["--timestamp=@0"]);
    side.same(&["rev-parse", "--single"]);
    let second = side.commit("main", &["--timestamp=@1"]);
    side.commit("a/b", &["--timestamp=@2"]);
    side.real(&["refs", "--repo=repo", "--create=origin:r/x", "a/b"])
        .expect_ok();
    side.same(&["rev-parse", "-S"]);
    let nowhere = "0".repeat(64);
    let revs = [
        "main",
        "main^",
        "main^^",
        "a/b",
        "origin:r/x",
        "origin/r/x",
        "r/x",
        "origin:nope",
        "nope",
        "nope^",
        "a b",
        "x:",
        ":x",
        "-x",
        &first,
        &first[..8],
        &first[..2],
        &first[..1],
        &nowhere,
        "00",
        &format!("none:{first}"),
        &format!("origin:{first}"),
        &format!("sha256:{second}^"),
        &format!("none:{first}^"),
        &format!("none:{nowhere}"),
        &format!("none:{nowhere}^"),
        &format!("a/b:{first}"),
        &format!(":{first}"),
        &format!("none:{}", &first[..8]),
    ];
    for rev in revs {
        side.same(&["rev-parse", "--", rev]);
    }
    side.same(&["rev-parse", "main", "a/b"]);
    side.same(&["rev-parse", "main", "nope", "a/b"]);
    side.same(&["rev-parse"]);
    side.same(&["rev-parse", "-S", "main"]);
}

#[test]
fn refs_that_are_damaged() {
    let side = Side::new();
    side.commit("main", &[]);
    for text in ["bogus\n", "", &"0".repeat(63), &"0".repeat(5000)] {
        std::fs::write(side.repo().join("refs/heads/bad"), text).unwrap();
        let output = side
            .ours(&["rev-parse", "--repo=repo", "bad"])
            .expect_failure();
        assert!(output.stderr().contains("refs/heads/bad"), "{output:?}");
        side.ours(&["rev-parse", "--repo=repo", "main"]).expect_ok();
    }
    // An alias must not lead to files elsewhere.
    std::fs::remove_file(side.repo().join("refs/heads/bad")).unwrap();
    std::os::unix::fs::symlink("../../config", side.repo().join("refs/heads/bad")).unwrap();
    let output = side
        .ours(&["rev-parse", "--repo=repo", "bad"])
        .expect_failure();
    assert!(output.stderr().contains("out of refs/heads"), "{output:?}");
}
