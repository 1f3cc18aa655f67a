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
    let text = read("crates/cli/src/serving/conf/mod.rs");
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

mod environment {
    //! The reference pages are complete: the variables in `docs/reference/environment.md` are those that the
    //! code reads or sets. They are searched for in the source, so that a new one without a line fails.

    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Variables that are read by libraries, by `gpg`, or from a list in the code.
    const OF_OTHERS: [&str; 6] = [
        "EDITOR",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "TZ",
        "VISUAL",
    ];

    /// Not variables of their own: a message, and categories that the page names together as `LC_*`.
    const NO_VARIABLES: [&str; 1] = ["OSTREE_REPO_TEST_ERROR_INVALID_CACHE"];

    /// Variables that are only passed on, or named together.
    const ONLY_PASSED_ON: [&str; 2] = ["SSH_CONNECTION", "XDG_RUNTIME_DIR"];

    const PREFIXES: [&str; 6] = ["OSTREE_", "OXTREE_", "XDG_", "SSH_", "LISTEN_", "LC_"];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// The text of all source files, without unit tests.
    fn source() -> Vec<String> {
        let mut texts = Vec::new();
        let mut folders = vec![root().join("crates")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if path.is_dir() {
                    if !["tests", "testkit", "examples", "benches", "fuzz"].contains(&&*name) {
                        folders.push(path);
                    }
                } else if name.ends_with(".rs") && name != "tests.rs" {
                    let text = fs::read_to_string(&path).expect("a source file");
                    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
                    texts.push(text[..tests].to_owned());
                }
            }
        }
        texts
    }

    fn is_name(text: &str) -> bool {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !text.is_empty() && text.bytes().all(valid)
    }

    /// The variables that the code names: by a prefix, as a proxy, or in a call that reads one.
    fn in_code() -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for text in source() {
            let mut before = "";
            for part in text.split('"') {
                let is_read = ["var(", "var_os("]
                    .iter()
                    .any(|call| before.trim_end().ends_with(call));
                let is_upper = !part.bytes().any(|byte| byte.is_ascii_lowercase());
                let is_proxy =
                    part.to_ascii_lowercase().ends_with("_proxy") && !part.contains("http_header");
                let has_prefix = PREFIXES
                    .iter()
                    .any(|prefix| part.len() > prefix.len() && part.starts_with(prefix));
                if is_name(part) && ((is_upper && (is_read || has_prefix)) || is_proxy) {
                    names.insert(part.to_owned());
                }
                before = part;
            }
        }
        names
    }

    /// The names in the first column of the page's tables.
    fn on_page() -> BTreeSet<String> {
        let page =
            fs::read_to_string(root().join("docs/reference/environment.md")).expect("the page");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.filter_map(|row| row.split(" | ").next());
        cells
            .flat_map(|cell| cell.split(['`', ',', ' ']))
            .filter(|word| is_name(word))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_variable_is_on_the_page_and_no_other() {
        let (code, page) = (in_code(), on_page());
        assert!(
            code.contains("OXTREE_TOKEN"),
            "the search finds nothing: {code:?}"
        );
        let is_category = |name: &str| {
            name.starts_with("LC_") && !["LC_ALL", "LC_CTYPE", "LC_TIME"].contains(&name)
        };
        let missing: Vec<&String> = code
            .difference(&page)
            .filter(|name| {
                let name = name.as_str();
                !NO_VARIABLES.contains(&name)
                    && !ONLY_PASSED_ON.contains(&name)
                    && !is_category(name)
            })
            .collect();
        assert!(missing.is_empty(), "not on the page: {missing:?}");
        let unknown: Vec<&String> = page
            .difference(&code)
            .filter(|name| !OF_OTHERS.contains(&name.as_str()))
            .collect();
        assert!(unknown.is_empty(), "not in the code: {unknown:?}");
    }
}
