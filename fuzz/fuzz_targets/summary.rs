// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a summary: what is one is written again as the same bytes, taken apart or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::{NewSummary, Summary};

fuzz_target!(|data: &[u8]| {
    let Ok(summary) = Summary::parse(data) else {
        return;
    };
    assert_eq!(summary.to_bytes(), data);
    // Refused where a ref has a name that no repository could hold, or a key is empty.
    if let Ok(bytes) = NewSummary::try_from(&summary).and_then(|new| new.to_bytes()) {
        assert_eq!(bytes, data);
    }
    assert_eq!(summary.refs.iter().count(), summary.refs.len());
    for entry in summary.refs.iter() {
        let found = summary.refs.get(entry.name).expect("listed, so found");
        assert_eq!(found.commit, entry.commit);
        let _ = (entry.timestamp(), entry.version());
    }
    let _ = (summary.collections(), summary.static_deltas());
    let _ = (summary.last_modified(), summary.expires(), summary.mode());
});
