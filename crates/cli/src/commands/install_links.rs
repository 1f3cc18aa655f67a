// SPDX-License-Identifier: MIT OR Apache-2.0
//! `install-links`: the other names of the binary.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::context::Context;
use crate::names;

/// Options of `install-links`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
By these names the binary takes the place of the programs of ostree-push 1.2.0, ostree-push,
ostree-receive, ostree-receive-0, ostree-receive-1 and ostree-receive-shell, of ostree-upload, and of
libostree's rofiles-fuse. Where there is something else by one of them, nothing is done without --force.

Examples:
  oxtree install-links /usr/local/bin
  oxtree install-links --ostree --force ~/bin     that of `ostree`, too")]
pub(crate) struct Args {
    /// Make a link by the name of `ostree`, too
    #[arg(long)]
    ostree: bool,
    /// Replace what is there by these names
    #[arg(long, short)]
    force: bool,
    /// Where to make them
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let target = target(&args.dir)?;
    let names: Vec<&str> = names::links()
        .chain(args.ostree.then_some("ostree"))
        .collect();
    for name in &names {
        check(&args.dir.join(name), &target, args.force)?;
    }
    for name in &names {
        let path = args.dir.join(name);
        replace(&path, &target).with_context(|| format!("making the link {}", path.display()))?;
        context
            .out
            .line(&format!("{} -> {}", path.display(), target.display()))?;
    }
    Ok(())
}

/// The binary's name if it is in the same directory, so that both can be moved; else its path.
fn target(dir: &Path) -> Result<PathBuf> {
    let exe = std::env::current_exe().context("finding this binary")?;
    let dir = dir
        .canonicalize()
        .with_context(|| format!("looking at {}", dir.display()))?;
    let beside = dir.join("oxtree");
    match beside.canonicalize() {
        Ok(there) if there == exe.canonicalize()? => Ok("oxtree".into()),
        _ => Ok(exe),
    }
}

fn check(path: &Path, target: &Path, force: bool) -> Result<()> {
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.with_context(|| format!("looking at {}", path.display()))?,
    };
    let ours = fs::read_link(path).is_ok_and(|there| there == target);
    let shown = path.display();
    match (ours || force, metadata.is_dir()) {
        (_, true) => bail!("{shown} is a directory"),
        (true, false) => Ok(()),
        (false, false) => bail!("{shown} is there already: --force replaces it"),
    }
}

/// There is a program by that name at any time.
fn replace(path: &Path, target: &Path) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    symlink(target, &new)?;
    fs::rename(&new, path).inspect_err(|_| drop(fs::remove_file(&new)))
}
