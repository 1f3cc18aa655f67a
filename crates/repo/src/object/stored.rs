// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the modes make of a file's owner, mode and extended attributes.

use oxtree_format::dirmeta::{DirMeta, S_IFLNK, S_IFMT};
use oxtree_format::{Error, FileHeader, Xattrs};

use crate::Mode;

/// The attribute in which `bare-user` keeps `(uuua(ayay))`: the dirmeta format, with a file's mode.
pub(crate) const OSTREEMETA: &str = "user.ostreemeta";

/// The permissions of a loose metadata object or `.filez`.
pub(crate) const PLAIN_MODE: u32 = 0o644;

/// The mode of the file that holds a regular file's content in a `bare-user` repository: the owner
/// can read it, and no more is allowed than group and others may ever have.
pub(crate) fn bare_user_mode(mode: u32) -> u32 {
    (mode & 0o775) | 0o400
}

/// Whether a repository of this mode gives back what the header says. libostree stores it anyway in
/// some cases, and then finds its own repository corrupted.
pub(crate) fn check_storable(mode: Mode, header: &FileHeader) -> Result<(), String> {
    let link = matches!(mode, Mode::Bare | Mode::BareUserOnly) && header.is_symlink();
    if link && header.mode != S_IFLNK | 0o777 {
        return Err(format!("a symbolic link of mode {:#o}", header.mode));
    }
    if mode != Mode::BareUserOnly {
        return Ok(());
    }
    if (header.uid, header.gid) != (0, 0) {
        return Err(format!("a file owned by {}:{}", header.uid, header.gid));
    }
    if !header.xattrs.is_empty() {
        return Err("extended attributes".to_owned());
    }
    match header.is_symlink() || header.mode & !S_IFMT & !0o775 == 0 {
        true => Ok(()),
        false => Err(format!("a file of mode {:#o}", header.mode)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bare_user_only_cannot_hold_is_refused() {
        let plain = FileHeader {
            uid: 0,
            gid: 0,
            mode: 0o100_644,
            symlink: None,
            xattrs: Xattrs::NONE,
        };
        let xattrs = Xattrs::new(vec![(b"user.a".to_vec(), Vec::new())]).unwrap();
        let link = FileHeader {
            mode: 0o120_777,
            symlink: Some("x".into()),
            ..plain.clone()
        };
        for good in [&plain, &link] {
            assert_eq!(check_storable(Mode::BareUserOnly, good), Ok(()));
        }
        for bad in [
            FileHeader {
                uid: 1,
                ..plain.clone()
            },
            FileHeader {
                gid: 1,
                ..plain.clone()
            },
            FileHeader {
                mode: 0o104_755,
                ..plain.clone()
            },
            FileHeader {
                mode: 0o100_666,
                ..plain.clone()
            },
            FileHeader {
                xattrs,
                ..plain.clone()
            },
            FileHeader {
                mode: 0o120_755,
                ..link.clone()
            },
        ] {
            assert!(check_storable(Mode::BareUserOnly, &bad).is_err(), "{bad:?}");
            assert_eq!(check_storable(Mode::BareUser, &bad), Ok(()));
            assert_eq!(check_storable(Mode::Archive, &bad), Ok(()));
        }
    }
}
