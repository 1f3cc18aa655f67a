// SPDX-License-Identifier: MIT OR Apache-2.0
//! `checksum`: the name that something on the disk would have as an object.

use std::path::PathBuf;

use anyhow::Result;
use oxtree_repo::{DiskView, checksum_path};

use crate::context::Context;
use crate::error::Usage;

/// Options of `checksum`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The checksum is that of the object: content, owner, mode and extended attributes of a file, target
of a symbolic link, metadata of a directory without what is in it. No repository is needed.

Examples:
  oxtree checksum /usr/bin/env
  oxtree checksum --ignore-xattrs /etc/hostname")]
pub(crate) struct Args {
    /// Extended attributes do not count
    #[arg(long)]
    ignore_xattrs: bool,
    /// The file or directory
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// libostree does not look at further arguments
    #[arg(hide = true)]
    rest: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(path) = &args.path else {
        return Err(Usage("A filename must be given".to_owned()).into());
    };
    if !args.rest.is_empty() && context.face == crate::names::Face::Oxtree {
        return Err(Usage("Too many arguments given".to_owned()).into());
    }
    let view = DiskView {
        ignore_xattrs: args.ignore_xattrs,
        ..DiskView::default()
    };
    context.out.line(&checksum_path(path, &view)?.to_string())
}
