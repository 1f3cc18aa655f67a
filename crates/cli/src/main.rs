// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `oxtree` command, which also answers to `ostree`, to the names of ostree-push's programs and to
//! `ostree-upload`.

mod args;
mod audit;
mod commands;
mod context;
mod dates;
mod error;
mod escape;
mod locale;
mod names;
mod network;
mod original;
mod output;
mod progress;
mod receive_conf;
mod receive_policy;
mod secrets;
mod serve_conf;
mod shell_words;
mod signing;
mod text;
mod upload;

use std::process::ExitCode;

use names::Called;

fn main() -> ExitCode {
    let output = output::Output::default();
    let (face, words) = match names::from_argv(std::env::args_os()) {
        Called::Command(face, words) => (face, words),
        Called::Original(program, words) => return original::run(program, words, &output),
        Called::Upload(words) => return upload::run(words, &output),
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
    let Some(args) = args::parse(face, words, output)? else {
        return Ok(());
    };
    let context = context::Context::new(face, args.global, output);
    output::start_tracing(context.verbose || context.var("OSTREE_DEBUG_HTTP").is_some());
    match args.command {
        Some(command) => command.run(&context),
        None => {
            let message = "No command specified";
            Err(args::no_command(face, message, output))
        }
    }
}
