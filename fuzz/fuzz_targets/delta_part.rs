// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as the payload of a static delta's part, with some objects for it to make.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::delta::Objects;
use oxtree_format::delta::part::{self, Layout, Made, Piece, TAIL};

fuzz_target!(|input: (u8, &[u8])| {
    let (kinds, data) = input;
    let tail = &data[data.len().saturating_sub(TAIL)..];
    let Ok(layout) = Layout::parse(data.len() as u64, tail) else {
        return;
    };
    let member = |range: std::ops::Range<u64>| &data[range.start as usize..range.end as usize];
    let ends = [layout.modes.end, layout.xattrs.end, layout.blob.end];
    let again = Layout::tail(ends[0], ends[1], ends[2], layout.operations.end);
    assert!(data.ends_with(&again));
    if let Ok(modes) = part::modes(member(layout.modes)) {
        let _ = part::modes_to_vec(&modes);
    }
    if let Ok(sets) = part::xattrs(member(layout.xattrs)) {
        let _ = part::xattrs_to_vec(&sets);
    }
    let blob = layout.blob.end - layout.blob.start;
    let operations = member(layout.operations);
    // Files, and metadata where a bit is set.
    let object = |bit: u8| [&[1 + (kinds >> bit & 1)][..], &[bit; 32]].concat();
    let objects: Vec<u8> = (0..4).flat_map(object).collect();
    for count in 0..=4 {
        let Ok(objects) = Objects::parse(&objects[..33 * count]) else {
            panic!("these are objects");
        };
        let _ = part::count(operations, objects);
        for recipe in part::recipes(operations, objects, blob).unwrap_or_default() {
            match recipe.made {
                Made::Metadata(range) | Made::Whole { content: range, .. } => {
                    assert!(range.end <= blob);
                }
                Made::Pieces { pieces, .. } => {
                    for piece in pieces {
                        if let Piece::Blob(range) | Piece::Patch { patch: range, .. } = piece {
                            assert!(range.end <= blob);
                        }
                    }
                }
            }
        }
    }
});
