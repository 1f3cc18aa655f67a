// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as the superblock of a static delta, signed or not, and as an index of deltas.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::delta::{Signed, Superblock, index};

fuzz_target!(|data: &[u8]| {
    let _ = index::parse(data);
    let data = match Signed::parse(data) {
        Ok(Some(signed)) => signed.superblock,
        _ => data,
    };
    let Ok(superblock) = Superblock::parse(data) else {
        return;
    };
    assert_eq!(superblock.parts().count(), superblock.part_count());
    for (index, part) in superblock.parts().enumerate() {
        assert_eq!(part.objects.iter().count(), part.objects.len());
        let _ = superblock.inline_part(index);
    }
    let _ = (
        superblock.fallbacks().count(),
        superblock.detached_metadata(),
    );
    let _ = superblock.byte_order();
});
