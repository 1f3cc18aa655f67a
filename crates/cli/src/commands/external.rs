// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that are programs of their own: `ostree-NAME` on `PATH`, as libostree has them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command_line;
use crate::context::Context;

/// Becomes the program `ostree-NAME` (`oxtree-NAME` first, where that is our name).
pub(crate) fn run(words: &[OsString], context: &Context<'_>) -> Result<()> {
    let (name, args) = words.split_first().context("No command specified")?;
    let shown = name.to_string_lossy();
    let unknown = || {
        let message = format!("Unknown command '{shown}'");
        command_line::no_command(context.face, &message, context.out)
    };
    if shown.contains('/') {
        return Err(unknown());
    }
    let mut prefixes = vec![context.face.name(), "ostree"];
    prefixes.dedup();
    context.out.flush()?;
    for prefix in prefixes {
        let mut program = OsString::from(format!("{prefix}-"));
        program.push(name);
        let error = Command::new(&program).args(args).exec();
        if error.kind() != std::io::ErrorKind::NotFound {
            return Err(error).with_context(|| format!("running {}", program.to_string_lossy()));
        }
    }
    Err(unknown())
}
