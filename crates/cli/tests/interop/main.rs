// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other programs of the ecosystem, as Debian packages them, against ours: flatpak's and
//! flatpak-builder's own tests, libostree's library, and the proxies that stand before servers.

mod builder;
mod flatpak;
mod installed;
mod proxies;
mod walk;

/// The binary under test.
const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// A file of this test's sources.
fn source(name: &str) -> std::path::PathBuf {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    dir.join("tests/interop").join(name)
}
