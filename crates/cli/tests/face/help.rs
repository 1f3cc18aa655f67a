// SPDX-License-Identifier: MIT OR Apache-2.0
//! The help of every command, as it stands in `tests/snapshots/help`, manual pages, completions.

use std::path::{Path, PathBuf};

use oxtree_testkit::Tool;

use crate::side::{Side, ours};

fn snapshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/help")
}

/// The commands that the help lists.
fn commands() -> Vec<String> {
    let help = ours("oxtree").ok(["-h"]);
    let list = help
        .split("Commands:\n")
        .nth(1)
        .expect("a list of commands");
    list.lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect()
}

/// Run with `UPDATE_SNAPSHOTS=1` after a change of the help, and look at the difference.
#[test]
fn help_is_as_it_was() {
    let mut pages = vec![("oxtree".to_owned(), ours("oxtree").ok(["--help"]))];
    for name in commands() {
        let page = ours("oxtree").ok([name.as_str(), "--help"]);
        pages.push((name, page));
    }
    assert!(pages.len() > 8, "{pages:?}");
    let dir = snapshots();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        for (name, page) in &pages {
            std::fs::write(dir.join(format!("{name}.txt")), page).unwrap();
        }
    }
    for (name, page) in &pages {
        let path = dir.join(format!("{name}.txt"));
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            *page,
            expected,
            "the help of {name} is not as in {}: if it should not be, run again with \
             UPDATE_SNAPSHOTS=1",
            path.display()
        );
    }
    let count = dir.read_dir().unwrap().count();
    assert_eq!(count, pages.len(), "pages of commands that are gone");
}

/// As `ostree`, a command that has commands of its own says so to who names none of them.
#[test]
fn commands_of_commands() {
    let mut groups = vec![];
    for name in commands() {
        let help = ours("ostree").ok([name.as_str(), "--help"]);
        assert_eq!(help.matches("Usage").count(), 1, "{name}: {help}");
        assert!(help.contains(&format!("ostree {name}")), "{name}: {help}");
        if !help.contains(&format!("Builtin \"{name}\" Commands:")) {
            continue;
        }
        let none = format!("No \"{name}\" subcommand specified");
        let unknown = format!("Unknown \"{name}\" subcommand 'x'");
        for (words, said) in [
            (vec![name.as_str()], none),
            (vec![name.as_str(), "x"], unknown),
        ] {
            let stderr = ours("ostree").run(words).expect_failure().stderr();
            assert_eq!(stderr.matches("Usage").count(), 1, "{stderr}");
            assert!(stderr.ends_with(&format!("error: {said}\n")), "{stderr}");
        }
        groups.push(name);
    }
    groups.sort();
    assert_eq!(groups, ["remote", "static-delta", "token"]);
}

#[test]
fn manual_pages() {
    let side = Side::empty();
    let dir = side.path("man1");
    ours("oxtree").ok([Path::new("man"), &dir]);
    for name in commands() {
        let page = std::fs::read_to_string(dir.join(format!("oxtree-{name}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{name}: {page}");
    }
    // groff finds no fault with them, where it is installed.
    if Path::new("/usr/bin/groff").exists() {
        let page = dir.join("oxtree-refs.1");
        let text = Tool::new("/usr/bin/groff").run([
            "-man".as_ref(),
            "-Tutf8".as_ref(),
            "-ww".as_ref(),
            page.as_os_str(),
        ]);
        assert_eq!(text.expect_ok().stderr(), "");
    }
}

#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ours("oxtree").ok(["completions", shell]);
        assert!(script.contains("rev-parse"), "{shell}");
    }
    let script = ours("oxtree").ok(["completions", "bash"]);
    let side = Side::empty();
    std::fs::write(side.path("script"), script).unwrap();
    let check = "source ./script && COMP_WORDS=(oxtree rev) COMP_CWORD=1 && _oxtree oxtree rev oxtree && echo ${COMPREPLY[*]}";
    let complete = Tool::new("/bin/bash").dir(side.path("")).ok(["-c", check]);
    assert_eq!(complete.trim(), "rev-parse");
    let wrong = ours("oxtree").run(["completions", "nosuch"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}
