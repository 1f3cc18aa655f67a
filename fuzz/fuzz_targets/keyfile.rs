// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a key file: what is written reads back the same, and changing it never breaks it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::KeyFile;

fn parse(text: &str) -> KeyFile {
    KeyFile::parse(text.as_bytes()).expect("what was written is right")
}

fuzz_target!(|data: &[u8]| {
    let Ok(mut file) = KeyFile::parse(data) else {
        return;
    };
    let again = parse(&file.to_string());
    let cut = |value: Option<&str>| value.map(|v| v.strip_suffix('\r').unwrap_or(v).to_owned());
    for group in file.groups() {
        for key in file.keys(group) {
            // A `\r` at the end of a value is read as part of the line's end.
            assert_eq!(
                cut(file.value(group, key)),
                again.value(group, key).map(str::to_owned)
            );
            let _ = (file.string(group, key), file.string_list(group, key));
            let _ = (file.boolean(group, key), file.integer(group, key));
        }
    }
    if !data.contains(&b'\r') {
        assert_eq!(again.to_string(), file.to_string());
    }

    let groups: Vec<String> = file.groups().map(str::to_owned).collect();
    for group in &groups {
        let keys: Vec<String> = file.keys(group).into_iter().map(str::to_owned).collect();
        for key in keys {
            if file.set_string(group, &key, " a;\\\n").is_ok() {
                let file = parse(&file.to_string());
                assert_eq!(
                    file.string(group, &key).unwrap().as_deref(),
                    Some(" a;\\\n")
                );
            }
        }
        file.remove_group(group);
        assert!(!parse(&file.to_string()).has_group(group));
    }
});
