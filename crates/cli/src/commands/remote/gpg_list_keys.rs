// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote gpg-list-keys`: whose GPG signatures a remote's commits may have.

use anyhow::Result;
use oxtree_format::refs::RemoteName;
use oxtree_sign::gpg::{self, Keyring};

use crate::context::Context;
use crate::escape::without_controls;
use crate::signing;

/// Options of `remote gpg-list-keys`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Without NAME, the keys are listed that all remotes trust which have none of their own.

Examples:
  oxtree remote gpg-list-keys origin")]
pub(crate) struct Args {
    /// The remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let trust = signing::trust(context);
    let keyring = match &args.name {
        None => trust.global_keyring()?,
        Some(name) => {
            let name: RemoteName = name.parse()?;
            repo.remote_setting(&name, "url")?;
            let mut keyring = Keyring::new();
            if let Some(bytes) = repo.remote_keyring(&name)? {
                keyring.add_bytes(&bytes)?;
            }
            keyring
        }
    };
    let list = gpg::list(keyring.certificates(), trust.now, trust.show_time);
    context.out.text(&without_controls(&list))
}
