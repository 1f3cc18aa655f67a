// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files with secret keys: their owner is told when others can read them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::compat::ostree_push::shell::write_syslog;
use crate::context::Context;

/// The permission bits that let every account read or write.
const OTHERS: u32 = 0o006;

/// A warning if every account on this machine can read or write a secret file. What is wrong with it otherwise, its
/// reader says.
fn warning(what: &str, path: &Path) -> Option<String> {
    let is_open = path.metadata().ok()?.mode() & OTHERS != 0;
    let path = path.display();
    is_open.then(|| {
        format!(
            "every account on this machine can read or change the {what} {path}: run chmod o-rwx \
             {path}"
        )
    })
}

/// Warns of one on standard error.
pub(crate) fn warn_if_open(what: &str, path: &Path, context: &Context<'_>) {
    if let Some(text) = warning(what, path) {
        context.out.note(&format!("warning: {text}"));
    }
}

/// Warns of one also in the system's log: standard error of a receiver is at the pusher's end.
pub(crate) fn log_if_open(what: &str, path: &Path, context: &Context<'_>) {
    if let Some(text) = warning(what, path) {
        context.out.note(&format!("warning: {text}"));
        write_syslog(Path::new("/dev/log"), "oxtree-receive", &text);
    }
}
