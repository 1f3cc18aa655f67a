// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs of ostree-push 1.2.0 by their own names. What the original says and how it exits
//! was recorded from it; its own tests of the same things are named as `file.test`.

mod fixture;
mod flatpak;
mod keys;
mod legacy;
mod links;
mod mixed;
mod push;
mod rules;
mod shell;
mod words;

use std::sync::LazyLock;

use oxtree_testkit::{BinDir, Tool};

/// The binary under test.
const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

const NAMES: [&str; 6] = [
    "oxtree",
    "ostree-push",
    "ostree-receive",
    "ostree-receive-0",
    "ostree-receive-1",
    "ostree-receive-shell",
];

static BINS: LazyLock<BinDir> = LazyLock::new(|| BinDir::linked(OXTREE, &NAMES));

/// The binary by one of its names, with an `ssh` that reads nothing of the user's configuration.
fn called(name: &str) -> Tool {
    Tool::new(BINS.path().join(name)).env("OXTREE_SSH_COMMAND", "ssh -F none")
}
