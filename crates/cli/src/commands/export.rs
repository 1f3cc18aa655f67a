// SPDX-License-Identifier: MIT OR Apache-2.0
//! `export`: a commit as a tar file.

use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use oxtree_format::Commit;
use oxtree_repo::{Error, export};

use crate::context::Context;
use crate::error::Usage;
use crate::output::StdoutError;

/// Options of `export`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The tar file goes to standard output. Its members have the time of the commit, and the first one is
the directory itself. `oxtree commit --tree=tar=FILE` makes the same tree of it again.

Examples:
  oxtree export debian/12 | podman import - debian:12
  oxtree export debian/12 -o debian.tar
  oxtree export debian/12 --subpath=usr/share/doc --prefix=doc/ | tar t")]
pub(crate) struct Args {
    /// Leave out extended attributes
    #[arg(long)]
    no_xattrs: bool,
    /// Only this directory
    #[arg(long, value_name = "PATH")]
    subpath: Option<String>,
    /// Put this before all names; a directory has to end with a slash
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// Write to this file
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// libostree does not look at further arguments
    #[arg(hide = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let Some(rev) = &args.commit else {
        return Err(Usage("A COMMIT argument is required".to_owned()).into());
    };
    if !args.rest.is_empty() && context.face == crate::names::Face::Oxtree {
        return Err(Usage("Too many arguments given".to_owned()).into());
    }
    let commit = repo.resolve_rev(rev)?;
    let bytes = repo.load_commit(commit)?;
    let parsed = Commit::parse(&bytes).map_err(|error| Error::corrupt(commit, error))?;
    let tree = repo.tree(commit)?;
    let source = match &args.subpath {
        Some(path) if !path.is_empty() => tree.lookup(path)?,
        _ => tree.root(),
    };
    let mut options = export::Options {
        prefix: args.prefix.clone().unwrap_or_default(),
        no_xattrs: args.no_xattrs,
        mtime: parsed.timestamp.cast_signed(),
        whole_records: true,
    };
    let Some(path) = &args.output else {
        let done = export::export(&repo, &source, &options, context.out.writer());
        return done.map_err(|error| match error {
            Error::Output(error) => StdoutError::from(error).into(),
            error => error.into(),
        });
    };
    options.whole_records = false;
    let write = |file: &File| -> Result<()> {
        let kind = file.metadata().context("reading its type")?.file_type();
        let options = export::Options {
            whole_records: kind.is_char_device() || kind.is_block_device(),
            ..options.clone()
        };
        let file = BufWriter::with_capacity(export::RECORD * 8, file);
        export::export(&repo, &source, &options, file).with_context(|| format!("exporting {rev}"))
    };
    write_whole(path, write)
}

/// Writes a file that is there as a whole or, if that fails, as it was before. What is no regular file is written to
/// as it is.
fn write_whole(path: &Path, write: impl Fn(&File) -> Result<()>) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    let there = path.metadata().ok();
    let in_place = || write(&File::create(path).with_context(writing)?);
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return in_place();
    }
    // Through a link to where it leads.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mode = there.as_ref().map(std::fs::Metadata::permissions);
    let new = tempfile::Builder::new()
        .prefix(".export-")
        .permissions(mode.unwrap_or_else(|| PermissionsExt::from_mode(0o666)))
        .tempfile_in(folder);
    let new = match new {
        // Only the file itself may be written to.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && there.is_some() => {
            return in_place();
        }
        new => new.with_context(writing)?,
    };
    write(new.as_file())?;
    new.persist(&target).with_context(writing)?;
    Ok(())
}
