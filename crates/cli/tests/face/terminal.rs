// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others have written reaches a terminal without its commands, and a pipe as it is.

use std::fs;
use std::path::Path;

use oxtree_testkit::Tool;

use crate::side::{Side, ours};

/// A title for the window, a character of C1, text from right to left, an isolate, a mark of byte order, a line
/// of Unicode, a bell, a delete.
const EVIL: &str = "\u{1b}]0;t\u{7}\u{9b}2J\u{202e}\u{2066}\u{feff}\u{2028}\u{7f}";
const SHOWN: &str = "\\u{1b}]0;t\\u{7}\\u{9b}2J\\u{202e}\\u{2066}\\u{feff}\\u{2028}\\u{7f}";

/// Runs a command of the shell with a terminal for standard output and standard error.
fn on_terminal(dir: &Path, command: &str) -> String {
    let script = Tool::new("/usr/bin/script")
        .dir(dir)
        .env("SHELL", "/bin/sh");
    let output = script
        .env("TERM", "xterm")
        .run(["-qec", command, "/dev/null"]);
    output.stdout()
}

/// Nothing of it is left, whatever else is printed there: the progress bar has sequences of its own.
fn assert_harmless(what: &str, printed: &str) {
    for c in EVIL
        .chars()
        .filter(|c| !c.is_ascii_graphic() && *c != '\u{1b}')
    {
        assert!(!printed.contains(c), "{what}: {c:?} in {printed:?}");
    }
    assert!(!printed.contains("\u{1b}]"), "{what}: {printed:?}");
}

/// A repository with such text wherever a commit, a file, a remote or a summary has some.
fn hostile() -> Side {
    let side = Side::new();
    let tree = side.path("tree");
    fs::write(tree.join(format!("name{EVIL}")), "x").unwrap();
    fs::create_dir(tree.join(format!("dir{EVIL}"))).unwrap();
    fs::write(tree.join("two\nlines"), "x").unwrap();
    std::os::unix::fs::symlink(format!("target{EVIL}"), tree.join("link")).unwrap();
    let subject = format!("--subject=subject{EVIL}");
    let version = format!("--add-metadata-string=version=1\nDate:  never{EVIL}");
    let other = format!("--add-metadata-string=key{EVIL}=value{EVIL}");
    let body = format!("--body=body{EVIL}");
    side.commit("main", &[&subject, &body, &version, &other]);
    side.commit("app/side", &["--orphan"]);
    let config = format!("[remote \"evil\"]\nurl=http://127.0.0.1:9/{EVIL}\n");
    let path = side.repo().join("config");
    let old = fs::read_to_string(&path).unwrap();
    fs::write(&path, old + &config).unwrap();
    let metadata = format!("--add-metadata=x.key{EVIL}='value'");
    ours("oxtree")
        .dir(side.path(""))
        .ok(["summary", "-u", "--repo=repo", &metadata]);
    side
}

#[test]
fn commands_that_print_names_and_texts() {
    let side = hostile();
    let dir = side.path("");
    let oxtree = ours("oxtree").command([""; 0]).get_program().to_owned();
    let oxtree = oxtree.to_str().unwrap();
    let on = |args: &str| on_terminal(&dir, &format!("'{oxtree}' --repo=repo {args}"));
    for (args, has) in [
        ("log main", "subject"),
        ("log --raw main", "subject"),
        ("show main", "body"),
        ("show --raw main", "body"),
        ("show --list-metadata-keys main", "key"),
        ("ls main", "name"),
        ("ls -R main", "dir"),
        ("ls -R -C -X main", "target"),
        ("ls -R --nul-filenames-only main", "name"),
        ("diff main ./empty", "name"),
        ("diff ./empty ./tree", "name"),
        ("summary -v", "value"),
        ("summary --list-metadata-keys", "x.key"),
        ("summary --raw", "value"),
        ("remote list", "evil"),
        ("remote list -u", "evil"),
        ("config get 'remote \"x\".url'", "error"),
    ] {
        fs::create_dir_all(side.path("empty")).unwrap();
        let printed = on(args);
        assert!(printed.contains(has), "{args}: {printed:?}");
        assert_harmless(args, &printed);
    }
    let printed = on("log main");
    assert!(
        printed.contains(&format!("    subject{SHOWN}\r\n")),
        "{printed}"
    );
    // Values and names stay on their lines.
    let fake = printed.lines().any(|line| line.starts_with("Date:  never"));
    assert!(!fake && printed.contains("1\\nDate:  never"), "{printed}");
    assert!(on("ls main").contains("/two\\nlines\r\n"));
    assert!(on("diff ./empty ./tree").contains("A    two\\nlines\r\n"));
    // A file is what it is.
    fs::write(side.path("tree/raw"), "\u{1b}[1mbold").unwrap();
    side.commit("raw", &[]);
    assert!(on("cat raw /raw").contains("\u{1b}[1mbold"));
}

