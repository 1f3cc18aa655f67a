// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commit metadata `ostree.sizes`: how large each object below a commit is.
//!
//! An `aay` sorted by checksum. Each entry holds 32 bytes of checksum, the size of the object as an
//! archive repository stores it, its size unpacked (both LEB128: seven bits a byte, the lowest
//! first, all but the last byte with the high bit set), and the number of its
//! [kind](ObjectKind). Old versions of libostree left the kind out.

use oxtree_gvariant::{OwnedVariant, Seq, Variant};

use crate::{Checksum, Error, ObjectId, ObjectKind};

/// The sizes of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizesEntry {
    /// The object's checksum.
    pub checksum: Checksum,
    /// Bytes in an archive repository.
    pub archived: u64,
    /// Bytes unpacked: a file's content, a link's target, a metadata object as it is.
    pub unpacked: u64,
    /// The object's kind, unless an old version left it out.
    pub kind: Option<ObjectKind>,
}

impl SizesEntry {
    /// The object. Where the kind was left out libostree takes it for a file.
    pub fn object(&self) -> ObjectId {
        ObjectId::new(self.kind.unwrap_or(ObjectKind::File), self.checksum)
    }

    /// Reads one entry. Refuses numbers written longer than they need be.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let cut = Error::SizesEntry("checksum cut short");
        let (checksum, rest) = bytes.split_at_checked(32).ok_or(cut)?;
        let (archived, rest) = read_leb128(rest)?;
        let (unpacked, rest) = read_leb128(rest)?;
        let kind = match rest {
            [] => None,
            [kind] => Some(
                ObjectKind::from_number(*kind).ok_or(Error::SizesEntry("unknown object kind"))?,
            ),
            _ => return Err(Error::SizesEntry("bytes left over")),
        };
        Ok(Self {
            checksum: Checksum::from_bytes(checksum)?,
            archived,
            unpacked,
            kind,
        })
    }

    /// The entry's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.checksum.as_bytes().to_vec();
        write_leb128(&mut out, self.archived);
        write_leb128(&mut out, self.unpacked);
        out.extend(self.kind.map(|kind| kind as u8));
        out
    }
}

/// Reads the value of the metadata key.
pub fn parse(value: &Variant<'_>) -> Result<Vec<SizesEntry>, Error> {
    let entries: Seq<'_, &[u8]> = value.as_()?;
    entries.iter().map(SizesEntry::parse).collect()
}

/// The value of the metadata key. Sorts the entries.
pub fn write(entries: &mut [SizesEntry]) -> OwnedVariant {
    entries.sort_unstable();
    let entries: Vec<Vec<u8>> = entries.iter().map(SizesEntry::to_bytes).collect();
    OwnedVariant::of(&entries)
}

/// Appends `number` as LEB128.
pub fn write_leb128(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a LEB128 number off the front of `bytes`. Refuses one that is cut short, too big, or
/// longer than it need be.
pub fn read_leb128(bytes: &[u8]) -> Result<(u64, &[u8]), Error> {
    let mut number = 0_u64;
    for (i, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if i > 9 || (i == 9 && *byte > 1) {
            return Err(Error::SizesEntry("number too big"));
        }
        number |= bits << (7 * i);
        if byte & 0x80 == 0 {
            if *byte == 0 && i > 0 {
                return Err(Error::SizesEntry("number longer than it need be"));
            }
            return Ok((number, &bytes[i + 1..]));
        }
    }
    Err(Error::SizesEntry("number cut short"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers() {
        let cases: [(u64, &[u8]); 5] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ];
        for (number, bytes) in cases {
            let mut out = Vec::new();
            write_leb128(&mut out, number);
            assert_eq!(out, bytes);
            assert_eq!(read_leb128(bytes), Ok((number, &[][..])));
        }
        let too_big = [255, 255, 255, 255, 255, 255, 255, 255, 255, 2];
        for bytes in [&[][..], &[0x80], &[0x80, 0], &[255; 11], &too_big] {
            assert!(read_leb128(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn written_sorted_and_read_back() {
        let entry = |n: u8, kind| SizesEntry {
            checksum: Checksum([n; 32]),
            archived: 300,
            unpacked: u64::from(n),
            kind,
        };
        let mut entries = [
            entry(2, Some(ObjectKind::DirTree)),
            entry(1, None),
            entry(3, Some(ObjectKind::File)),
        ];
        let value = write(&mut entries);
        assert_eq!(value.sig, "aay");
        assert_eq!(parse(&value.as_ref()).unwrap(), entries);
        assert_eq!(entries[0].checksum, Checksum([1; 32]));
        assert_eq!(entries[0].object().kind, ObjectKind::File);
    }

    #[test]
    fn bad_entries() {
        let good = SizesEntry {
            checksum: Checksum([1; 32]),
            archived: 1,
            unpacked: 2,
            kind: Some(ObjectKind::File),
        };
        let good = good.to_bytes();
        let cut = [&good[..31], &good[..32], &good[..33]];
        let more = [[&good[..], &[1]].concat(), [&good[..34], &[99]].concat()];
        for bytes in cut.into_iter().chain(more.iter().map(|b| &b[..])) {
            assert!(SizesEntry::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_writes_the_same(mut bytes in proptest::collection::vec(any::<u8>(), 32..50)) {
            for end in 32..bytes.len() {
                if let Ok(entry) = SizesEntry::parse(&bytes[..end]) {
                    prop_assert_eq!(entry.to_bytes(), &bytes[..end]);
                }
            }
            bytes.truncate(31);
            prop_assert!(SizesEntry::parse(&bytes).is_err());
        }
    }
}
