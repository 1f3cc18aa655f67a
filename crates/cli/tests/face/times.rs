// SPDX-License-Identifier: MIT OR Apache-2.0
//! The time of a commit: both tools make the same commit of the same words.

use oxtree_testkit::{Output, Tool};

use crate::side::{Side, ours};

#[test]
fn timestamps() {
    let side = Side::new();
    for text in [
        "@0",
        "@1700000000",
        "@-5",
        "2026-01-02",
        "2026-01-02 03:04:05 +0100",
        "2026-01-02T03:04:05Z",
        "Fri, 02 Jan 2026 03:04:05 -0700",
        "October 25 1985",
        "November 05 1955",
        "2026-01-31 1 month ago",
        "nonsense",
        "2026-02-30",
        "@1e9",
    ] {
        let option = format!("--timestamp={text}");
        side.same(&["commit", "--orphan", "--tree=dir=tree", &option]);
    }
    // The real one reads an empty text as midnight, and so do we; on one day, if it has not passed meanwhile.
    let day = || Tool::new("/usr/bin/date").ok(["+%F"]);
    let words = [
        "commit",
        "--repo=repo",
        "--orphan",
        "--tree=dir=tree",
        "--timestamp=",
    ];
    loop {
        let before = day();
        let (real, ours) = (side.real(&words).expect_ok(), side.ours(&words).expect_ok());
        if day() == before {
            assert_eq!(ours.stdout(), real.stdout());
            break;
        }
    }
}

#[test]
fn the_time_of_reproducible_builds() {
    let side = Side::new();
    let commit = |tool: Tool, epoch: &str| -> Output {
        let tool = tool.dir(side.path("")).env("SOURCE_DATE_EPOCH", epoch);
        tool.run(["commit", "--repo=repo", "--orphan", "--tree=dir=tree"])
    };
    for epoch in ["1234567890", "0", "invalid", "12345678901234567890"] {
        let (real, ours) = (commit(Tool::ostree(), epoch), commit(ours("ostree"), epoch));
        assert_eq!(ours.code, real.code, "{epoch}: {ours:?} {real:?}");
        assert_eq!(ours.stdout(), real.stdout(), "{epoch}");
    }
    // The real one takes what stands before the letter.
    for epoch in ["1x", "1.5"] {
        let error = commit(ours("ostree"), epoch).expect_failure().stderr();
        assert_eq!(
            error,
            format!("error: Failed to convert SOURCE_DATE_EPOCH '{epoch}'\n")
        );
    }
}
