// SPDX-License-Identifier: MIT OR Apache-2.0
//! `gentoken`: a new token for the server.

use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;

use super::tokens::{self, Token};
use crate::context::Context;

/// Options of `gentoken`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file with the tokens
    #[arg(long, short, value_name = "FILE", default_value = tokens::DEFAULT)]
    config: PathBuf,
    /// Say more
    #[arg(long, short)]
    pub(super) verbose: bool,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let mut all = tokens::read(&args.config)?.unwrap_or_default();
    let token = Token::new(Timestamp::now())?;
    let line = format!("Token: {}", token.secret);
    all.push(token);
    tokens::write(&args.config, &all)?;
    context.out.line(&line)
}
