// SPDX-License-Identifier: MIT OR Apache-2.0
//! flatpak-builder's own test (package flatpak-builder-tests), which mounts each module's files with
//! `rofiles-fuse`, by us, and commits with ours as `ostree`.

use crate::installed::Installed;

#[test]
fn builder() {
    Installed::new("flatpak-builder", &["ostree", "rofiles-fuse"]).run("test-builder.sh", None, 4);
}
