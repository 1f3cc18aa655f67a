// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system's `ssh` as a child process, so that the user's configuration, agent, known hosts and
//! jump hosts all work. Its messages and exit status become an error that says what to do.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::url::SshUrl;

/// What ssh is told besides where to go.
#[derive(Clone, Debug, Default)]
pub struct SshOptions {
    /// The program and its first arguments; empty for `ssh`.
    pub program: Vec<String>,
    /// `-i`.
    pub identity: Option<String>,
    /// `-o`, any number.
    pub options: Vec<String>,
    /// `-p`; wins over the URL's.
    pub port: Option<u16>,
    /// Prints what ssh and the far side say on standard error as they say it.
    pub verbose: bool,
}

impl SshOptions {
    /// What is run as ssh.
    pub(crate) fn name(&self) -> &str {
        self.program.first().map_or("ssh", String::as_str)
    }

    /// The ssh that goes to `url`; what it is to do there is missing yet. Of an option that is given
    /// twice the first counts, so `first` go before the user's.
    pub(crate) fn command(&self, url: &SshUrl, first: &[&str]) -> Command {
        let default = ["ssh".to_owned()];
        let words = match &self.program[..] {
            [] => &default[..],
            words => words,
        };
        let mut ssh = Command::new(&words[0]);
        ssh.args(&words[1..]).args(first);
        if let Some(port) = self.port.or(url.port) {
            ssh.arg("-p").arg(port.to_string());
        }
        if let Some(identity) = &self.identity {
            ssh.arg("-i").arg(identity);
        }
        for option in &self.options {
            ssh.arg("-o").arg(option);
        }
        ssh
    }
}

/// A running ssh.
#[derive(Debug)]
pub struct Ssh {
    child: Child,
    host: String,
    said: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
}

/// How long ssh may take to pass on why we give up.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Lines of standard error that are kept for the error message.
const MAX_LINES: usize = 100;

impl Ssh {
    /// Runs `command` with the repository's path as its last argument on the far side. Gives its
    /// standard output and input.
    pub fn start(
        url: &SshUrl,
        command: &str,
        options: &SshOptions,
    ) -> Result<(Self, ChildStdout, ChildStdin)> {
        let mut ssh = options.command(url, &["-T"]);
        // The URL's parser has refused hosts and users that begin with a dash.
        ssh.arg(url.login())
            .arg("--")
            .arg(format!("{command} {}", quote(&url.path)));
        ssh.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        tracing::debug!(?ssh, "connecting");
        let mut child = ssh
            .spawn()
            .map_err(|error| Error::Ssh(format!("cannot run {}: {error}", options.name())))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Error::Ssh("no pipes to ssh".to_owned()));
        };
        let said = Arc::new(Mutex::new(Vec::new()));
        let listener = listen(stderr, Arc::clone(&said), options.verbose);
        let host = url.host.clone();
        Ok((
            Self {
                child,
                host,
                said,
                listener: Some(listener),
            },
            stdout,
            stdin,
        ))
    }

    /// After the push: waits for ssh to end. `failed`: what went wrong on the connection, which may
    /// be only a consequence of what ssh has to say.
    pub fn finish(mut self, command: &str, failed: Option<Error>) -> Result<()> {
        if failed.as_ref().is_some_and(|error| !is_consequence(error)) {
            // Not the connection: there is only our last word to be passed on.
            self.wait_briefly();
            let _ = self.child.kill();
        }
        let status = self.child.wait().map_err(Error::Connection)?;
        if let Some(listener) = self.listener.take() {
            // The thread only reads lines; it has nothing to report.
            let _ = listener.join();
        }
        let Some(failed) = failed else { return Ok(()) };
        if !is_consequence(&failed) {
            return Err(failed);
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Err(match status.code() {
            Some(255) if said.iter().all(|line| line.trim().is_empty()) => Error::Ssh(format!(
                "`{command}` on {} was killed, or the connection was lost: push again",
                self.host
            )),
            Some(255) => Error::Ssh(explain_ssh(&self.host, &said)),
            Some(2) if wants_url(&said) => Error::WantsUrl,
            Some(1) if is_not_allowed(&said) => self.no_command(command, true),
            Some(127) => self.no_command(command, false),
            Some(0) | None => failed,
            Some(code) => Error::Ssh(format!(
                "`{command}` on {} failed with exit status {code}{}",
                self.host,
                said.last()
                    .map_or(String::new(), |line| format!(": {line}"))
            )),
        })
    }
}

