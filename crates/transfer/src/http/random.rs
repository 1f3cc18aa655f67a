// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random numbers for URLs, names and boundaries that nobody can guess.

use std::fs::File;
use std::io::Read;

use crate::error::Result;

/// A number that nobody can guess.
pub(crate) fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(oxtree_repo::Error::io("reading", "/dev/urandom"))?;
    Ok(u64::from_ne_bytes(bytes))
}
