// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every error becomes one line and an exit code here.

use std::process::ExitCode;

use oxtree_repo::words::plain;

use crate::dates::{BadDate, DATES};
use crate::names::Face;
use crate::output::{Output, StdoutError};

/// The command line makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The command failed, and has said why already.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub(crate) struct AlreadyReported {
    /// The exit code.
    pub(crate) code: u8,
}

/// What a shell shows for a program that a SIGPIPE ended.
const BROKEN_PIPE: u8 = 128 + 13;

/// Prints `error: …` and gives the exit code.
pub(crate) fn report(error: &anyhow::Error, face: Face, output: &Output) -> ExitCode {
    if let Some(AlreadyReported { code }) = error.downcast_ref() {
        // If standard output broke as well, there is nobody to be told.
        let _ = output.flush();
        return ExitCode::from(*code);
    }
    if error
        .downcast_ref::<StdoutError>()
        .is_some_and(StdoutError::is_broken_pipe)
    {
        return ExitCode::from(BROKEN_PIPE);
    }
    let _ = output.flush();
    let mut line = one_line(error);
    if face == Face::Oxtree
        && let Some(hint) = hint(error)
    {
        line = format!("{line} ({hint})");
    }
    output.note(&format!("error: {line}"));
    match error.is::<Usage>() {
        true => ExitCode::from(face.usage_code()),
        false => ExitCode::FAILURE,
    }
}

/// The chain of causes. An error that shows its cause itself does not make it appear twice.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = plain(&cause.to_string()).into_owned();
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
    }
    strip_os_error(&line).replace('\n', " ")
}

/// Drops Rust's ` (os error N)`, which means nothing to a user.
fn strip_os_error(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(" (os error ") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match from.find(')') {
            Some(end) => rest = &from[end + 1..],
            None => {
                rest = "";
                out.push_str(from);
            }
        }
    }
    out + rest
}

/// What the user could do about it.
fn hint(error: &anyhow::Error) -> Option<String> {
    if error.is::<Usage>() {
        return Some("see --help".to_owned());
    }
    if error.chain().any(<dyn std::error::Error>::is::<BadDate>) {
        return Some(DATES.to_owned());
    }
    error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(oxtree_transfer::Error::Repo(error)) => error.hint(),
        Some(oxtree_transfer::Error::NoCommand { refused: false, .. }) => {
            Some("use --command if it has another name or path".to_owned())
        }
        Some(oxtree_transfer::Error::NoToken { .. }) => {
            Some("set OXTREE_TOKEN, or use --token-file or --token-command".to_owned())
        }
        Some(error) if error.is_idle_timeout() => Some("--timeout".to_owned()),
        _ => cause.downcast_ref::<oxtree_repo::Error>()?.hint(),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn causes_appear_once_and_on_one_line() {
        let io = std::io::Error::from_raw_os_error(2);
        let error = oxtree_repo::Error::io("opening", "/x/y")(io);
        let error = anyhow::Error::from(error).context("opening\nrepo");
        assert_eq!(
            one_line(&error),
            "opening repo: opening /x/y: No such file or directory"
        );
        let error = Err::<(), _>(std::io::Error::other("odd")).context("reading");
        assert_eq!(one_line(&error.unwrap_err()), "reading: odd");
    }

    #[test]
    fn os_error_numbers_go() {
        assert_eq!(strip_os_error("a (os error 2): b (os error 13)"), "a: b");
        assert_eq!(strip_os_error("a (os error"), "a (os error");
        assert_eq!(strip_os_error("a (os error 2"), "a (os error 2");
    }
}
