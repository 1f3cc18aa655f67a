// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real ostree-push 1.2.0, in a virtual environment of Python's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "ostree-push==1.2.0";

/// Installs it below `dir`, if it is not there yet, and returns the directory of its programs.
/// What it needs of libostree are Debian's packages.
///
/// # Panics
/// When it cannot be installed.
#[must_use]
pub fn original(dir: &Path) -> PathBuf {
    fs::create_dir_all(dir).expect("a directory");
    let lock = File::create(dir.join("ostree-push.lock")).expect("a lock");
    lock.lock().expect("locked");
    let venv = dir.join("ostree-push");
    let done = venv.join("installed");
    if !done.exists() {
        // What an interrupted one has left.
        let _ = fs::remove_dir_all(&venv);
        let made = ["-m", "venv", "--system-site-packages"];
        run(Command::new("/usr/bin/python3").args(made).arg(&venv));
        let install = ["-q", "install", "--no-deps", VERSION];
        run(Command::new(venv.join("bin/pip")).args(install));
        File::create(done).expect("a note");
    }
    venv.join("bin")
}

fn run(command: &mut Command) {
    let output = command.output().expect("run");
    assert!(output.status.success(), "{command:?}: {output:?}");
}
