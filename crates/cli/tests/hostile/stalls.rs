// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers that fall silent, or that take their time.

use std::time::{Duration, Instant};

use crate::conversation::Talk;
use crate::floods::refused;
use crate::objects::{commit_of, file};
use crate::victim::{Victim, still_says};

/// Says the beginning of a push, and then nothing, or one byte a moment of what comes next.
fn stalls(victim: &Victim, config: &[(&str, &str)], says: &[u8], drips: &[u8], words: &str) {
    let begun = Instant::now();
    refused(victim, config, words, |to| {
        let mut going = still_says(to, says);
        for byte in drips.chunks(1) {
            going = going && still_says(to, byte);
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900), "given up after {took:?}");
    assert!(took < Duration::from_secs(20), "waited for {took:?}");
}

#[test]
fn peers_that_fall_silent() {
    let victim = Victim::new();
    let config = [("receive.idle-timeout", "1s")];
    let objects = commit_of(&[("file", &file(b"x"))]);
    let offered = Talk::wants(&objects[3].name).offer(&objects);
    let sending = offered.clone().send(&objects[0]);
    let half_an_object = offered.clone().data(&objects[1].record(1000));
    let half_a_frame = offered.clone().raw(&[b'D', 0, 0, 100, 0, 0, 0]);
    for talk in [
        Talk(Vec::new()),
        Talk(b"OXTREE".to_vec()),
        Talk::hello(),
        Talk::wants(&objects[3].name),
        offered,
        sending,
        half_an_object,
        half_a_frame,
    ] {
        stalls(&victim, &config, &talk.0, &[], "receive.idle-timeout");
    }
}

#[test]
fn a_peer_that_takes_its_time() {
    let victim = Victim::new();
    let config = [("receive.timeout", "1s")];
    let objects = commit_of(&[]);
    let talk = Talk::wants(&objects[2].name).offer(&objects).0;
    stalls(
        &victim,
        &config,
        &talk[..20],
        &talk[20..100],
        "receive.timeout",
    );
}
