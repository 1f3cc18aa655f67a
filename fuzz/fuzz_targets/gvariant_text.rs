// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any text to a value; what is a value is in normal form, prints, and reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_gvariant::{Variant, text};

fuzz_target!(|input: &str| {
    let Ok(value) = text::parse(input) else {
        return;
    };
    Variant::new(&value.sig, &value.data).expect("parsed to normal form");
    let printed = text::print(value.as_ref(), true).expect("prints");
    if !printed.contains("nan") {
        assert_eq!(text::parse(&printed).as_ref(), Ok(&value), "{printed}");
    }
});
