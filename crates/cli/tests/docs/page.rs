// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands of a page, and whether their output is what the page shows.

/// One command of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its line in the page.
    pub(crate) line: usize,
    pub(crate) command: String,
    /// The lines of output shown for it; [`None`] in a `sh` block, which shows none.
    pub(crate) shows: Option<Vec<String>>,
}

impl Step {
    /// Whether the page shows an error.
    pub(crate) fn fails(&self) -> bool {
        let shows = self.shows.iter().flatten();
        shows.into_iter().any(|line| line.starts_with("error: "))
    }
}

/// The commands in the blocks of a page.
pub(crate) fn steps(page: &str, text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let block: Vec<(usize, &str)> = lines
            .by_ref()
            .take_while(|(_, line)| line.trim() != "```")
            .map(|(at, line)| (at + 1, line.get(indent..).unwrap_or_default()))
            .collect();
        let (kind, reason) = info.split_once(' ').unwrap_or((info, ""));
        match kind {
            "sh" => steps.push(Step {
                line: at + 2,
                command: block
                    .iter()
                    .map(|(_, line)| *line)
                    .collect::<Vec<_>>()
                    .join("\n"),
                shows: None,
            }),
            "console" => console(page, &block, &mut steps),
            "sh,norun" | "console,norun" => {
                assert!(
                    !reason.is_empty(),
                    "{page}:{}: norun needs a reason",
                    at + 1
                );
            }
            "bash" | "shell" => panic!("{page}:{}: call it sh or console", at + 1),
            _ => {}
        }
    }
    steps
}

fn console(page: &str, block: &[(usize, &str)], steps: &mut Vec<Step>) {
    let first = steps.len();
    for (at, line) in block {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                line: *at,
                command: command.to_owned(),
                shows: Some(Vec::new()),
            });
            continue;
        }
        let step = steps[first..].last_mut();
        let step = step.unwrap_or_else(|| panic!("{page}:{at}: output before a command"));
        let shows = step.shows.get_or_insert_default();
        match line.strip_prefix("> ").filter(|_| shows.is_empty()) {
            Some(more) => step.command = format!("{}\n{more}", step.command),
            None => shows.push((*line).to_owned()),
        }
    }
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
pub(crate) fn lines_fit(lines: &[&str], patterns: &[String]) -> bool {
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

#[test]
fn blocks_are_taken_apart() {
    let text = "- x\n\n  ```console\n  $ a \\\n  > b\n  out\n\n  > x\n  $ c\n  error: no\n  ```\n\
                ```sh\nd\ne\n```\n```sh,norun needs root\nf\n```\n```yaml\n$ g\n```\n";
    let step = |line, command: &str, shows: Option<&[&str]>| Step {
        line,
        command: command.to_owned(),
        shows: shows.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect()),
    };
    let found = steps("page", text);
    let expected = [
        step(4, "a \\\nb", Some(&["out", "", "> x"])),
        step(9, "c", Some(&["error: no"])),
        step(13, "d\ne", None),
    ];
    assert_eq!(found, expected);
    assert_eq!(
        found.iter().map(Step::fails).collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[test]
#[should_panic(expected = "page:1: norun needs a reason")]
fn a_block_that_is_not_run_says_why() {
    steps("page", "```sh,norun\nf\n```\n");
}