#[test]
fn a_pipe_gets_the_bytes() {
    let side = hostile();
    for args in [
        &["log", "main"][..],
        &["show", "main"],
        &["show", "--list-metadata-keys", "main"],
        &["ls", "-R", "main"],
        &["ls", "-R", "--nul-filenames-only", "main"],
        &["diff", "main", "./empty"],
        &["remote", "list", "-u"],
    ] {
        fs::create_dir_all(side.path("empty")).unwrap();
        let output = ours("oxtree")
            .dir(side.path(""))
            .run(args.iter().chain(&["--repo=repo"]))
            .expect_ok();
        assert!(output.stdout().contains(EVIL), "{args:?}: {output:?}");
    }
    // Each stream for itself: only standard error is a terminal here.
    let oxtree = ours("oxtree").command([""; 0]).get_program().to_owned();
    let command = format!("'{}' --repo=repo log main >log", oxtree.to_str().unwrap());
    on_terminal(&side.path(""), &command);
    let log = fs::read_to_string(side.path("log")).unwrap();
    assert!(log.contains(EVIL), "{log:?}");
}

#[test]
fn errors_name_what_they_are_about() {
    let side = hostile();
    let dir = side.path("");
    let oxtree = ours("oxtree").command([""; 0]).get_program().to_owned();
    let oxtree = oxtree.to_str().unwrap();
    fs::write(side.path("evil"), EVIL).unwrap();
    fs::write(side.path("refs-evil"), "x").unwrap();
    fs::create_dir_all(side.path("to")).unwrap();
    // The tree's names are in the way of a checkout.
    ours("oxtree")
        .dir(&dir)
        .ok(["checkout", "--repo=repo", "-U", "main", "out"]);
    let refs = side.repo().join("refs/heads");
    fs::write(refs.join(format!("bad{EVIL}")), "no checksum").unwrap();
    for args in [
        "rev-parse \"$(cat evil)\"",
        "show \"$(cat evil)\"",
        "ls main \"/$(cat evil)\"",
        "cat main \"/$(cat evil)\"",
        "checkout -U main out",
        "remote show-url \"$(cat evil)\"",
        "remote refs evil",
        "remote summary evil",
        "pull evil",
        "pull-local \"$(cat evil)\"",
        "push \"./$(cat evil)\" main",
        "commit -b \"$(cat evil)\" tree",
        "receive \"$(cat evil)\" >/dev/null",
        "serve \"$(cat evil)\"",
        "find-remotes \"org.$(cat evil)\" x",
        "static-delta show \"$(cat evil)\"",
        "config get \"core.$(cat evil)\"",
        "fsck",
        "refs",
        "prune",
        "\"$(cat evil)\"",
        "log --\"$(cat evil)\" main",
    ] {
        let printed = on_terminal(&dir, &format!("'{oxtree}' --repo=repo {args} </dev/null"));
        assert_harmless(args, &printed);
    }
    // Diagnostics, too.
    let printed = on_terminal(&dir, &format!("'{oxtree}' -v --repo=repo pull evil x"));
    assert_harmless("diagnostics", &printed);
}

/// A receiver's words are marked as its own, line by line.
#[test]
fn a_receiver_cannot_pass_for_us() {
    use std::os::unix::fs::PermissionsExt;
    let side = Side::new();
    side.commit("main", &[]);
    let dir = side.path("");
    ours("oxtree")
        .dir(&dir)
        .ok(["init", "--repo=dest", "--mode=archive"]);
    fs::write(side.path("evil"), EVIL).unwrap();
    let evil = side.path("evil").display().to_string();
    let script = |name: &str, text: &str| {
        fs::write(side.path(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(side.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        side.path(name).display().to_string()
    };
    let hook = script(
        "hook",
        &format!("cat {evil}; printf 'one\\nerror: forged\\rx\\n'; exit 1"),
    );
    fs::write(side.path("conf"), format!("receive_hook: {hook}\n")).unwrap();
    let oxtree = ours("oxtree").command([""; 0]).get_program().to_owned();
    let oxtree = oxtree.to_str().unwrap();
    let conf = side.path("conf").display().to_string();
    let ssh = script(
        "ssh",
        &format!("for last; do :; done; OSTREE_RECEIVE_CONF={conf} exec sh -c \"$last\""),
    );
    let dest = side.path("dest").display().to_string();
    let push = format!(
        "'{oxtree}' push --repo=repo --ssh-command={ssh} --command='{oxtree} receive' host:{dest} main"
    );
    let printed = on_terminal(&dir, &push);
    assert_harmless("push", &printed);
    assert!(
        printed.contains(&format!("remote: {SHOWN}one\r\n")),
        "{printed:?}"
    );
    assert!(
        printed.contains("remote: error: forged\\rx\r\n"),
        "{printed:?}"
    );
    assert!(!printed.contains("\nerror: forged"), "{printed:?}");
}
