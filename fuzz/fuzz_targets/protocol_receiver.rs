// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as what a pusher says: a push that is taken for complete has all objects in it that were
//! asked for.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use oxtree_transfer::protocol::frame;
use oxtree_transfer::protocol::message::Limits;
use oxtree_transfer::protocol::stream::Event as StreamEvent;
use oxtree_transfer::receive::session::{Event, Session};

fuzz_target!(|data: &[u8]| {
    let mut from = data;
    let mut session = Session::new(Limits::default());
    let mut missing = HashSet::new();
    let mut current = None;
    while let Ok(Some(frame)) = frame::read(&mut from) {
        let event = session.receive(frame, &mut |event| {
            match event {
                StreamEvent::Begin(record) => current = Some(record.object),
                StreamEvent::Bytes(_) => assert!(current.is_some()),
                StreamEvent::End => {
                    let ended = current.take().expect("an object has begun");
                    assert!(missing.remove(&ended), "not asked for, or twice");
                }
            }
            Ok(())
        });
        match event {
            Ok(Event::Decide) => {
                missing = session.offered.iter().copied().collect();
                let all = vec![true; session.offered.len()];
                session.want(&all);
            }
            Ok(Event::Complete) => {
                assert!(missing.is_empty());
                return;
            }
            Ok(Event::End | Event::Status) | Err(_) => return,
            Ok(Event::Continue) => {}
        }
    }
});
