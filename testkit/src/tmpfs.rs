// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small file system of its own, to be filled up or made read-only.

use std::path::Path;
use std::process::Command;

use crate::Output;

/// A mounted tmpfs; unmounted on drop. Needs root.
#[derive(Debug)]
pub struct Tmpfs {
    dir: tempfile::TempDir,
}

impl Tmpfs {
    /// Mounts a tmpfs that holds `bytes` bytes.
    ///
    /// # Panics
    /// When it cannot be mounted, for example without root's rights.
    #[must_use]
    pub fn mount(bytes: u64) -> Tmpfs {
        let dir = crate::temp_dir();
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "oxtree-test"])
            .arg(dir.path());
        Output::of(&mut command).expect_ok();
        Tmpfs { dir }
    }

    /// Mounts a ramfs, which does not say how large it is.
    ///
    /// # Panics
    /// When it cannot be mounted, for example without root's rights.
    #[must_use]
    pub fn mount_ramfs() -> Tmpfs {
        let dir = crate::temp_dir();
        let mut command = Command::new("mount");
        command.args(["-t", "ramfs", "oxtree-test"]).arg(dir.path());
        Output::of(&mut command).expect_ok();
        Tmpfs { dir }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the file system read-only, also for root.
    ///
    /// # Panics
    /// When something has a file open for writing on it.
    pub fn make_read_only(&self) {
        let mut command = Command::new("mount");
        command.args(["-o", "remount,ro"]).arg(self.path());
        Output::of(&mut command).expect_ok();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that is just being killed may still have a file open.
        let status = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
        if !status.is_ok_and(|s| s.success()) && !std::thread::panicking() {
            panic!("cannot unmount {}", self.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind;

    #[test]
    fn it_fills_up_turns_read_only_and_goes_away() {
        if !crate::is_root() {
            return;
        }
        let small = Tmpfs::mount(64 * 1024);
        let path = small.path().to_owned();
        let error = fs::write(path.join("big"), vec![1; 128 * 1024]).expect_err("it is full");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        small.make_read_only();
        let error = fs::write(path.join("new"), "x").expect_err("it is read-only");
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        drop(small);
        assert!(!path.exists());
        let mounts = fs::read_to_string("/proc/mounts").expect("read /proc/mounts");
        assert!(!mounts.contains(path.to_str().expect("UTF-8")));
    }
}
