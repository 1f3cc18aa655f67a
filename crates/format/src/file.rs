// SPDX-License-Identifier: MIT OR Apache-2.0
//! File objects: the header that is hashed before the content, and the header of a `.filez`.
//!
//! A file object's name is the SHA-256 of a stream that is never stored as such:
//!
//! ```text
//! u32 BE length of the header | 4 zero bytes | header (uuuusa(ayay)) | content
//! ```
//!
//! with owner, group, mode, device (always 0), link target (`""` for a regular file) and extended
//! attributes. A symbolic link has no content. An archive repository stores `.filez`, which is
//!
//! ```text
//! u32 BE length of the header | 4 zero bytes | header (tuuuusa(ayay)) | raw deflate of the content
//! ```
//!
//! where the first number is the content's size; a symbolic link has size 0 and no deflate stream
//! at all. All numbers are big-endian.

use oxtree_gvariant::{Be, from_bytes, to_bytes};

use crate::checksum::Hasher;
use crate::dirmeta::{S_IFLNK, S_IFMT, S_IFREG};
use crate::xattrs::{Xattrs, XattrsVariant, with_nul};
use crate::{Error, FileId};

/// The bytes before a header: its length and four zeros.
pub const PREFIX_LEN: usize = 8;

/// The largest header that is read. A header holds a link target (at most 4 KiB on Linux) and
/// extended attributes (64 KiB a value).
pub const MAX_HEADER_LEN: usize = 16 << 20;

/// The metadata of a file in its file object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileHeader {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The mode with its type bits: a regular file or a symbolic link.
    pub mode: u32,
    /// The target, if this is a symbolic link.
    pub symlink: Option<String>,
    /// The extended attributes.
    pub xattrs: Xattrs,
}

impl FileHeader {
    fn checked(
        (uid, gid, mode, rdev): (u32, u32, u32, u32),
        target: &str,
        xattrs: &XattrsVariant<'_>,
    ) -> Result<Self, Error> {
        if rdev != 0 {
            return Err(Error::DeviceNumber(rdev));
        }
        let is_symlink = match mode & S_IFMT {
            S_IFREG => false,
            S_IFLNK => true,
            _ => return Err(Error::Mode(mode)),
        };
        if mode & !(S_IFMT | 0o7777) != 0 {
            return Err(Error::Mode(mode));
        }
        if is_symlink == target.is_empty() {
            return Err(Error::LinkTarget);
        }
        let symlink = is_symlink.then(|| target.to_owned());
        Ok(Self {
            uid,
            gid,
            mode,
            symlink,
            xattrs: Xattrs::from_variant(xattrs)?,
        })
    }

    /// Parses the header that is hashed, `(uuuusa(ayay))`, without its prefix.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        type Variant<'a> = (
            Be<u32>,
            Be<u32>,
            Be<u32>,
            Be<u32>,
            &'a str,
            XattrsVariant<'a>,
        );
        let (Be(uid), Be(gid), Be(mode), Be(rdev), target, xattrs) =
            from_bytes::<Variant<'_>>(bytes)?;
        Self::checked((uid, gid, mode, rdev), target, &xattrs)
    }

    /// The header that is hashed, `(uuuusa(ayay))`, without its prefix.
    pub fn to_bytes(&self) -> Vec<u8> {
        with_nul(&self.xattrs, |xattrs| {
            let (uid, gid, mode) = (Be(self.uid), Be(self.gid), Be(self.mode));
            let target = self.symlink.as_deref().unwrap_or("");
            to_bytes(&(uid, gid, mode, Be(0u32), target, xattrs.clone()))
        })
    }

    /// The header as it is hashed: prefix and header.
    pub fn hashed_bytes(&self) -> Vec<u8> {
        prefixed(&self.to_bytes())
    }

    /// A hasher that has seen the header; the content is to follow.
    pub fn hasher(&self) -> Hasher {
        let mut hasher = Hasher::new();
        hasher.update(&self.hashed_bytes());
        hasher
    }

    /// The id of the file object with this header and `content`.
    pub fn id_with(&self, content: &[u8]) -> FileId {
        let mut hasher = self.hasher();
        hasher.update(content);
        FileId(hasher.finish())
    }

    /// True for a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.symlink.is_some()
    }
}

/// The header of a `.filez`: what the hashed header says, and the content's size.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilezHeader {
    /// The size of the content in bytes, before it was deflated. 0 for a symbolic link.
    pub size: u64,
    /// The rest.
    pub file: FileHeader,
}

