// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs of ostree-push 1.2.0, by their own names: their arguments, messages and exit codes
//! in front of the same work that `oxtree push` and `oxtree receive` do.

mod argparse;
mod dest;
mod log;
mod push;
pub(crate) mod receive;
pub(crate) mod shell;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::context::Context;
use crate::error::{AlreadyReported, one_line};
use crate::names::{Face, Program};
use crate::options::Global;
use crate::output::{self, Output};
use argparse::{Grammar, Parsed, Stop};

/// The version that is taken the place of.
const VERSION: &str = "1.2.0";

/// How a program was called.
#[derive(Debug)]
struct Call<'a> {
    /// The name, for messages.
    name: &'a str,
    words: &'a [String],
    out: &'a Output,
}

/// Runs one of the programs with the arguments `words`.
pub(crate) fn run(program: Program, words: Vec<OsString>, out: &Output) -> ExitCode {
    let name = program.name();
    let outcome = texts(words).and_then(|words| {
        let words = words.as_slice();
        let call = Call { name, words, out };
        match program {
            Program::Push => push::run(&call),
            Program::Shell => shell::run(&call),
            _ => receive::run(program, words, None, out),
        }
    });
    match outcome.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, name, out),
    }
}

/// What went wrong is said in a line; the code is 1, unless it has been reported with another.
fn report(error: &anyhow::Error, name: &str, out: &Output) -> ExitCode {
    if let Some(AlreadyReported { code }) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    out.note(&format!("{name}: error: {}", one_line(error)));
    ExitCode::FAILURE
}

fn texts(words: Vec<OsString>) -> Result<Vec<String>> {
    let texts = words.into_iter().map(OsString::into_string);
    let texts: Result<_, OsString> = texts.collect();
    texts.map_err(|word| anyhow::anyhow!("argument {} is not UTF-8", word.display()))
}

impl Call<'_> {
    /// Reads the arguments. [`None`]: help or the version was asked for, and printed.
    fn parse(&self, grammar: &Grammar, least: usize) -> Result<Option<Parsed>> {
        match argparse::parse(grammar, self.words, least) {
            Ok(parsed) => return Ok(Some(parsed)),
            Err(Stop::Help) => {
                let usage = self.usage(grammar);
                self.out
                    .text(&format!("{usage}\n\n{}\n", grammar.help.trim()))?;
            }
            Err(Stop::Version) => self.out.line(&format!("{} {VERSION}", self.name))?,
            Err(Stop::Wrong(text)) => return Err(self.wrong(grammar, &text)),
        }
        Ok(None)
    }

    /// Says what is wrong with the command line, as argparse does.
    fn wrong(&self, grammar: &Grammar, text: &str) -> anyhow::Error {
        self.out.note(&self.usage(grammar));
        self.out.note(&format!("{}: error: {text}", self.name));
        AlreadyReported { code: 2 }.into()
    }

    fn usage(&self, grammar: &Grammar) -> String {
        let start = format!("usage: {} ", self.name);
        let indent = format!("\n{}", " ".repeat(start.len()));
        start + &grammar.usage.replace('\n', &indent)
    }
}

/// What the commands are given.
fn context<'a>(repo: Option<String>, verbose: bool, out: &'a Output) -> Context<'a> {
    output::start_tracing(verbose);
    let global = Global::new(repo.map(Into::into), verbose);
    Context::new(Face::Oxtree, global, out)
}
