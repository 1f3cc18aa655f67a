// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the README's tour, command by command, and compares the output that it shows.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use oxtree_testkit::{BinDir, Output, Sshd, WebServer, temp_dir};

/// One `$ command` of the tour and the lines shown below it.
#[derive(Debug)]
struct Step {
    command: String,
    expected: Vec<String>,
}

/// The steps of all console blocks in the section called `A five-minute tour`.
fn steps(readme: &str) -> Vec<Step> {
    let mut sections = readme.split("\n## ");
    let tour = sections
        .find(|s| s.starts_with("A five-minute tour"))
        .expect("the tour");
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in tour.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step {
                command: command.to_owned(),
                expected: Vec::new(),
            });
        } else if inside {
            let step = steps.last_mut().expect("a command before its output");
            step.expected.push(line.to_owned());
        }
    }
    steps
}

/// Whether `line` fits `pattern`, in which each `…` stands for any text.
fn line_fits(line: &str, pattern: &str) -> bool {
    let Some((start, others)) = pattern.split_once('…') else {
        return line == pattern;
    };
    let Some(rest) = line.strip_prefix(start) else {
        return false;
    };
    let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.any(|at| line_fits(&rest[at..], others))
}

/// Whether the lines fit the patterns; a `…` alone stands for any number of lines.
fn lines_fit(lines: &[&str], patterns: &[String]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, others)) if first == "…" => {
            (0..=lines.len()).any(|n| lines_fit(&lines[n..], others))
        }
        Some((first, others)) => {
            lines.first().is_some_and(|line| line_fits(line, first))
                && lines_fit(&lines[1..], others)
        }
    }
}

#[test]
fn the_tour_works_and_prints_what_it_shows() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let steps = steps(&fs::read_to_string(readme).expect("README.md"));
    assert!(steps.len() > 15, "only {} commands found", steps.len());

    let dir = temp_dir();
    let oxtree = env!("CARGO_BIN_EXE_oxtree");
    let sshd = Sshd::with_binary(oxtree);
    let bins = BinDir::linked(oxtree, &["oxtree"]);
    bins.script(
        "ssh",
        &format!("exec /usr/bin/{} \"$@\"", sshd.ssh_command()),
    );
    let web = WebServer::serve(dir.path());

    // One shell for all, as a reader has it; a mark before each command's output tells them apart.
    let mut script = "set -e; exec 2>&1\n".to_owned();
    for step in &steps {
        writeln!(script, "printf '\\036'\n{}", step.command).expect("write to a string");
    }
    let path = std::env::var("PATH").expect("PATH");
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &script])
        .current_dir(dir.path())
        .env_remove("OSTREE_REPO")
        .env("PATH", format!("{}:{path}", bins.path().display()))
        .env("HOME", dir.path())
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .env("SERVER", format!("{}@127.0.0.1", sshd.user()))
        .env("WHERE", dir.path().join("published"))
        .env("URL", format!("{}published", web.url()));
    let out = Output::of(&mut shell);

    let text = out.stdout();
    let outputs: Vec<&str> = text.split('\u{1e}').skip(1).collect();
    for (step, output) in steps.iter().zip(&outputs) {
        let lines: Vec<&str> = output.lines().collect();
        assert!(
            lines_fit(&lines, &step.expected),
            "$ {}\nprints\n{output}\nbut README.md shows\n{}",
            step.command,
            step.expected.join("\n")
        );
    }
    assert_eq!(
        out.expect_ok().stdout().matches('\u{1e}').count(),
        steps.len()
    );
}

#[test]
fn patterns_fit_what_they_should() {
    for (line, pattern, fits) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "a…c", true),
        ("abc", "a…", true),
        ("abc", "…b…", true),
        ("abc", "a…d", false),
        ("", "…", true),
        ("a--b--b", "a…b", true),
        ("a--b--c", "a…b…d", false),
    ] {
        assert_eq!(line_fits(line, pattern), fits, "{line} {pattern}");
    }
    let all = ["a".to_owned(), "…".to_owned(), "c".to_owned()];
    assert!(lines_fit(&["a", "x", "y", "c"], &all));
    assert!(lines_fit(&["a", "c"], &all));
    assert!(!lines_fit(&["a", "x"], &all));
    assert!(!lines_fit(&["a"], &[]));
}
