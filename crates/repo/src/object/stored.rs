// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the modes make of a file's owner, mode and extended attributes.

use oxtree_format::dirmeta::{DirMeta, S_IFLNK, S_IFMT};
use oxtree_format::{Error, FileHeader, Xattrs};

/// The attribute in which `bare-user` keeps `(uuua(ayay))`: the dirmeta format, with a file's mode.
pub(crate) const OSTREEMETA: &str = "user.ostreemeta";

/// The permissions of a loose metadata object or `.filez`.
pub(crate) const PLAIN_MODE: u32 = 0o644;

/// The mode of the file that holds a regular file's content in a `bare-user` repository: the owner
/// can read it, and no more is allowed than group and others may ever have.
pub(crate) fn bare_user_mode(mode: u32) -> u32 {
    (mode & 0o775) | 0o400
}

/// Whether a file can be stored as `bare-user-only`, which has no place for special bits.
pub(crate) fn check_bare_user_only(header: &FileHeader) -> Result<(), Error> {
    let bits = header.mode & !S_IFMT;
    match header.is_symlink() || bits & !0o775 == 0 {
        true => Ok(()),
        false => Err(Error::Mode(header.mode)),
    }
}

/// The value of [`OSTREEMETA`] for a file.
pub(crate) fn ostreemeta(header: &FileHeader) -> Vec<u8> {
    // The same GVariant as a dirmeta, but with the mode of a file.
    let FileHeader {
        uid,
        gid,
        mode,
        xattrs,
        ..
    } = header;
    DirMeta {
        uid: *uid,
        gid: *gid,
        mode: *mode,
        xattrs: xattrs.clone(),
    }
    .to_bytes()
}

/// Reads [`OSTREEMETA`]; a link's target is not in there.
pub(crate) fn parse_ostreemeta(value: &[u8]) -> Result<(u32, u32, u32, Xattrs), Error> {
    DirMeta::parse_any_mode(value).map(|meta| (meta.uid, meta.gid, meta.mode, meta.xattrs))
}

/// True if this mode is that of a symbolic link.
pub(crate) fn is_symlink(mode: u32) -> bool {
    mode & S_IFMT == S_IFLNK
}
