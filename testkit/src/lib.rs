// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fixtures for oxtree's tests, made by the real tools: a throw-away `sshd`, a real nginx, the
//! real `ostree`, input trees with every kind of thing in them, and ways to compare and measure
//! what came out.
//!
//! Everything here panics with a message that says what went wrong: it is test code. Everything
//! it starts, mounts or writes is gone when the value is dropped.

mod bins;
mod chance;
mod compare;
mod ed25519;
mod flatpak;
mod gpg;
mod measure;
mod ostree_push;
mod process;
mod proxies;
mod repo;
mod serve;
mod snapshot;
mod sshd;
mod tls;
mod tmpfs;
mod tool;
pub mod trees;
mod web;
mod wiretap;

pub use bins::BinDir;
pub use chance::Dice;
pub use compare::{Compare, compare_trees};
pub use ed25519::{assert_ed25519_signature, ed25519_keys};
pub use flatpak::Flatpak;
pub use gpg::GpgHome;
pub use measure::{Meter, peak_rss};
pub use ostree_push::original as original_ostree_push;
pub use process::{descendants, is_running, kill, wait_for_end};
pub use proxies::Proxy;
pub use repo::Repo;
pub use serve::Serve;
pub use snapshot::Snapshot;
pub use sshd::{KnownHost, Sshd, SshdBuilder, Transfer};
pub use tls::{Authority, Certificate};
pub use tmpfs::Tmpfs;
pub use tool::{Output, Tool};
pub use web::{Request, WebServer};
pub use wiretap::{Piece, Wiretap, turns};

/// Whether this process runs as root; some fixtures (owners, mounts) need it.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A temporary directory below `$TMPDIR`, removed on drop.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("oxtree-test-")
        .tempdir()
        .expect("make a temporary directory")
}
