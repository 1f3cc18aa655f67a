// SPDX-License-Identifier: MIT OR Apache-2.0
//! `docs/compatibility.md` says the truth: what is ticked there is in our help, what is not ticked
//! is not and has a reason, and nothing of what the real `ostree` offers is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use oxtree_testkit::{BinDir, Tool};

/// What the page says of one command.
#[derive(Debug, Default)]
struct Listed {
    /// Whether the command itself is ticked.
    ticked: bool,
    /// The reason if it is not.
    reason: String,
    /// The options by each of their names: ticked or not, and the reason.
    options: BTreeMap<String, (bool, String)>,
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    std::fs::read_to_string(path).expect("read docs/compatibility.md")
}

/// The words in backquotes, and the reason, which comes after a colon.
fn parts(line: &str) -> (Vec<&str>, &str) {
    let quoted = line.split('`').skip(1).step_by(2).collect();
    let after = line.rsplit('`').next().unwrap_or_default();
    let reason = after.split_once(':').map_or("", |(_, reason)| reason);
    (quoted, reason.trim())
}

/// The commands on the page: `### \`NAME ARGS\`` and the lines below it.
fn listed() -> BTreeMap<String, Listed> {
    let page = page();
    let mut commands: BTreeMap<String, Listed> = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("### `") {
            let is_name = |word: &&str| {
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            };
            let words: Vec<&str> = title
                .split(['`', ' '])
                .take_while(|word| !word.is_empty())
                .take_while(is_name)
                .collect();
            current = words.join(" ");
            commands.entry(current.clone()).or_default();
        } else if line.starts_with('#') {
            current.clear();
        }
        let Some(item) = line.strip_prefix("- [") else {
            continue;
        };
        let Some(command) = commands.get_mut(&current) else {
            continue;
        };
        let ticked = item.starts_with('x');
        if let Some(rest) = item[2..].strip_prefix(" the command") {
            command.ticked = ticked;
            command.reason = rest.trim_start_matches([' ', '†', ':']).to_owned();
            continue;
        }
        let (names, reason) = parts(item);
        for name in names {
            let name = name.split(['=', '[']).next().unwrap_or_default();
            command
                .options
                .insert(name.to_owned(), (ticked, reason.to_owned()));
        }
    }
    commands
}

/// The options in a help text.
fn options_in(help: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in help.lines() {
        // Options stand at the beginning of a line, which is how both tools print them.
        for word in line.split_whitespace().take_while(|w| w.starts_with('-')) {
            let name = word.split(['=', '[']).next().unwrap_or_default();
            found.insert(name.trim_end_matches([',', '.']).to_owned());
        }
    }
    found
}

/// What every command takes.
const GLOBAL: [&str; 6] = ["-h", "--help", "-v", "--verbose", "--version", "--repo"];

fn ours() -> (BinDir, Tool) {
    let bins = BinDir::linked(env!("CARGO_BIN_EXE_oxtree"), &["ostree"]);
    let tool = Tool::new(bins.path().join("ostree"));
    (bins, tool)
}

fn help(tool: &Tool, command: &str) -> Option<String> {
    let words = command.split(' ').chain(["--help"]);
    let output = tool.run(words);
    (output.code == Some(0)).then(|| output.stdout())
}

#[test]
fn what_is_ticked_is_there() {
    let (_bins, ours) = ours();
    let mut wrong = Vec::new();
    for (name, command) in listed() {
        let help = help(&ours, &name);
        if command.ticked != help.is_some() {
            let ticked = command.ticked;
            wrong.push(format!("{name}: ticked: {ticked}, there: {}", !ticked));
        }
        if !command.ticked && command.reason.is_empty() {
            wrong.push(format!("{name}: not ticked, and no reason why"));
        }
        let Some(help) = help else {
            for (option, (ticked, _)) in &command.options {
                if *ticked {
                    wrong.push(format!("{name} {option}: ticked without its command"));
                }
            }
            continue;
        };
        let there = options_in(&help);
        for (option, (ticked, reason)) in &command.options {
            if *ticked != there.contains(option) {
                wrong.push(format!(
                    "{name} {option}: ticked: {ticked}, there: {}",
                    !ticked
                ));
            }
            if !ticked && reason.is_empty() {
                wrong.push(format!("{name} {option}: not ticked, and no reason why"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/compatibility.md:\n{}",
        wrong.join("\n")
    );
}

/// The commands that a help of the real tool lists.
fn commands_in(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    list.lines()
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn nothing_of_the_real_one_is_left_out() {
    let real = Tool::ostree();
    let listed = listed();
    let mut pending = commands_in(&help(&real, "--verbose").expect("its help"));
    assert!(pending.len() > 20, "{pending:?}");
    let mut missing = Vec::new();
    while let Some(name) = pending.pop() {
        let text = help(&real, &name).unwrap_or_else(|| panic!("no help of {name}"));
        let below = commands_in(&text);
        if !below.is_empty() {
            pending.extend(below.iter().map(|word| format!("{name} {word}")));
            continue;
        }
        let Some(command) = listed.get(&name) else {
            missing.push(name);
            continue;
        };
        for option in options_in(&text) {
            let global = GLOBAL.contains(&option.as_str()) || option == "--sysroot";
            if !global && !command.options.contains_key(&option) {
                missing.push(format!("{name} {option}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not in docs/compatibility.md:\n{}",
        missing.join("\n")
    );
}
