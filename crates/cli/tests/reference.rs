// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of reference are complete. The keys are searched for in the source of the parser, so that a new key
//! without a line on its page fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_key(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    !text.is_empty() && text.bytes().all(valid)
}

/// The keys that the parser of `serve.yaml` asks a map for.
fn keys_of_serve() -> BTreeSet<String> {
    let text = read("crates/cli/src/serve_conf/mod.rs");
    let mut keys: BTreeSet<String> = BTreeSet::new();
    let calls = [
        ".text(",
        ".flag(",
        ".time(",
        ".size(",
        ".list(",
        ".map(",
        ".maps(",
        ".list_of_maps(",
        ".needed(",
        "(&mut map, ",
        "(map, ",
    ];
    let parts: Vec<&str> = text.split('"').collect();
    for pair in parts.windows(2) {
        let is_asked = calls.iter().any(|call| pair[0].ends_with(call));
        if is_asked && is_key(pair[1]) {
            keys.insert(pair[1].to_owned());
        }
    }
    keys.insert("update".to_owned());
    keys
}

/// The words in backquotes.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The keys in the first column of the tables whose header begins with `key`.
fn keys_on(page: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut is_table_of_keys = false;
    for line in page.lines() {
        if !line.starts_with('|') {
            is_table_of_keys = false;
        } else if line.starts_with("| key |") {
            is_table_of_keys = true;
        } else if is_table_of_keys {
            let cell = line.split(" | ").next().unwrap_or_default();
            keys.extend(quoted(cell));
        }
    }
    keys
}

#[test]
fn every_key_of_serve_yaml_is_on_its_page() {
    let page = read("docs/serve.md");
    let (code, words) = (keys_of_serve(), quoted(&page));
    assert!(code.len() > 35, "the search finds too little: {code:?}");
    let missing: Vec<&String> = code.difference(&words).collect();
    assert!(missing.is_empty(), "not in docs/serve.md: {missing:?}");
    let on_page = keys_on(&page);
    assert!(
        on_page.len() > 25,
        "the tables have too few keys: {on_page:?}"
    );
    let unknown: Vec<&String> = on_page.difference(&code).collect();
    assert!(unknown.is_empty(), "not in the code: {unknown:?}");
}
