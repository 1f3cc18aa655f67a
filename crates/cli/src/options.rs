// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options that several commands share.

use std::path::PathBuf;

use anyhow::Result;
use clap::ArgAction;

use crate::error::Usage;

/// Options that every command takes, before or after its name.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The repository [default: the current directory if it is one, else $OSTREE_REPO, else
    /// /ostree/repo]
    #[arg(
        long,
        value_name = "PATH",
        global = true,
        help_heading = "Global options"
    )]
    pub(crate) repo: Option<PathBuf>,
    /// Say on standard error what is being done
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub(crate) verbose: bool,
    /// Print the version and exit
    #[arg(long, action = ArgAction::Version, global = true, help_heading = "Global options")]
    version: Option<bool>,
}

impl Global {
    /// As `--repo` and `--verbose` would have set them.
    pub(crate) fn new(repo: Option<PathBuf>, verbose: bool) -> Self {
        Self {
            repo,
            verbose,
            version: None,
        }
    }
}

/// The value of an option such as `--fsync`.
pub(crate) fn boolean(text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" | "none" => Ok(false),
        _ => Err(Usage(format!("Invalid boolean argument '{text}'")).into()),
    }
}
