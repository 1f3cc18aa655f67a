// SPDX-License-Identifier: MIT OR Apache-2.0
//! Superblocks with signatures around them.

use oxtree_gvariant::{Be, Dict, from_bytes, to_bytes};

use crate::detached::{Detached, NewDetached};
use crate::{Error, gvariant};

/// `OSTSGNDT`.
const MAGIC: u64 = 0x4F53_5453_474E_4454;

/// A superblock and the signatures of its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The signed bytes. Not checked to be a superblock.
    pub superblock: &'a [u8],
    /// The signatures, under the keys that a commit's detached metadata has for them, too.
    pub signatures: Detached<'a>,
}

impl<'a> Signed<'a> {
    /// Parses the file of a superblock; [`None`] if it is not a signed one.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, Error> {
        if !bytes.starts_with(&MAGIC.to_be_bytes()) {
            return Ok(None);
        }
        let (_, superblock, signatures) = from_bytes::<(Be<u64>, &[u8], Dict<'_>)>(bytes)?;
        Ok(Some(Self {
            superblock,
            signatures: Detached(signatures),
        }))
    }
}

/// The bytes of a superblock with signatures around it.
pub fn sign(superblock: &[u8], signatures: &NewDetached) -> Result<Vec<u8>, Error> {
    let signatures = signatures.to_bytes();
    let signatures: gvariant::Dict<'_> = from_bytes(&signatures)?;
    Ok(to_bytes(&(Be(MAGIC), superblock, signatures)))
}
