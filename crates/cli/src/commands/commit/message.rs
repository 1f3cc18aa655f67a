// SPDX-License-Identifier: MIT OR Apache-2.0
//! Subject and body of a new commit.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::context::Context;

/// Options about the message.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// The first line of the message
    #[arg(long, short, value_name = "SUBJECT")]
    subject: Option<String>,
    /// The rest of the message
    #[arg(long, short = 'm', value_name = "BODY")]
    body: Option<String>,
    /// A file with the rest of the message
    #[arg(long, short = 'F', value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// Write the message in $OSTREE_EDITOR, $VISUAL or $EDITOR
    #[arg(long, short)]
    editor: bool,
}

const HINT: &str = "\n\
# Please enter the commit message for your changes. The first line will\n\
# become the subject, and the remainder the body. Lines starting\n\
# with '#' will be ignored, and an empty message aborts the commit.";

impl Options {
    /// Finds options that contradict each other.
    pub(super) fn check(&self, context: &Context<'_>) -> Result<()> {
        let has_body = self.body.is_some() || self.body_file.is_some();
        context.contradictions(&[
            (
                self.body.is_some() && self.body_file.is_some(),
                "--body and --body-file exclude each other",
            ),
            (
                self.editor && has_body,
                "with --editor, --body and --body-file have no effect",
            ),
        ])
    }

    /// Subject and body.
    pub(super) fn read(
        &self,
        branch: Option<&str>,
        context: &Context<'_>,
    ) -> Result<(String, String)> {
        if self.editor {
            let branch = branch.map(|branch| format!("\n#\n# Branch: {branch}"));
            let subject = self.subject.as_ref().map(|text| format!("\n{text}"));
            let given: String = branch.into_iter().chain(subject).collect();
            let text = HINT.to_owned() + &given + "\n";
            return split(&edit(&text, context)?)
                .context("Aborting commit due to empty commit subject.");
        }
        let body = match &self.body_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("reading {}", path.display()))?,
            None => self.body.clone().unwrap_or_default(),
        };
        Ok((self.subject.clone().unwrap_or_default(), body))
    }
}

/// Lets the user edit `text`.
fn edit(text: &str, context: &Context<'_>) -> Result<String> {
    let editor = ["OSTREE_EDITOR", "VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| context.var(name))
        .map(OsStr::to_owned);
    let editor = match editor {
        Some(editor) => editor,
        None if std::io::stdin().is_terminal() => "vi".into(),
        None => bail!("Terminal is dumb, but EDITOR unset"),
    };
    let mut file = tempfile::NamedTempFile::new().context("making a file for the message")?;
    file.write_all(text.as_bytes())
        .context("writing the message for the editor")?;
    // As a shell would have it: the variable may hold options.
    let mut command = Command::new("/bin/sh");
    command
        .args([OsStr::new("-c"), OsStr::new("exec $0 \"$1\"")])
        .arg(&editor)
        .arg(file.path());
    let status = command
        .status()
        .with_context(|| format!("starting the editor '{}'", editor.display()))?;
    if !status.success() {
        bail!(
            "There was a problem with the editor '{}': {status}",
            editor.display()
        );
    }
    std::fs::read_to_string(file.path()).context("reading the message from the editor")
}

/// The first line that is not empty and the lines after it, without comments; [`None`] if there
/// is no such line.
fn split(text: &str) -> Option<(String, String)> {
    let mut lines = text
        .split('\n')
        .map(str::trim_end)
        .filter(|line| !line.starts_with('#'))
        .skip_while(|line| line.is_empty());
    let subject = lines.next()?.to_owned();
    let body: Vec<&str> = lines.skip_while(|line| line.is_empty()).collect();
    Some((subject, body.join("\n").trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split() {
        let split = |text| split(text).map(|(subject, body)| [subject, body].join("|"));
        assert_eq!(split("").as_deref(), None);
        assert_eq!(split("\n# only\n \n#comments\n").as_deref(), None);
        assert_eq!(split("subject").as_deref(), Some("subject|"));
        assert_eq!(
            split("#x\n\n  sub ject  \n# c\n\nbo dy\n# c\n\nline  \n\n").as_deref(),
            Some("  sub ject|bo dy\n\nline")
        );
    }
}
