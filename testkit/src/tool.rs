// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running a program in a clean environment, and what came out of it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::{BinDir, Repo};

/// Where programs and temporary files are, and what coverage tools need.
const KEPT: [&str; 3] = ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"];

/// The clock that scripts/test-dates sets.
pub(crate) const CLOCK: [&str; 4] = [
    "LD_PRELOAD",
    "FAKETIME",
    "FAKETIME_DONT_FAKE_MONOTONIC",
    "NO_FAKE_STAT",
];

/// A program with a clean environment: `LC_ALL=C`, UTC, a home of its own, and nothing else of
/// the caller's environment but `PATH`, what coverage tools need, and a faked clock.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    prefix: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    home: Arc<tempfile::TempDir>,
    copy: Option<Arc<BinDir>>,
}

impl Tool {
    /// A wrapper around `program`, a path or a name on `PATH`.
    #[must_use]
    pub fn new(program: impl AsRef<Path>) -> Tool {
        Tool {
            program: program.as_ref().to_owned(),
            prefix: Vec::new(),
            env: Vec::new(),
            dir: None,
            home: Arc::new(crate::temp_dir()),
            copy: None,
        }
    }

    /// The real `ostree`, as Debian packages it.
    #[must_use]
    pub fn ostree() -> Tool {
        Tool::new("/usr/bin/ostree")
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Tool {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs in `dir`.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Tool {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Runs as the user `nobody`, with a copy of the program that this user can reach. Needs root
    /// and an absolute path of the program.
    #[must_use]
    pub fn as_nobody(mut self) -> Tool {
        let name = self
            .program
            .file_name()
            .expect("a program with a file name");
        let name = name.to_str().expect("a program name in UTF-8").to_owned();
        let copy = BinDir::copied(&self.program, &[&name]);
        self.program = copy.path().join(&name);
        self.copy = Some(Arc::new(copy));
        self.prefix = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
        ]
        .iter()
        .map(Into::into)
        .collect();
        // libfaketime makes a semaphore that belongs to the user who loads it.
        if let Ok(library) = std::env::var("LD_PRELOAD") {
            self = self.env("LD_PRELOAD", "");
            let words = ["/usr/bin/env".to_owned(), format!("LD_PRELOAD={library}")];
            self.prefix.extend(words.map(OsString::from));
        }
        let home = self.home.path();
        std::os::unix::fs::chown(home, Some(65534), Some(65534)).expect("give the home to nobody");
        self
    }

    /// Trusts these certificates in PEM, in place of the system's: for programs that cannot be told. Needs root,
    /// or a kernel that lets everybody have name spaces.
    #[must_use]
    pub fn trusting(mut self, ca: &Path) -> Tool {
        let mount = "mount --bind \"$0\" /etc/ssl/certs/ca-certificates.crt && exec \"$@\"";
        let root = (!crate::is_root()).then_some("--map-root-user");
        let words = ["unshare", "--mount"].into_iter().chain(root);
        self.prefix = words.chain(["sh", "-c", mount]).map(Into::into).collect();
        self.prefix.push(ca.into());
        self
    }

    /// The home directory the program sees.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// This program working on the repository at `path`.
    #[must_use]
    pub fn repo(&self, path: impl AsRef<Path>) -> Repo {
        Repo::new(self.clone(), path.as_ref())
    }

    /// A command with the clean environment, to be run by the caller.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut words = self
            .prefix
            .iter()
            .map(OsString::as_os_str)
            .chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(args).env_clear();
        for key in KEPT.iter().chain(&CLOCK) {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("HOME", self.home.path());
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program and collects what it printed, whatever its exit code.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use = "the exit code is not looked at"]
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        Output::of(&mut self.command(args))
    }

    /// Runs the program, expects exit code 0 and returns its standard output.
    ///
    /// # Panics
    /// When it fails; the message has all it printed.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.run(args).expect_ok().stdout()
    }

    /// Runs the program, expects it to fail and returns its standard error.
    ///
    /// # Panics
    /// When it succeeds or dies from a signal; the message has all it printed.
    pub fn fails<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.run(args).expect_failure().stderr()
    }
}

/// What a finished program left behind.
#[derive(Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; `None` when a signal ended the program.
    pub code: Option<i32>,
    /// All bytes of standard output.
    pub stdout_bytes: Vec<u8>,
    /// All bytes of standard error.
    pub stderr_bytes: Vec<u8>,
}

impl Output {
    /// Runs `command` to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use = "the exit code is not looked at"]
    pub fn of(command: &mut Command) -> Output {
        let output = command
            .output()
            .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        Output {
            command: format!("{command:?}"),
            code: output.status.code(),
            stdout_bytes: output.stdout,
            stderr_bytes: output.stderr,
        }
    }

    /// Standard output as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout_bytes).into_owned()
    }

    /// Standard error as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr_bytes).into_owned()
    }

    /// Returns the output of a program that must have succeeded.
    ///
    /// # Panics
    /// When the exit code is not 0.
    pub fn expect_ok(self) -> Output {
        assert!(self.code == Some(0), "expected success, got {self:?}");
        self
    }

    /// Returns the output of a program that must have failed with an exit code of its own.
    ///
    /// # Panics
    /// When it succeeded, or was ended by a signal.
    pub fn expect_failure(self) -> Output {
        assert!(
            matches!(self.code, Some(code) if code != 0),
            "expected a failure, got {self:?}"
        );
        self
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => writeln!(f, "exit code {code}")?,
            None => writeln!(f, "death by a signal")?,
        }
        writeln!(f, "  of: {}", self.command)?;
        write!(
            f,
            "  stdout: {}\n  stderr: {}",
            self.stdout(),
            self.stderr()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_clean() {
        let tool = Tool::new("/usr/bin/env").env("EXTRA", "1");
        let mut names: Vec<String> = tool
            .ok(["-u", "NOTHING"])
            .lines()
            .filter_map(|l| Some(l.split_once('=')?.0.into()))
            .collect();
        let kept: Vec<&str> = [&KEPT[..], &CLOCK].concat();
        names.retain(|name| !kept.contains(&name.as_str()));
        names.sort();
        assert_eq!(names, ["EXTRA", "HOME", "LC_ALL", "TZ"]);
    }

    #[test]
    fn exit_code_and_streams_are_kept_apart() {
        let output = Tool::new("/bin/sh").run(["-c", "echo out; echo err >&2; exit 3"]);
        assert_eq!(
            (output.code, output.stdout(), output.stderr()),
            (Some(3), "out\n".into(), "err\n".into())
        );
        assert!(format!("{output:?}").contains("exit code 3"));
    }

    #[test]
    #[should_panic(expected = "stderr: broken")]
    fn a_failure_panics_with_what_was_printed() {
        Tool::new("/bin/sh").ok(["-c", "echo broken >&2; exit 1"]);
    }

    #[test]
    #[should_panic(expected = "death by a signal")]
    fn a_signal_is_not_a_clean_failure() {
        Tool::new("/bin/sh").fails(["-c", "kill -9 $$"]);
    }

    #[test]
    fn nobody_is_not_root() {
        if !crate::is_root() {
            return;
        }
        assert_eq!(Tool::new("/usr/bin/id").as_nobody().ok(["-u"]), "65534\n");
    }
}
