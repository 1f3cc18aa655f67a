// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `oxtree` command, which also answers to `ostree`, to the names of ostree-push's programs and to
//! `ostree-upload`.

mod command_line;
mod commands;
mod compat;
mod context;
mod dates;
mod error;
mod escape;
mod locale;
mod names;
mod network;
mod options;
mod output;
mod progress;
mod receiving;
mod secrets;
mod serving;
mod shell_words;
mod signing;
mod text;
mod yaml;

use std::process::ExitCode;

use names::Called;

fn main() -> ExitCode {
    let output = output::Output::default();
    let (face, words) = match names::from_argv(std::env::args_os()) {
        Called::Command(face, words) => (face, words),
        Called::Original(program, words) => {
            return compat::ostree_push::run(program, words, &output);
        }
        Called::Upload(words) => return compat::ostree_upload::run(words, &output),
    };
    let outcome = run(face, words, &output).and_then(|()| output.flush());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error, face, &output),
    }
}

fn run(
    face: names::Face,
    words: Vec<std::ffi::OsString>,
    output: &output::Output,
) -> anyhow::Result<()> {
    let Some(args) = command_line::parse(face, words, output)? else {
        return Ok(());
    };
    let context = context::Context::new(face, args.global, output);
    output::start_tracing(context.verbose || context.var("OSTREE_DEBUG_HTTP").is_some());
    match args.command {
        Some(command) => command.run(&context),
        None => {
            let message = "No command specified";
            Err(command_line::no_command(face, message, output))
        }
    }
}
