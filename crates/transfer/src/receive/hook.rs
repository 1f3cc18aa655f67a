// SPDX-License-Identifier: MIT OR Apache-2.0
//! The owner's own program, which is asked before anything is published, like git's `pre-receive`.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

use crate::error::{Error, Result};
use crate::protocol::message::{RefOutcome, Status};

/// So much of what a hook says reaches the pusher.
const MAX_OUTPUT: u64 = 64 << 10;

/// Who pushes. Where that is not known, a hook does not have this variable, whatever is in ours.
const ENV_PUSHER: &str = "OSTREE_RECEIVE_IDENTITY";

/// The refs that a push has changed.
pub const ENV_REFS: &str = "OSTREE_RECEIVE_REFS";

/// A program of the owner's.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The program and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// Environment variables that it has beyond ours.
    pub env: Vec<(String, OsString)>,
}

/// What a hook has said.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// It ended with exit status 0.
    pub allowed: bool,
    /// What it has printed.
    pub text: String,
}

impl Hook {
    /// The command, for a push by `pusher`, an SSH identity or the name of a token. What our own
    /// environment says of a push is not passed on: nothing else is known of the push than what is
    /// said here.
    pub fn to_command(&self, pusher: Option<&str>) -> io::Result<Command> {
        let split = self.command.split_first();
        let (program, arguments) = split.ok_or_else(|| io::Error::other("its name is empty"))?;
        let mut command = Command::new(program);
        command.args(arguments).env_remove(ENV_REFS);
        match pusher {
            Some(pusher) => command.env(ENV_PUSHER, pusher),
            None => command.env_remove(ENV_PUSHER),
        };
        command.envs(self.env.iter().cloned());
        Ok(command)
    }

    /// Tells it of each ref that is to change, a line each: `OLD NEW REF`, with 64 zeros where there
    /// is no commit; and waits for its answer. `pusher`: see [`Self::to_command`].
    pub fn ask(&self, refs: &[RefOutcome], pusher: Option<&str>) -> Result<Answer> {
        let failed = |error: io::Error| {
            let name = self.command.join(" ");
            Error::Hook(format!(
                "the receiver's hook {name} could not be asked: {error}"
            ))
        };
        let command = self.to_command(pusher).map_err(failed)?;
        let (status, text) = run(command, question(refs)).map_err(failed)?;
        let allowed = status.success();
        Ok(Answer { allowed, text })
    }
}

/// Runs a program with `question` on its standard input. Returns how it has ended, and what it has printed,
/// the first 64 KiB of that.
pub fn run(mut command: Command, question: String) -> io::Result<(ExitStatus, String)> {
    let (mut output, out) = io::pipe()?;
    let err = out.try_clone()?;
    command.stdin(Stdio::piped()).stdout(out).stderr(err);
    let mut child = command.spawn()?;
    // Its ends of the pipe would keep us waiting.
    drop(command);
    let stdin = child.stdin.take();
    let text = std::thread::scope(|scope| {
        scope.spawn(move || {
            // It need not read all of it, or anything.
            let _ = stdin.map(|mut stdin| stdin.write_all(question.as_bytes()));
        });
        let mut text = Vec::new();
        let read = (&mut output).take(MAX_OUTPUT).read_to_end(&mut text);
        let rest = io::copy(&mut output, &mut io::sink());
        read.and(rest).map(|_| text)
    });
    let status = child.wait()?;
    Ok((status, String::from_utf8_lossy(&text?).into_owned()))
}

fn question(refs: &[RefOutcome]) -> String {
    let zeros = || "0".repeat(64);
    let changes = refs.iter().filter(|change| is_change(change.status));
    let lines = changes.map(|change| {
        let [old, new] = [&change.old, &change.new]
            .map(|commit| commit.as_ref().map_or_else(zeros, ToString::to_string));
        format!("{old} {new} {}\n", change.name)
    });
    lines.collect()
}

/// Whether a ref changes.
pub(super) fn is_change(status: Status) -> bool {
    matches!(status, Status::Created | Status::Updated | Status::Deleted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{WireCommit, WireRef};
    use oxtree_format::{Checksum, CommitId};

    fn change(status: Status) -> RefOutcome {
        RefOutcome {
            name: WireRef("os/main".parse().unwrap()),
            old: None,
            new: Some(WireCommit(CommitId(Checksum::of(b"x")))),
            status,
            reason: None,
        }
    }

    fn ask(script: &str, refs: &[RefOutcome]) -> Answer {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let env = vec![("WHERE".to_owned(), "/srv/repo".into())];
        Hook { command, env }.ask(refs, Some("ci")).unwrap()
    }

    #[test]
    fn a_hook_knows_of_the_push_what_is_known_of_it() {
        let hook = Hook {
            command: vec!["hook".to_owned()],
            env: vec![("WHERE".to_owned(), "/srv/repo".into())],
        };
        let variables = |pusher| {
            let command = hook.to_command(pusher).unwrap();
            let variables = command.get_envs().map(|(name, value)| {
                let text = |text: &std::ffi::OsStr| text.to_str().unwrap().to_owned();
                format!(
                    "{}={}",
                    text(name),
                    value.map_or("(removed)".to_owned(), text)
                )
            });
            variables.collect::<Vec<_>>().join(" ")
        };
        let others = "OSTREE_RECEIVE_REFS=(removed) WHERE=/srv/repo";
        let expected = format!("OSTREE_RECEIVE_IDENTITY=ci {others}");
        assert_eq!(variables(Some("ci")), expected);
        let expected = format!("OSTREE_RECEIVE_IDENTITY=(removed) {others}");
        assert_eq!(variables(None), expected);
    }

    #[test]
    fn a_hook_sees_the_changes_and_is_heard() {
        let refs = [change(Status::Created), change(Status::Unchanged)];
        let answer = ask("cat; echo $WHERE >&2; exit 3", &refs);
        assert!(!answer.allowed);
        let new = Checksum::of(b"x");
        let expected = format!("{} {new} os/main\n/srv/repo\n", "0".repeat(64));
        assert_eq!(answer.text, expected);
        // One that reads nothing and talks for ever is no harm.
        let refs = vec![change(Status::Created); 5000];
        let answer = ask("yes | head -c 10000000", &refs);
        assert!(answer.allowed && answer.text.len() as u64 == MAX_OUTPUT);
    }

    #[test]
    fn one_that_is_not_there_is_an_error() {
        let hook = Hook {
            command: vec!["/no/such/hook".to_owned()],
            env: Vec::new(),
        };
        let error = hook.ask(&[], None).unwrap_err().to_string();
        assert!(error.contains("/no/such/hook"), "{error}");
        let command = Vec::new();
        assert!(
            Hook {
                command,
                env: Vec::new()
            }
            .ask(&[], None)
            .is_err()
        );
    }
}
