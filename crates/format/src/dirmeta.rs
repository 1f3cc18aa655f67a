// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dirmeta objects: `(uuua(ayay))`, owner, mode and extended attributes of a directory, the
//! integers big-endian.

use oxtree_gvariant::{Be, from_bytes, to_bytes};

use crate::xattrs::{Xattrs, XattrsVariant, with_nul};
use crate::{Checksum, DirMetaId, Error};

/// The type bits of a file mode.
pub const S_IFMT: u32 = 0o170_000;
/// The type bits of a directory.
pub const S_IFDIR: u32 = 0o040_000;
/// The type bits of a regular file.
pub const S_IFREG: u32 = 0o100_000;
/// The type bits of a symbolic link.
pub const S_IFLNK: u32 = 0o120_000;

/// A dirmeta object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirMeta {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The mode with its type bits.
    pub mode: u32,
    /// The extended attributes.
    pub xattrs: Xattrs,
}

impl DirMeta {
    /// Parses and checks a dirmeta object.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let meta = Self::parse_any_mode(bytes)?;
        if meta.mode & S_IFMT != S_IFDIR || meta.mode & !(S_IFMT | 0o7777) != 0 {
            return Err(Error::Mode(meta.mode));
        }
        Ok(meta)
    }

    /// Parses the same GVariant whatever the mode: the `user.ostreemeta` attribute of files in
    /// `bare-user` repositories.
    pub fn parse_any_mode(bytes: &[u8]) -> Result<Self, Error> {
        type Variant<'a> = (Be<u32>, Be<u32>, Be<u32>, XattrsVariant<'a>);
        let (Be(uid), Be(gid), Be(mode), xattrs) = from_bytes::<Variant<'_>>(bytes)?;
        Ok(Self {
            uid,
            gid,
            mode,
            xattrs: Xattrs::from_variant(&xattrs)?,
        })
    }

    /// The object's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        with_nul(&self.xattrs, |xattrs| {
            let xattrs: Vec<(&[u8], &[u8])> = xattrs.clone();
            to_bytes(&(Be(self.uid), Be(self.gid), Be(self.mode), xattrs))
        })
    }

    /// The object's name.
    pub fn id(&self) -> DirMetaId {
        DirMetaId(Checksum::of(&self.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_vector() {
        let meta = DirMeta {
            uid: 0,
            gid: 0,
            mode: 0o040_755,
            xattrs: Xattrs::NONE,
        };
        assert_eq!(
            meta.id().to_string(),
            "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"
        );
        assert_eq!(DirMeta::parse(&meta.to_bytes()).unwrap(), meta);
    }

    #[test]
    fn only_directories() {
        let file = DirMeta {
            uid: 0,
            gid: 0,
            mode: 0o100_755,
            xattrs: Xattrs::NONE,
        };
        assert_eq!(
            DirMeta::parse(&file.to_bytes()),
            Err(Error::Mode(0o100_755))
        );
        assert_eq!(DirMeta::parse_any_mode(&file.to_bytes()), Ok(file));
    }
}
