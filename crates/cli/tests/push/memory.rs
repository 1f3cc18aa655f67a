// SPDX-License-Identifier: MIT OR Apache-2.0
//! However large a file, neither end holds it in memory.

use oxtree_testkit::{Meter, Tool, trees};

use crate::fixture::{Fixture, OXTREE, json, status};

const LARGE: u64 = 300 << 20;

/// What either end may take at the most.
const LIMIT: u64 = 100_000_000;

#[test]
fn files_of_300_mib_take_less_than_100_mb_at_either_end() {
    let fixture = Fixture::new();
    let tree = fixture.at("tree");
    std::fs::create_dir(&tree).expect("mkdir");
    trees::incompressible(&tree.join("noise"), LARGE, 5);
    trees::sparse(&tree.join("sparse"), LARGE);
    let repo = |name: &str, mode: &str| {
        let repo = fixture.repo(name, mode);
        // What is measured is memory, not deflate.
        repo.ok("config", ["set", "archive.zlib-level", "1"]);
        repo
    };
    let unpacked = repo("unpacked", "bare-user");
    unpacked.commit("main", &tree, &["--canonical-permissions"]);
    std::fs::remove_dir_all(&tree).expect("delete the tree");
    let archive = repo("archive", "archive");
    let second = repo("second", "archive");
    let third = repo("third", "bare-user");
    for (from, to) in [
        (&unpacked, &archive),
        (&archive, &second),
        (&second, &third),
    ] {
        let (here, there) = (
            Meter::of(OXTREE, &["oxtree"]),
            Meter::of(OXTREE, &["oxtree"]),
        );
        let push = Tool::new(here.program("oxtree"));
        let receive = format!("{} receive", there.program("oxtree").display());
        let words = [
            "--json",
            "--ssh-command",
            &fixture.sshd.ssh_command(),
            "--command",
            &receive,
            &fixture.sshd.scp_style(to.path()),
        ];
        let output = push.repo(from.path()).run("push", words).expect_ok();
        assert_eq!(status(&json(&output), "main"), "created");
        assert_eq!(to.rev_parse("main"), from.rev_parse("main"));
        for (end, meter) in [("pusher", here), ("receiver", there)] {
            let peak = meter.peak();
            assert!(peak < LIMIT, "the {end} has taken {peak} bytes");
        }
        to.fsck();
        std::fs::remove_dir_all(from.path()).expect("delete what was pushed");
    }
}
