// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one place that prints. On a terminal, what others have written is made harmless (`escape.rs`); in a file or
//! a pipe it stays as it is.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use anyhow::Result;
use clap::builder::StyledStr;
use oxtree_repo::Progress;

use crate::escape::{harmless, harmless_bytes, harmless_line, without_controls};
use crate::progress::Terminal;

/// Standard output, buffered, and standard error, with a progress bar on it if that is a terminal.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: RefCell<BufWriter<Stdout>>,
    to_terminal: bool,
    errors_to_terminal: bool,
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
            to_terminal: io::stdout().is_terminal(),
            errors_to_terminal: io::stderr().is_terminal(),
            bar: None,
        }
    }

    /// Prints a line to standard output. On a terminal it is one line, whatever is in it.
    pub(crate) fn line(&self, line: &str) -> Result<()> {
        self.contents(self.part(line).as_bytes())?;
        self.contents(b"\n")
    }

    /// The same for a line that need not be text.
    pub(crate) fn line_of_bytes(&self, line: &[u8]) -> Result<()> {
        match self.to_terminal {
            true => self.line(&String::from_utf8_lossy(&harmless_bytes(line))),
            false => {
                self.contents(line)?;
                self.contents(b"\n")
            }
        }
    }

    /// Prints text that has its own line ends to standard output.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        match self.to_terminal {
            true => self.contents(harmless(text).as_bytes()),
            false => self.contents(text.as_bytes()),
        }
    }

    /// A name or value that is to be a part of a line of such a text.
    pub(crate) fn part<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.to_terminal {
            true => harmless_line(text),
            false => Cow::Borrowed(text),
        }
    }

    /// Prints bytes to standard output as they are, also on a terminal: what a file has in it.
    pub(crate) fn contents(&self, bytes: &[u8]) -> Result<()> {
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
        match self.to_terminal {
            true => self.contents(help.ansi().to_string().as_bytes()),
            false => self.text(&help.to_string()),
        }
    }

    /// Prints a line to standard error, after what was printed to standard output. That standard
    /// error is gone is nothing anybody could be told.
    pub(crate) fn note(&self, line: &str) {
        // Programs pass on to terminals what others say on standard error, as ssh does.
        let line = match self.errors_to_terminal {
            true => harmless(line),
            false => without_controls(line),
        };
        let _ = self.stdout.borrow_mut().flush();
        let print = || drop(writeln!(io::stderr(), "{line}"));
        match &self.bar {
            Some(bar) => bar.aside(print),
            None => print(),
        }
    }

    /// Prints what a receiver says to standard error. Each line says where it is from, so that none can pass itself
    /// off as ours.
    pub(crate) fn remote(&self, text: &str) {
        for line in text.lines() {
            self.note(&format!("remote: {line}"));
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

/// Standard error for diagnostics, which name what others have sent.
#[derive(Debug)]
struct Diagnostics {
    to_terminal: bool,
}

impl Write for Diagnostics {
    /// Takes a whole line.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.to_terminal {
            true => io::stderr().write_all(&harmless_bytes(bytes))?,
            false => io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Lets diagnostics go to standard error: everything with `-v`, else only warnings. The first call
/// counts.
pub(crate) fn start_tracing(verbose: bool) {
    let level = match verbose {
        true => tracing::Level::DEBUG,
        false => tracing::Level::WARN,
    };
    let to_terminal = io::stderr().is_terminal();
    let started = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(move || Diagnostics { to_terminal })
        // Colours could not be told from what others have sent.
        .with_ansi(false)
        .without_time()
        .try_init();
    // An error would mean that there is one already.
    drop(started);
}
