// SPDX-License-Identifier: MIT OR Apache-2.0
//! Log files of JSON lines: the access log, and the audit log of tokens.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use serde::Serialize;

use crate::error::{Error, Result};

/// A log file. It can be moved away, and is created again when it is [reopened](Log::reopen).
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    mode: u32,
    file: RwLock<File>,
}

impl Log {
    /// `mode`: that of a new file.
    pub(crate) fn open(path: &Path, mode: u32) -> Result<Self> {
        let file = open(path, mode).map_err(|source| Error::Log {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            mode,
            file: RwLock::new(file),
        })
    }

    /// Continues with the file that has this name now, or with the previous one if it cannot be opened.
    pub(crate) fn reopen(&self) {
        match open(&self.path, self.mode) {
            Ok(file) => *self.file.write().unwrap_or_else(PoisonError::into_inner) = file,
            Err(error) => tracing::error!("opening the log {}: {error}", self.path.display()),
        }
    }

    pub(crate) fn add(&self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        // In one go, so that lines do not mix.
        (&*file).write_all(&bytes)
    }
}

fn open(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(mode).open(path)
}
