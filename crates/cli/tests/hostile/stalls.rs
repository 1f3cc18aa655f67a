// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers that fall silent, or that take their time.

use std::time::{Duration, Instant};

use crate::asked::Answer;
use crate::conversation::{Part, Talk};
use crate::floods::refused;
use crate::objects::{commit_of, file};
use crate::victim::Victim;

/// Says the beginning of a push, and then nothing.
fn stalls(victim: &Victim, config: &[(&str, &str)], says: Talk, words: &str) {
    let begun = Instant::now();
    refused(victim, config, words, says.parts);
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900), "given up after {took:?}");
    assert!(took < Duration::from_secs(20), "waited for {took:?}");
}

/// The same in requests that never end, all at once. Those for which a server holds no memory come first.
fn stall_over_http(victim: &Victim, config: &[(&str, &str)], all: &[Talk]) {
    let site = victim.site();
    site.configure(config, "");
    let begun = Instant::now();
    site.survives(|| {
        let begin = |talk: &Talk| site.begins(talk.clone().and(Part::Silence).parts);
        let pushes: Vec<_> = all.iter().rev().map(begin).collect();
        let told = std::thread::scope(|scope| {
            let ends: Vec<_> = pushes
                .into_iter()
                .map(|push| scope.spawn(|| push.end()))
                .collect();
            let told = ends.into_iter().map(|end| end.join().expect("an answer"));
            told.collect::<Vec<Answer>>()
        });
        assert!(told.iter().all(|told| told.status == 408), "{told:?}");
        told.into_iter().next().expect("one of them")
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
    let pushes = [offered, sending, half_an_object, half_a_frame];
    stall_over_http(&victim, &config, &pushes);
    let nothing_yet = [
        Talk::default(),
        Talk::greeting(b"OXTREE"),
        Talk::hello(),
        Talk::wants(&objects[3].name),
    ];
    for talk in nothing_yet.into_iter().chain(pushes) {
        stalls(&victim, &config, talk, "receive.idle-timeout");
    }
}

#[test]
fn a_peer_that_takes_its_time() {
    let victim = Victim::new();
    let config = [("receive.timeout", "1s")];
    let objects = commit_of(&[]);
    let offered = Talk::wants(&objects[2].name).offer(&objects);
    let sending = offered.clone().send(&objects[0]).bytes();
    // One byte a moment.
    let drips = sending[offered.bytes().len()..][..50].chunks(1);
    let slowly = drips.fold(offered, |talk, byte| {
        talk.raw(byte).and(Part::Pause(Duration::from_millis(50)))
    });
    stall_over_http(&victim, &config, std::slice::from_ref(&slowly));
    stalls(&victim, &config, slowly, "receive.timeout");
}
