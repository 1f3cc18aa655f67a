// SPDX-License-Identifier: MIT OR Apache-2.0
//! `diff`: what is different between two commits or directories.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Result;
use oxtree_repo::diff::{Diff, Source, count_objects, diff};
use oxtree_repo::{DiskView, Repo};

use crate::context::Context;
use crate::error::Usage;
use crate::names::Face;
use crate::text;

/// Options of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
What begins with `/`, `./` or `../` is a directory on the disk, all else a rev (see `oxtree
rev-parse`). One rev alone is compared with its parent. The lines say what was modified (M), what is
only in the first (D) and what is only in the second (A). Two commits are compared without reading
what they have in common.

Examples:
  oxtree diff debian/12
  oxtree diff debian/11 debian/12
  oxtree diff --no-xattrs debian/12 /srv/root
  oxtree diff --stats debian/11 debian/12")]
pub(crate) struct Args {
    /// Print how many objects each commit has, and how many and how large those are that both have
    #[arg(long)]
    stats: bool,
    /// Print the files that differ; so it is without --stats
    #[arg(long)]
    fs_diff: bool,
    /// Extended attributes do not count
    #[arg(long)]
    no_xattrs: bool,
    /// What is in the second directory on the disk belongs to this user
    #[arg(long, value_name = "UID", value_parser = owner)]
    owner_uid: Option<Owner>,
    /// What is in the second directory on the disk belongs to this group
    #[arg(long, value_name = "GID", value_parser = owner)]
    owner_gid: Option<Owner>,
    /// What to compare
    #[arg(value_name = "REV_OR_DIR")]
    sides: Vec<String>,
}

/// A number of a user or group; as in libostree a negative one is none.
type Owner = i64;

fn owner(text: &str) -> Result<Owner> {
    let number: Owner = text.parse()?;
    match number <= i64::from(u32::MAX) {
        true => Ok(number),
        false => Err(Usage(format!("{text} is no number of a user or group")).into()),
    }
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let (a, b) = match &args.sides[..] {
        [] => return Err(Usage("REV must be specified".to_owned()).into()),
        [rev] => (format!("{rev}^"), rev.clone()),
        [a, b, rest @ ..] if rest.is_empty() || context.face == Face::Ostree => {
            (a.clone(), b.clone())
        }
        _ => return Err(Usage("Too many arguments given".to_owned()).into()),
    };
    if args.fs_diff || !args.stats {
        let view = DiskView {
            ignore_xattrs: args.no_xattrs,
            owner_uid: args.owner_uid.and_then(|id| u32::try_from(id).ok()),
            owner_gid: args.owner_gid.and_then(|id| u32::try_from(id).ok()),
        };
        let (a, b) = (source(&repo, &a)?, source(&repo, &b)?);
        print(&diff(a, b, view)?, (&a, &b), context)?;
    }
    if args.stats {
        let counts = count_objects(&repo, repo.resolve_rev(&a)?, repo.resolve_rev(&b)?)?;
        context.out.text(&format!(
            "[A] Object Count: {}\n[B] Object Count: {}\nCommon Object Count: {}\n\
             Common Object Size: {}\n",
            counts.a,
            counts.b,
            counts.common,
            text::size(counts.common_size)
        ))?;
    }
    Ok(())
}

fn source<'r>(repo: &'r Repo, word: &'r str) -> Result<Source<'r>> {
    let is_path = ["/", "./", "../"]
        .iter()
        .any(|start| word.starts_with(start));
    if is_path || word == "." || word == ".." {
        return Ok(Source::Disk(Path::new(word)));
    }
    Ok(Source::Tree(repo.tree(repo.resolve_rev(word)?)?))
}

/// Paths in commits are absolute, those on a disk relative to the directory.
fn print(diff: &Diff, (a, b): (&Source<'_>, &Source<'_>), context: &Context<'_>) -> Result<()> {
    let lists = [
        (b'M', &diff.modified, a),
        (b'D', &diff.removed, a),
        (b'A', &diff.added, b),
    ];
    for (letter, paths, side) in lists {
        let before: &[u8] = match side {
            Source::Tree(_) => b"    /",
            Source::Disk(_) => b"    ",
        };
        for path in paths {
            context.out.line_of_bytes(&line(letter, before, path))?;
        }
    }
    Ok(())
}

fn line(letter: u8, before: &[u8], path: &Path) -> Vec<u8> {
    [&[letter], before, path.as_os_str().as_bytes()].concat()
}
