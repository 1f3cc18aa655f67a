// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory for `PATH` in which one binary stands under its several names.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A directory with links to (or copies of) one binary, removed on drop.
#[derive(Debug)]
pub struct BinDir {
    dir: tempfile::TempDir,
}

impl BinDir {
    /// Symbolic links to `exe` under each of `names`.
    ///
    /// # Panics
    /// When a link cannot be made.
    #[must_use]
    pub fn linked(exe: impl AsRef<Path>, names: &[&str]) -> BinDir {
        let exe = fs::canonicalize(exe.as_ref())
            .unwrap_or_else(|e| panic!("no binary at {}: {e}", exe.as_ref().display()));
        let bins = BinDir::empty();
        for name in names {
            symlink(&exe, bins.path().join(name)).expect("link the binary");
        }
        bins
    }

    /// Copies of `exe` under each of `names`, which every user can run.
    ///
    /// # Panics
    /// When a copy cannot be made.
    #[must_use]
    pub fn copied(exe: impl AsRef<Path>, names: &[&str]) -> BinDir {
        let bins = BinDir::empty();
        for name in names {
            let to = bins.path().join(name);
            fs::copy(exe.as_ref(), &to)
                .unwrap_or_else(|e| panic!("copy {}: {e}", exe.as_ref().display()));
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("chmod the copy");
        }
        bins
    }

    /// A directory with nothing in it yet.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn empty() -> BinDir {
        let dir = crate::temp_dir();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
            .expect("chmod the bin directory");
        BinDir { dir }
    }

    /// Adds an executable shell script whose text (after the `#!` line) is `body`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path().join(name);
        write_script(&path, body);
        path
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Writes an executable shell script.
pub(crate) fn write_script(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}\n")).expect("write a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod a script");
}

/// `word` quoted for a POSIX shell.
pub(crate) fn shell_quote(word: impl AsRef<Path>) -> String {
    let word = word.as_ref().to_str().expect("a path in UTF-8");
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tool;

    #[test]
    fn links_and_copies_run_under_their_names() {
        for bins in [
            BinDir::linked("/bin/echo", &["one", "two"]),
            BinDir::copied("/bin/echo", &["one", "two"]),
        ] {
            assert_eq!(Tool::new(bins.path().join("two")).ok(["hello"]), "hello\n");
        }
    }

    #[test]
    fn scripts_run_and_words_are_quoted() {
        let bins = BinDir::empty();
        let script = bins.script("say", &format!("echo {}", shell_quote("it's $HOME")));
        assert_eq!(Tool::new(script).ok([""; 0]), "it's $HOME\n");
    }
}
