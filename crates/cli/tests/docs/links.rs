// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links between pages: files and headings. Links to the web are not followed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::{at, pages, read};

/// The lines of a page that are text: not in a block of code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// The targets of the links in a line. Inline code has none.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut code = false;
    let mut rest = line;
    while let Some(at) = rest.find(['`', ']']) {
        let (here, after) = (&rest[at..], &rest[at + 1..]);
        rest = after;
        if here.starts_with('`') {
            code = !code;
        } else if let Some(target) = after.strip_prefix('(').filter(|_| !code) {
            found.extend(target.split(')').next());
        }
    }
    found
}

/// The name of a heading in links, as GitHub and mdBook make it.
fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    let words: String = heading.to_lowercase().chars().filter(kept).collect();
    words.replace(' ', "-")
}

/// The names of all headings of a page; of those that are there twice, the second ends with `-1`.
fn headings(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let heading = |(_, line): (usize, &str)| {
        let text = line.trim_start_matches('#').strip_prefix(' ')?;
        line.starts_with('#').then(|| slug(text))
    };
    prose(text)
        .filter_map(heading)
        .map(|slug| {
            let count = seen.entry(slug.clone()).or_default();
            *count += 1;
            if *count == 1 {
                slug
            } else {
                format!("{slug}-{}", *count - 1)
            }
        })
        .collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    let mut count = 0;
    let crates = fs::read_dir(at("crates")).expect("the crates");
    let of_crates = crates.map(|one| {
        format!(
            "crates/{}/README.md",
            one.expect("a crate").file_name().display()
        )
    });
    let more = of_crates.chain(["benches/README.md".to_owned()]);
    for page in pages()
        .into_iter()
        .chain(more.filter(|page| at(page).exists()))
    {
        let text = read(&page);
        for (line, target) in
            prose(&text).flat_map(|(at, line)| targets(line).into_iter().map(move |t| (at + 1, t)))
        {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&page).parent().expect("a folder");
            let path = if file.is_empty() {
                Path::new(&page).to_owned()
            } else {
                folder.join(file)
            };
            let leads = at(&path).exists()
                && (anchor.is_empty()
                    || fs::read_to_string(at(&path))
                        .is_ok_and(|text| headings(&text).iter().any(|one| one == anchor)));
            if !leads {
                broken.push(format!("{page}:{line}: {target}"));
            }
        }
    }
    assert!(count > 50, "only {count} links found");
    assert!(
        broken.is_empty(),
        "links that lead nowhere:\n{}",
        broken.join("\n")
    );
}

#[test]
fn each_page_is_in_the_book_once() {
    let summary = read("docs/SUMMARY.md");
    let listed: Vec<&str> = prose(&summary)
        .flat_map(|(_, line)| targets(line))
        .collect();
    for page in pages() {
        let Some(path) = page
            .strip_prefix("docs/")
            .filter(|path| *path != "SUMMARY.md")
        else {
            continue;
        };
        let times = listed.iter().filter(|one| **one == path).count();
        assert_eq!(times, 1, "{page} is {times} times in docs/SUMMARY.md");
    }
}

/// Pages that the code, the help and other files name.
#[test]
fn pages_that_are_named_elsewhere_exist() {
    let mut folders = ["crates", "docs", "packaging", "scripts", "testkit"]
        .map(str::to_owned)
        .to_vec();
    let mut files = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "Makefile",
    ]
    .map(str::to_owned)
    .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(at(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = format!("{folder}/{}", entry.file_name().display());
            match entry.file_type().expect("its type").is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    let mut missing = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(at(&file)) else {
            continue;
        };
        for named in text.split("docs/").skip(1) {
            let of_name = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
            let name = named
                .split(|c| !of_name(c))
                .next()
                .unwrap_or_default()
                .trim_end_matches('.');
            if name.ends_with(".md") && !at("docs").join(name).exists() {
                missing.push(format!("{file}: docs/{name}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "pages that do not exist:\n{}",
        missing.join("\n")
    );
}

#[test]
fn links_and_headings_are_found() {
    assert_eq!(
        targets("a [b](c.md#d) `[e](f)` [`g`](h), [i] (j)"),
        ["c.md#d", "h"]
    );
    let text = "# A `b`, c!\n```sh\n# no\n```\n## Two words\n## Two words\ntext\n";
    assert_eq!(headings(text), ["a-b-c", "two-words", "two-words-1"]);
}
