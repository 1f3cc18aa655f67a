// SPDX-License-Identifier: MIT OR Apache-2.0
//! `reset`: point a ref at another commit.

use anyhow::{Result, bail};
use oxtree_format::Refspec;
use oxtree_repo::{Error, RefUpdate};

use crate::context::Context;

/// Options of `reset`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  oxtree reset debian/12 debian/12^")]
pub(crate) struct Args {
    /// The ref, which must exist
    #[arg(value_name = "REF")]
    name: String,
    /// The rev that it is to point at
    #[arg(value_name = "COMMIT")]
    commit: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    repo.check_writable()?;
    let name = &args.name;
    let known = name.parse::<Refspec>().ok();
    // A ref that cannot be read is there, and is mended by this.
    let exists = |refspec: &Refspec| {
        matches!(
            repo.read_ref(refspec),
            Ok(Some(_)) | Err(Error::DamagedRef(_))
        )
    };
    let Some(refspec) = known.filter(exists) else {
        bail!("Invalid ref '{name}'");
    };
    let commit = repo.resolve_rev(&args.commit)?;
    Ok(repo.update_refs(&[RefUpdate::set(refspec, commit)])?)
}
