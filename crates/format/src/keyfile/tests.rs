// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> KeyFile {
    KeyFile::parse(text.as_bytes()).unwrap()
}

const CONFIG: &str = "\
# made by hand

[core]
repo_version=1
# compact
mode=archive-z2

[remote \"origin\"]
url=https://example.com/repo
branches=a;b\\;c;
name[de]=Ursprung

# the end
";

#[test]
fn a_tidy_file_stays_as_it_is() {
    let file = parse(CONFIG);
    assert_eq!(file.to_string(), CONFIG);
    assert_eq!(
        file.groups().collect::<Vec<_>>(),
        ["core", "remote \"origin\""]
    );
    assert_eq!(file.keys("core"), ["repo_version", "mode"]);
    assert_eq!(file.integer("core", "repo_version"), Ok(Some(1)));
    let list = file.string_list("remote \"origin\"", "branches").unwrap();
    assert_eq!(list.unwrap(), ["a", "b;c"]);
    assert_eq!(
        file.value("remote \"origin\"", "name[de]"),
        Some("Ursprung")
    );
    assert_eq!(file.string("core", "nothing"), Ok(None));
    assert_eq!(file.string("nothing", "mode"), Ok(None));
}

#[test]
fn changes_leave_the_rest_alone() {
    let mut file = parse(CONFIG);
    file.set_boolean("core", "fsync", false).unwrap();
    file.set_string("core", "mode", "bare").unwrap();
    assert!(file.remove_key("remote \"origin\"", "url"));
    assert!(!file.remove_key("remote \"origin\"", "url"));
    let expected = CONFIG
        .replace("mode=archive-z2\n", "mode=bare\nfsync=false\n")
        .replace("url=https://example.com/repo\n", "");
    assert_eq!(file.to_string(), expected);
    assert!(file.remove_group("remote \"origin\""));
    assert!(!file.remove_group("remote \"origin\""));
    assert!(file.remove_group("core"));
    assert_eq!(file.to_string(), "# made by hand\n\n\n# the end\n");
}

#[test]
fn untidy_files() {
    let file = parse("  [ a ] \t\r\n x y \t=\t 1 \r\n[b]\nx=2\n[ a ]\nz=3\nx y=4\n[b]\n\tq=\r");
    assert_eq!(
        file.to_string(),
        "[ a ]\nx y=1 \nz=3\nx y=4\n\n[b]\nx=2\nq=\n"
    );
    assert_eq!(file.value(" a ", "x y"), Some("4"));
    assert_eq!(file.keys(" a "), ["x y", "z"]);
}

#[test]
fn a_removed_key_does_not_come_back() {
    let mut file = parse("[a]\nx=1\nx=2\n");
    assert!(file.remove_key("a", "x"));
    assert_eq!(file.to_string(), "[a]\n");
}

#[test]
fn errors_name_the_line() {
    let cases = [
        (
            "[a]\nfoo\n",
            "line 2: Key file contains line “foo” which is not a key-value pair, group, or comment",
        ),
        (
            "[a]\n[b]x\n",
            "line 2: Key file contains line “[b]x” which is not a key-value pair, group, or comment",
        ),
        (
            "[a]\n [a]]\n",
            "line 2: Key file contains line “ [a]]” which is not a key-value pair, group, or comment",
        ),
        (
            "[a]\n\n  =x\n",
            "line 3: Key file contains line “  =x” which is not a key-value pair, group, or comment",
        ),
        ("[a]\n[b]x=1\n", "line 2: Invalid key name: [b]x"),
        ("[a]\nb[=1\n", "line 2: Invalid key name: b["),
        ("[a]\nb]=1\n", "line 2: Invalid key name: b]"),
        ("[a]\nb[d ]=1\n", "line 2: Invalid key name: b[d ]"),
        ("[a]\nb[C]x=1\n", "line 2: Invalid key name: b[C]x"),
        ("[]\n", "line 1: Invalid group name: "),
        ("[[a]\n", "line 1: Invalid group name: [a"),
        ("[a\tb]\n", "line 1: Invalid group name: a\tb"),
        ("# x\na=1\n", "line 2: Key file does not start with a group"),
        (
            "[a]\nEncoding=x\n",
            "line 2: Key file contains unsupported encoding “x”",
        ),
        ("[a]\nb=\0\n", "line 2: Invalid UTF-8"),
    ];
    for (text, message) in cases {
        let error = KeyFile::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), message, "{text:?}");
    }
    let not_utf8 = KeyFile::parse(b"[a]\n\nb=\xff\n");
    assert_eq!(not_utf8, Err(Error::Utf8 { line: 3 }));
    assert!(KeyFile::parse(b"[a]\nEncoding=utf-8\n").is_ok());
    // Found by fuzzing: without its first group this could not be read again.
    assert!(KeyFile::parse(b"[a]\nx=1\n[b]\nEncoding=x\n").is_err());
    assert!(
        KeyFile::new()
            .set_string("a", "Encoding", "latin1")
            .is_err()
    );
}

