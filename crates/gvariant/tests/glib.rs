// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares with what GLib 2.74 was recorded to do; see `fixtures/record.py`.

use std::path::Path;

use oxtree_gvariant::{Variant, text};

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

/// What differs, if anything.
fn compare(line: &str) -> Result<(), String> {
    let fields: Vec<&str> = line.split('\t').collect();
    match fields[..] {
        ["print", sig, hex, annotated, plain] => {
            let data = unhex(hex);
            let value = Variant::new(sig, &data).map_err(|e| e.to_string())?;
            for (expected, annotate) in [(annotated, true), (plain, false)] {
                let text = text::print(value, annotate).map_err(|e| e.to_string())?;
                if text != expected {
                    return Err(format!("printed {text}"));
                }
            }
            let again = text::parse(annotated).map_err(|e| e.to_string())?;
            // The sign and payload of a NaN are not part of its text.
            if again.as_ref() != value && !annotated.contains("nan") {
                return Err(format!("parsed {again:02x?}"));
            }
        }
        ["swap", sig, hex, swapped] => {
            let data = unhex(hex);
            let value = Variant::new(sig, &data).map_err(|e| e.to_string())?;
            let ours = value.byteswapped().map_err(|e| e.to_string())?;
            if ours.data != unhex(swapped) {
                return Err(format!("swapped {:02x?}", ours.data));
            }
        }
        ["normal", sig, hex, normal] => {
            let data = unhex(hex);
            let ours = Variant::new(sig, &data);
            if ours.is_ok() != (normal == "yes") {
                return Err(format!("checked {ours:?}"));
            }
        }
        ["parse", text, "error"] => {
            if let Ok(value) = text::parse(text) {
                return Err(format!("parsed {value:02x?}"));
            }
        }
        ["parse", text, sig, hex] => {
            let value = text::parse(text).map_err(|e| e.to_string())?;
            if (&*value.sig, &value.data) != (sig, &unhex(hex)) {
                return Err(format!("parsed {value:02x?}"));
            }
        }
        _ => return Err("is not a line of a recording".into()),
    }
    Ok(())
}

#[test]
fn does_what_glib_does() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut lines = 0;
    let mut differences = Vec::new();
    for file in std::fs::read_dir(fixtures).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "tsv") {
            continue;
        }
        let recording = std::fs::read_to_string(&path).unwrap();
        for line in recording.split('\n').filter(|line| !line.is_empty()) {
            lines += 1;
            if let Err(difference) = compare(line) {
                differences.push(format!("{line}\n  {difference}"));
            }
        }
    }
    assert!(lines > 1000, "the recording is missing");
    assert!(
        differences.is_empty(),
        "{} of {lines}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
