// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine stops in the middle of a push, and files have lost what had not reached the disk.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use oxtree_testkit::{Dice, kill, wait_for_end};

use crate::look::{Look, names, quarantines};
use crate::rig::{Link, PATIENCE, Place, Rig};

#[test]
fn what_is_still_whole_after_a_restart_is_not_sent_again() {
    restart(Link::Near);
}

#[test]
fn what_a_server_finds_whole_after_a_restart_is_not_sent_again() {
    restart(Link::Http);
}

fn restart(link: Link) {
    let mut dice = Dice::new();
    let rig = Rig::new(Place::on_disk(), link, &["main"]);
    let (dest, version) = (rig.destination(), &rig.versions[0]);
    let begun = Instant::now();
    let mut pusher = rig
        .push(version, &dest, &["--quiet", "--limit-rate=2M"])
        .stderr(Stdio::null())
        .spawn()
        .expect("start a push");
    while Look::at(dest.path()).staged.len() < 100 {
        assert!(begun.elapsed() < PATIENCE, "nothing is received");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(pusher.id());
    let receiver = rig.receiver(&dest).expect("a receiver");
    kill(receiver);
    pusher.wait().expect("the end of the push");
    rig.stop_server();
    wait_for_end(receiver, PATIENCE);

    // Another time that the machine has started is another name.
    let tmp = dest.path().join("tmp");
    for name in names(&tmp) {
        let Some(rest) = name.strip_prefix("oxtree-push-") else {
            continue;
        };
        let other = format!("oxtree-push-00000000-{}", &rest[9..]);
        fs::rename(tmp.join(&name), tmp.join(other)).expect("rename it");
    }
    let mut found = Look::at(dest.path());
    let [quarantine] = &quarantines(dest.path())[..] else {
        panic!("not one quarantine in {found:?}");
    };
    for (number, object) in found.staged.clone().into_iter().enumerate() {
        if number > 0 && !dice.percent(20) {
            continue;
        }
        let path = quarantine.join(&object);
        let len = path.metadata().expect("a file").len();
        match dice.below(3) {
            0 => fs::File::options()
                .write(true)
                .open(&path)
                .expect("open")
                .set_len(0),
            1 => fs::File::options()
                .write(true)
                .open(&path)
                .expect("open")
                .set_len(len / 2),
            // Of the right length, but nothing in it.
            _ => fs::write(&path, vec![0; usize::try_from(len).expect("a length")]),
        }
        .expect("spoil it");
        found.whole.remove(&object);
    }
    assert!(!found.whole.is_empty(), "nothing is whole");
    rig.push_rest(version, &dest, &found);
}