#[test]
fn values_of_the_wrong_type() {
    let file = parse("[a]\nb=yes\nn=12x\ns=a\\x\nt=a\\\nok=1 \t\nneg=-5\n");
    assert!(file.boolean("a", "b").is_err());
    assert!(file.integer("a", "n").is_err());
    assert!(file.string("a", "s").is_err());
    assert!(file.string("a", "t").is_err());
    assert!(file.string_list("a", "s").is_err());
    assert_eq!(file.boolean("a", "ok"), Ok(Some(true)));
    assert_eq!(file.integer("a", "ok"), Ok(Some(1)));
    assert_eq!(file.integer("a", "neg"), Ok(Some(-5)));
    assert_eq!(
        file.boolean("a", "b").unwrap_err().to_string(),
        "Key file contains key “b” in group “a” which has a value that cannot be interpreted: \
         not a boolean: “yes”"
    );
}

#[test]
fn what_would_break_the_file_is_refused() {
    let mut file = parse("[a]\nx=1\n");
    for group in ["", "a]", "a[", "a\nb", "a\0"] {
        assert_eq!(
            file.set_boolean(group, "x", true),
            Err(Error::Group(group.to_owned()))
        );
    }
    for key in ["", " a", "a ", "a=b", "#a", "a\nb", "a[", "a\0", "\ta"] {
        assert_eq!(
            file.set_boolean("a", key, true),
            Err(Error::Key(key.to_owned()))
        );
    }
    for value in ["\0", "\u{c}x"] {
        assert_eq!(
            file.set_string("a", "x", value),
            Err(Error::Unwritable("x".to_owned()))
        );
    }
    assert_eq!(file.to_string(), "[a]\nx=1\n");
}

/// Lines that are often right, and mostly near right.
fn lines() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\[[ab\"\\[\\] ]{0,3}\\]",
        "[ \t]{0,2}[ab]{0,2}(\\[[Cd]{0,2}\\])?[ \t]?=[ \t]?[ab\\\\;s \t]{0,4}",
        "[#a=\\[\\] ]{0,3}",
        "[^\r\n]{0,3}",
    ];
    proptest::collection::vec((piece, "\n|\r\n|\n\n"), 0..8).prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|(line, end)| [line, end])
            .collect()
    })
}

proptest! {
    #[test]
    fn written_files_read_back_the_same(text in lines()) {
        if let Ok(file) = KeyFile::parse(text.as_bytes()) {
            let written = file.to_string();
            let again = parse(&written);
            prop_assert_eq!(again.to_string(), written);
            prop_assert!(again.groups().eq(file.groups()));
            for group in file.groups() {
                prop_assert_eq!(again.keys(group), file.keys(group));
                for key in file.keys(group) {
                    prop_assert_eq!(again.value(group, key), file.value(group, key));
                }
            }
        }
    }

    #[test]
    fn set_values_read_back(value in "[ \t\r\n\\\\;a]{0,6}|\\PC{0,6}", key in "[a-c ]{1,3}") {
        let mut file = parse(CONFIG);
        if file.set_string("core", &key, &value).is_ok() {
            file.set_string_list("core", "list", &[&value, "x", &value]).unwrap();
            let file = parse(&file.to_string());
            prop_assert_eq!(file.string("core", &key).unwrap(), Some(value.clone()));
            let list = file.string_list("core", "list").unwrap().unwrap();
            prop_assert_eq!(list, [value.as_str(), "x", &value]);
        }
    }
}
