// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one place that prints.

use std::cell::RefCell;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use anyhow::Result;
use clap::builder::StyledStr;
use oxtree_repo::Progress;

use crate::progress::Terminal;
use crate::text::harmless;

/// Standard output, buffered, and standard error, with a progress bar on it if that is a terminal.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: RefCell<BufWriter<Stdout>>,
    bar: Option<Terminal>,
}

/// Standard output cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("writing to standard output: {0}")]
pub(crate) struct StdoutError(#[from] io::Error);

impl StdoutError {
    /// True if whoever read it has gone, which is not an error.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

impl Default for Output {
    fn default() -> Self {
        Self {
            bar: Terminal::new(),
            ..Self::without_bar()
        }
    }
}

impl Output {
    /// Where no progress is shown.
    pub(crate) fn without_bar() -> Self {
        Self {
            stdout: RefCell::new(BufWriter::with_capacity(1 << 16, io::stdout())),
            bar: None,
        }
    }

    /// Prints a line to standard output.
    pub(crate) fn line(&self, line: &str) -> Result<()> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Prints text that has its own line ends to standard output.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Prints bytes to standard output.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<()> {
        Ok(self
            .stdout
            .borrow_mut()
            .write_all(bytes)
            .map_err(StdoutError)?)
    }

    /// Standard output as somewhere to write bytes to.
    pub(crate) fn writer(&self) -> impl Write {
        Writer(&self.stdout)
    }

    /// Prints help: with colours on a terminal only.
    pub(crate) fn help(&self, help: &StyledStr) -> Result<()> {
        match io::stdout().is_terminal() {
            true => self.text(&help.ansi().to_string()),
            false => self.text(&help.to_string()),
        }
    }

    /// Prints a line to standard error, after what was printed to standard output. That standard
    /// error is gone is nothing anybody could be told.
    pub(crate) fn note(&self, line: &str) {
        let line = harmless(line);
        let _ = self.stdout.borrow_mut().flush();
        let print = || drop(writeln!(io::stderr(), "{line}"));
        match &self.bar {
            Some(bar) => bar.aside(print),
            None => print(),
        }
    }

    /// Hears how far a long operation is.
    pub(crate) fn progress(&self) -> &dyn Progress {
        match &self.bar {
            Some(bar) => bar,
            None => &(),
        }
    }

    /// Writes out what is buffered.
    pub(crate) fn flush(&self) -> Result<()> {
        Ok(self.stdout.borrow_mut().flush().map_err(StdoutError)?)
    }
}

/// See [`Output::writer`].
struct Writer<'a>(&'a RefCell<BufWriter<Stdout>>);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

/// Lets diagnostics go to standard error: everything with `-v`, else only warnings. The first call
/// counts.
pub(crate) fn start_tracing(verbose: bool) {
    let level = match verbose {
        true => tracing::Level::DEBUG,
        false => tracing::Level::WARN,
    };
    let started = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .try_init();
    // An error would mean that there is one already.
    drop(started);
}
