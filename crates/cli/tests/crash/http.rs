// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes to a server, and servers, killed.

use std::process::{Command, Stdio};
use std::time::Duration;

use oxtree_testkit::{Dice, Output, Repo, Serve, Tool, kill};

use crate::look::Look;
use crate::rig::{Link, OXTREE, Place, Rig, Version};

/// How many are killed.
const KILLS: usize = 16;

fn push(version: &Version, server: &Serve, args: &[&str]) -> Command {
    let repo = format!("--repo={}", version.repo.path().display());
    let words = ["push", &repo, server.url(), "--quiet"];
    Tool::new(OXTREE).command(words.into_iter().chain(args.iter().copied()))
}

#[test]
fn over_http() {
    let rig = Rig::new(Place::in_memory(), Link::Near, &["main", "os/test"]);
    let serve = |dest: &Repo, address: &str| {
        let path = dest.path().to_str().expect("UTF-8");
        let log = rig.place.at("serve.log");
        Serve::start(OXTREE, &["serve", "--listen", address, path], log)
    };
    let mut dice = Dice::new();
    let (mut killed, mut went_on) = (0, 0);
    while killed < KILLS {
        let dest = rig.destination();
        let mut server = serve(&dest, "127.0.0.1:0");
        for version in &rig.versions {
            for _ in 0..3 {
                let before = Look::at(dest.path());
                let pace = dice.pick(&["--limit-rate=100G", "--limit-rate=20M"]);
                let mut pusher = push(version, &server, &[pace, "--network-retries=4"])
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("start a push");
                std::thread::sleep(dice.time(Duration::from_millis(400)));
                let both = dice.percent(20);
                let alive = pusher.try_wait().expect("ask after it").is_none();
                killed += usize::from(alive);
                if both || dice.percent(50) {
                    kill(pusher.id());
                }
                if both || dice.percent(60) {
                    let address = server.address().to_string();
                    drop(server);
                    server = serve(&dest, &address);
                }
                let ended = pusher.wait_with_output().expect("the end of the push");
                let said = String::from_utf8_lossy(&ended.stderr);
                assert!(!said.contains("panicked"), "{said}");
                went_on += usize::from(alive && ended.status.success());
                let look = rig.check(&dest, &before, version);
                assert!(
                    !ended.status.success() || look.refs == version.refs,
                    "{said}"
                );
            }
            Output::of(&mut push(version, &server, &[])).expect_ok();
            assert_eq!(Look::at(dest.path()).refs, version.refs);
            dest.fsck();
        }
        let said = server.said();
        assert!(!said.contains("panicked"), "{said}");
    }
    assert!(went_on > KILLS / 10, "only {went_on} have gone on");
}
