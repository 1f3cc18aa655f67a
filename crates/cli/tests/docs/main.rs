// SPDX-License-Identifier: MIT OR Apache-2.0
//! The documentation is right: its commands do what it shows, and its links lead somewhere.
//!
//! Each page is run from its first command to its last, in one shell and an empty directory:
//!
//! - In a `console` block, lines after `$ ` are commands, and lines after `> ` continue them. The other
//!   lines are their output, in which `…` stands for any text, and alone for any lines. A command
//!   whose shown output has a line `error: …` has to fail.
//! - A `sh` block is one command, of which no output is shown.
//! - A block with `norun` and a reason in its first line is not run: ```` ```sh,norun needs root ````.
//!
//! `prelude.sh` runs before each page, `setup/PAGE.sh` before that page (its path below `docs`, with `-`
//! for `/`), and `setup/PAGE.after.sh` after it, which finds the page's commands in `~/page`.
//! [`world::World`] says what paths and hosts in a page stand for. `OXTREE_PAGE=prune` runs only the pages
//! with this in their path.

mod links;
mod page;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use page::Step;
use world::World;

/// A path of the repository.
fn at(path: impl AsRef<Path>) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// The pages, as paths in the repository: all below `docs`, and those beside it.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ]
    .map(str::to_owned)
    .into();
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(at(&folder)).expect("a folder of pages") {
            let entry = entry.expect("an entry");
            let path = format!("{folder}/{}", entry.file_name().display());
            if entry.file_type().expect("its type").is_dir() {
                folders.push(path);
            } else if path.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

fn read(page: &str) -> String {
    fs::read_to_string(at(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

#[test]
fn commands_do_what_their_page_shows() {
    let steps = |page: String| {
        let steps = page::steps(&page, &read(&page));
        (!steps.is_empty()).then_some((page, steps))
    };
    let mut pages: Vec<(String, Vec<Step>)> = pages().into_iter().filter_map(steps).collect();
    assert!(pages.len() > 10, "only {} pages with commands", pages.len());
    let only = std::env::var("OXTREE_PAGE").unwrap_or_default();
    pages.retain(|(page, _)| page.contains(&only));

    let queue = Mutex::new(pages.into_iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((page, steps)) = { queue.lock().expect("the queue").next() } {
                    if let Err(error) = run(&page, &steps) {
                        wrong.lock().expect("the faults").push(error);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("the faults");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Runs a page. The error says which command prints something else than the page shows.
fn run(page: &str, steps: &[Step]) -> Result<(), String> {
    let world = World::new();
    let out = world.run(page, steps);
    let text = out.stdout();
    let mut outputs = text.split(world::MARK);
    let before = outputs.next().unwrap_or_default();
    let mut wrong = Vec::new();
    let mut printed = before;
    for step in steps {
        let Some(output) = outputs.next() else {
            wrong.push(format!(
                "the commands before line {} fail:\n{printed}",
                step.line
            ));
            break;
        };
        printed = output;
        let Some(shown) = &step.shows else { continue };
        let shown: Vec<String> = shown.iter().map(|line| world.stand_in(line)).collect();
        let lines: Vec<&str> = output.lines().collect();
        if !page::lines_fit(&lines, &shown) {
            let (command, shown) = (&step.command, shown.join("\n"));
            wrong.push(format!(
                "line {}: $ {command}\nprints\n{output}\nbut the page shows\n{shown}",
                step.line
            ));
        }
    }
    if wrong.is_empty() && out.code != Some(0) {
        let last = outputs.next_back().unwrap_or(printed);
        wrong.push(format!("the last commands fail:\n{last}\n{}", out.stderr()));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("{page}: {}", wrong.join("\n\n"))),
    }
}
