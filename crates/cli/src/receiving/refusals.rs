// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was refused before a push began, in the audit log: one line of JSON each.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::output::Output;

/// More of one text would be somebody's attempt to fill the disk.
const MAX_TEXT: usize = 4000;

/// Adds a line, in one write. That it cannot be written is said on standard error.
pub(crate) fn refused(log: &Path, asked: &str, reason: &str, out: &Output) {
    let var = |name: &str| std::env::var(name).ok();
    let short = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
    let line = serde_json::json!({
        "time": jiff::Timestamp::now().as_second(),
        "result": "refused",
        "user": var("USER"),
        "client": var("SSH_CLIENT"),
        "asked": short(asked),
        "reason": short(reason),
    });
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        out.note(&format!("error: writing to the audit log: {error}"));
    }
}