impl Ssh {
    fn no_command(&self, command: &str, refused: bool) -> Error {
        Error::NoCommand {
            command: command.to_owned(),
            host: self.host.clone(),
            refused,
        }
    }

    fn wait_briefly(&mut self) {
        let since = Instant::now();
        while since.elapsed() < LAST_WORD && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // Gone already in most cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// ostree-push's receiver, given a path alone.
fn wants_url(said: &[String]) -> bool {
    let required = |line: &String| line.contains("arguments are required") && line.contains("URL");
    said.iter().any(required)
}

/// ostree-push's login shell, asked for a command that it does not know.
fn is_not_allowed(said: &[String]) -> bool {
    let refused = |line: &String| line.contains(": Executing ") && line.ends_with(" not allowed");
    said.iter().any(refused)
}

/// Whether this is what one sees when the other process has ended.
fn is_consequence(error: &Error) -> bool {
    matches!(error, Error::Connection(_)) && !error.is_timeout()
}

/// Passes on what is said on standard error, and keeps the end of it.
fn listen(stderr: ChildStderr, said: Arc<Mutex<Vec<String>>>, verbose: bool) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(stderr);
        let mut line = Vec::new();
        while matches!(read_line(&mut from, &mut line), Ok(len) if len > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if verbose {
                tracing::info!("{text}");
            }
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() == MAX_LINES {
                said.remove(0);
            }
            said.push(text);
        }
    })
}

fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    io::Read::take(from, 8 << 10).read_until(b'\n', line)
}

/// Why ssh did not get there, in a line that says what to do.
pub(crate) fn explain_ssh(host: &str, said: &[String]) -> String {
    let all = said.join("\n");
    let has = |text: &str| all.contains(text);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return format!(
            "the host key of {host} is not the one that is known: find out why, and if it is right \
             forget the old one with `ssh-keygen -R {host}`"
        );
    }
    if has("Host key verification failed") {
        return format!(
            "the host key of {host} is not known: log in once with ssh to accept it, or add it to \
             known_hosts"
        );
    }
    if has("Permission denied (") || has("Too many authentication failures") {
        return format!(
            "{host} refuses the login: check the user name and the key (-i), and that the key is in \
             authorized_keys there"
        );
    }
    let line = said.iter().rev().find(|line| !line.trim().is_empty());
    let line = line.map_or("it has said nothing", |line| line.trim());
    format!(
        "ssh cannot connect to {host}: {}",
        line.trim_start_matches("ssh: ")
    )
}

/// A word for the far side's shell. Plain ones stay plain: a restricted shell need not know quotes.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,%".contains(c);
    let (home, rest) = word.split_at(home(word).len());
    match rest.chars().all(plain) && !word.is_empty() {
        _ if word.starts_with('-') => quote(&format!("./{word}")),
        true => word.to_owned(),
        false => format!("{home}'{}'", rest.replace('\'', r"'\''")),
    }
}

/// `~/` or `~user/` at the beginning of a path: whose home that is, the far side's shell knows.
fn home(path: &str) -> &str {
    let end = path.find('/').map_or(path.len(), |slash| slash + 1);
    let name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match path[..end].strip_prefix('~') {
        Some(user) if user.trim_end_matches('/').chars().all(name) => &path[..end],
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        assert_eq!(quote("/srv/repo"), "/srv/repo");
        assert_eq!(quote("/srv/a; touch pwned"), "'/srv/a; touch pwned'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("-x"), "./-x");
        assert_eq!(quote("$(x)"), "'$(x)'");
        assert_eq!(quote(""), "''");
        for (path, quoted) in [
            ("~", "~"),
            ("~/repo", "~/repo"),
            ("~me.2/a b", "~me.2/'a b'"),
            ("~$x/a", "'~$x/a'"),
            ("~;x", "'~;x'"),
            ("a/~", "'a/~'"),
        ] {
            assert_eq!(quote(path), quoted);
        }
    }

    #[test]
    fn ssh_errors_say_what_to_do() {
        let explain = |line: &str| explain_ssh("h", &[line.to_owned()]);
        assert!(
            explain("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @")
                .contains("ssh-keygen -R h")
        );
        assert!(explain("Host key verification failed.").contains("known_hosts"));
        assert!(explain("root@h: Permission denied (publickey).").contains("authorized_keys"));
        let refused = explain("ssh: connect to host h port 1: Connection refused");
        assert!(refused.ends_with("Connection refused"), "{refused}");
    }
}