impl FilezHeader {
    /// Parses the header, `(tuuuusa(ayay))`, without its prefix.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        type Variant<'a> = (
            Be<u64>,
            Be<u32>,
            Be<u32>,
            Be<u32>,
            Be<u32>,
            &'a str,
            XattrsVariant<'a>,
        );
        let (Be(size), Be(uid), Be(gid), Be(mode), Be(rdev), target, xattrs) =
            from_bytes::<Variant<'_>>(bytes)?;
        let file = FileHeader::checked((uid, gid, mode, rdev), target, &xattrs)?;
        if file.is_symlink() && size != 0 {
            return Err(Error::Header("a symbolic link with a size"));
        }
        Ok(Self { size, file })
    }

    /// The header, `(tuuuusa(ayay))`, without its prefix.
    pub fn to_bytes(&self) -> Vec<u8> {
        with_nul(&self.file.xattrs, |xattrs| {
            let FileHeader {
                uid,
                gid,
                mode,
                symlink,
                ..
            } = &self.file;
            let target = symlink.as_deref().unwrap_or("");
            let (uid, gid, mode) = (Be(*uid), Be(*gid), Be(*mode));
            to_bytes(&(
                Be(self.size),
                uid,
                gid,
                mode,
                Be(0u32),
                target,
                xattrs.clone(),
            ))
        })
    }

    /// The header as it is stored: prefix and header.
    pub fn stored_bytes(&self) -> Vec<u8> {
        prefixed(&self.to_bytes())
    }
}

/// The length of the header that follows this prefix.
pub fn header_len(prefix: [u8; PREFIX_LEN]) -> Result<usize, Error> {
    let [a, b, c, d, zeros @ ..] = prefix;
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if zeros != [0; 4] {
        return Err(Error::Header("padding that is not zero"));
    }
    if len > MAX_HEADER_LEN {
        return Err(Error::TooLarge {
            size: len as u64,
            max: MAX_HEADER_LEN as u64,
        });
    }
    Ok(len)
}

/// Splits bytes that begin with a prefix into the header and what follows it.
pub fn split_header(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (prefix, rest) = bytes
        .split_first_chunk()
        .ok_or(Error::Header("too short"))?;
    rest.split_at_checked(header_len(*prefix)?)
        .ok_or(Error::Header("longer than the object"))
}

fn prefixed(header: &[u8]) -> Vec<u8> {
    let len = u32::try_from(header.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes()[..], &[0; 4], header].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regular() -> FileHeader {
        FileHeader {
            uid: 0,
            gid: 0,
            mode: 0o100_644,
            symlink: None,
            xattrs: Xattrs::NONE,
        }
    }

    #[test]
    fn known_vectors() {
        assert_eq!(
            regular().id_with(b"hello\n").to_string(),
            "44f778e59f0a4748d6b0c90a47347212a231c4ad1e8f7ea5c5dffc7749153a6b"
        );
        let pairs = [("user.zz", "1"), ("user.aa", "22")];
        let xattrs = Xattrs::new(pairs.map(|(n, v)| (n.into(), v.into())).to_vec()).unwrap();
        let with_xattrs = FileHeader {
            xattrs,
            ..regular()
        };
        assert_eq!(
            with_xattrs.id_with(b"hello\n").to_string(),
            "35fbdadf4e9e2146e95ee172caa79f9944e457dbcd8c81567b58ec38b3fba5d8"
        );
        let symlink = Some("target/path".to_owned());
        let link = FileHeader {
            mode: 0o120_777,
            symlink,
            ..regular()
        };
        assert_eq!(
            link.id_with(b"").to_string(),
            "c03498f1ef49d1687c843094716d7281553f5ba51adcc1433c0555852a2d64a2"
        );
    }

    #[test]
    fn headers_round_trip() {
        let header = FilezHeader {
            size: 1 << 40,
            file: regular(),
        };
        let stored = [header.stored_bytes(), b"rest".to_vec()].concat();
        let (bytes, rest) = split_header(&stored).unwrap();
        assert_eq!(rest, b"rest");
        assert_eq!(FilezHeader::parse(bytes).unwrap(), header);
        assert_eq!(
            FileHeader::parse(&header.file.to_bytes()).unwrap(),
            header.file
        );
    }

    #[test]
    fn hostile_headers_are_refused() {
        let link = |mode, symlink: Option<&str>| {
            let symlink = symlink.map(str::to_owned);
            FileHeader::parse(
                &FileHeader {
                    mode,
                    symlink,
                    ..regular()
                }
                .to_bytes(),
            )
        };
        assert_eq!(link(0o120_777, None), Err(Error::LinkTarget));
        assert_eq!(link(0o100_644, Some("x")), Err(Error::LinkTarget));
        for mode in [
            0o020_644,
            0o060_644,
            0o010_644,
            0o140_644,
            0o040_755,
            0,
            0o1_100_644,
        ] {
            assert_eq!(link(mode, None), Err(Error::Mode(mode)));
        }
        assert!(split_header(&[0, 0, 0, 1, 0, 0, 0, 0]).is_err());
        assert!(split_header(&[0xff; 12]).is_err());
        assert!(split_header(&[0; 7]).is_err());
    }
}
