// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ls`: what is in a commit.

use std::fmt::Write;

use anyhow::{Context as _, Result};
use oxtree_format::dirmeta::S_IFMT;
use oxtree_format::gvariant::{Variant, text};
use oxtree_format::{DirMeta, FileHeader, Xattrs};
use oxtree_repo::Repo;
use oxtree_repo::tree::{Entry, Listing, Node};
use rayon::prelude::*;

use crate::context::Context;
use crate::error::Usage;

/// Options of `ls`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A line is the type (`d`, `-` or `l`) with the mode, owner, group, size and path. Without PATH, the
root directory is listed.

Examples:
  oxtree ls debian/12 /usr/bin
  oxtree ls -R -C debian/12 /etc
  oxtree ls -R --nul-filenames-only debian/12 | xargs -0 printf '%s\\n'")]
pub(crate) struct Args {
    /// List directories themselves, not what is in them
    #[arg(long, short = 'd')]
    dironly: bool,
    /// List all that is below
    #[arg(long, short = 'R')]
    recursive: bool,
    /// Print checksums; for directories those of the dirtree and the dirmeta
    #[arg(long, short = 'C')]
    checksum: bool,
    /// Print extended attributes
    #[arg(long, short = 'X')]
    xattrs: bool,
    /// Print only paths, each with a zero byte after it
    #[arg(long)]
    nul_filenames_only: bool,
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// What to list
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let Some(commit) = &args.commit else {
        return Err(Usage("An COMMIT argument is required".to_owned()).into());
    };
    let tree = repo.tree(repo.resolve_rev(commit)?)?;
    let lister = Lister { args, repo: &repo };
    if args.paths.is_empty() {
        return lister.list(tree.root(), context);
    }
    for path in &args.paths {
        let entry = tree
            .lookup(path)
            .with_context(|| format!("Inspecting path '{path}'"))?;
        lister.list(entry, context)?;
    }
    Ok(())
}

/// Lines that are made by all threads and then printed.
const BATCH: usize = 1024;

struct Lister<'a> {
    args: &'a Args,
    repo: &'a Repo,
}

/// What a line says of a file or a directory.
struct Line<'a> {
    kind: char,
    owner: (u32, u32),
    mode: u32,
    size: u64,
    xattrs: &'a Xattrs,
    target: Option<&'a str>,
}

impl Lister<'_> {
    /// Prints an entry, and what is in it.
    fn list(&self, entry: Entry, context: &Context<'_>) -> Result<()> {
        if self.args.dironly {
            return self.print(&[entry], context);
        }
        let mut batch = Vec::with_capacity(BATCH);
        // Not by recursion: a tree may be deeper than the stack.
        let mut stack = vec![entry];
        let mut is_top = true;
        while let Some(entry) = stack.pop() {
            batch.push(entry.clone());
            let Node::Dir(id) = entry.node else { continue };
            if !is_top && !self.args.recursive {
                continue;
            }
            is_top = false;
            let Listing { files, dirs } = match self.repo.list_dir(id.tree) {
                Ok(listing) => listing,
                Err(error) => {
                    self.print(&batch, context)?;
                    return Err(error.into());
                }
            };
            batch.extend(files.into_iter().map(|(name, id)| Entry {
                path: entry.child(&name),
                node: Node::File(id),
            }));
            if batch.len() >= BATCH {
                self.print(&batch, context)?;
                batch.clear();
            }
            stack.extend(dirs.into_iter().rev().map(|(name, id)| Entry {
                path: entry.child(&name),
                node: Node::Dir(id),
            }));
        }
        self.print(&batch, context)
    }

    /// Prints a line for each, up to the first of which nothing can be said.
    fn print(&self, entries: &[Entry], context: &Context<'_>) -> Result<()> {
        let lines: Vec<Result<String>> = entries
            .par_iter()
            .map(|entry| self.line_of(entry))
            .collect();
        for line in lines {
            match self.args.nul_filenames_only {
                true => {
                    context.out.text(&context.out.part(&line?))?;
                    context.out.contents(b"\0")?;
                }
                false => context.out.line(&line?)?,
            }
        }
        Ok(())
    }

    fn line_of(&self, entry: &Entry) -> Result<String> {
        if self.args.nul_filenames_only {
            return Ok(entry.path.clone());
        }
        match entry.node {
            Node::Dir(id) => {
                let DirMeta {
                    uid,
                    gid,
                    mode,
                    xattrs,
                } = self.repo.load_dirmeta(id.meta)?;
                let line = Line {
                    kind: 'd',
                    owner: (uid, gid),
                    mode,
                    size: 0,
                    xattrs: &xattrs,
                    target: None,
                };
                self.line(entry, &line, &[id.tree.to_string(), id.meta.to_string()])
            }
            Node::File(id) => {
                let (header, size) = self.repo.file_info(id)?;
                let FileHeader {
                    uid,
                    gid,
                    mode,
                    symlink,
                    xattrs,
                } = &header;
                let line = Line {
                    kind: if symlink.is_some() { 'l' } else { '-' },
                    owner: (*uid, *gid),
                    mode: *mode,
                    size,
                    xattrs,
                    target: symlink.as_deref(),
                };
                self.line(entry, &line, &[id.to_string()])
            }
        }
    }

    fn line(&self, entry: &Entry, line: &Line<'_>, checksums: &[String]) -> Result<String> {
        let Line {
            kind,
            owner: (uid, gid),
            size,
            ..
        } = line;
        let mode = line.mode & !S_IFMT;
        let mut text = format!("{kind}0{mode:04o} {uid} {gid} {size:6} ");
        if self.args.checksum {
            for checksum in checksums {
                write!(text, "{checksum} ")?;
            }
        }
        if self.args.xattrs {
            let bytes = line.xattrs.to_bytes();
            let xattrs = text::print(Variant::new("a(ayay)", &bytes)?, true)?;
            write!(text, "{{ {xattrs} }} ")?;
        }
        text.push_str(&entry.path);
        if let Some(target) = line.target {
            write!(text, " -> {target}")?;
        }
        Ok(text)
    }
}
