// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server of ours.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::process::kill;

/// A server that says in its first line of output where it listens. It is killed when this is dropped.
#[derive(Debug)]
pub struct Serve {
    child: Child,
    url: String,
    log: PathBuf,
    /// Open, so that the server may print.
    _output: BufReader<ChildStdout>,
}

impl Serve {
    /// Starts a program; `log` gets what it writes to standard error, after what is there already.
    pub fn start(program: impl AsRef<Path>, args: &[&str], log: impl AsRef<Path>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.args(args);
        Self::run(command, log)
    }

    /// The same with a command that has all it needs.
    pub fn run(mut command: Command, log: impl AsRef<Path>) -> Self {
        let log = log.as_ref().to_owned();
        let errors = File::options().create(true).append(true).open(&log);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.expect("create a log"))
            .spawn()
            .expect("start a server");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("its first line");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http"));
        let url = url.unwrap_or_else(|| panic!("no URL in {line:?}: {}", said()));
        Self {
            url: url.trim_end_matches('/').to_owned(),
            child,
            _output: output,
            log,
        }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        let (_, address) = self.url.split_once("://").expect("a scheme");
        address.parse().expect("an address")
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the server's log")
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        kill(self.child.id());
        // It is dead, or was already.
        let _ = self.child.wait();
    }
}
