// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text as each kind of name, and as a ref file: what is a name prints the same and is safe as a
//! path.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use oxtree_format::{CollectionId, DeltaName, ObjectId, RefName, Refspec, RemoteName, refs};

fn round_trip<T: FromStr + Display>(text: &str) -> Option<T> {
    let name: T = text.parse().ok()?;
    assert_eq!(name.to_string(), text);
    Some(name)
}

fn plain_file_name(name: &str) {
    assert!(!name.is_empty() && name.len() <= refs::MAX_COMPONENT);
    assert!(!name.starts_with(['.', '-']) && !name.contains(['/', '\0', '\n']));
}

fuzz_target!(|data: &[u8]| {
    if let Ok(id) = refs::parse_ref_file(data) {
        assert_eq!(
            refs::write_ref_file(id).trim_end().as_bytes(),
            data.trim_ascii_end()
        );
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(name) = round_trip::<RefName>(text) {
        name.components().for_each(plain_file_name);
    }
    if let Some(name) = round_trip::<RemoteName>(text) {
        plain_file_name(name.as_str());
    }
    if let Some(name) = round_trip::<CollectionId>(text) {
        plain_file_name(name.as_str());
    }
    round_trip::<Refspec>(text);
    round_trip::<DeltaName>(text);
    round_trip::<ObjectId>(text);
});
