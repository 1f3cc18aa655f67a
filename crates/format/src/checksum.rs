// SPDX-License-Identifier: MIT OR Apache-2.0
//! SHA-256 checksums, and the typed ids made of them.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::Error;

/// A SHA-256 checksum: what names every object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(pub [u8; 32]);

impl Checksum {
    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// A checksum from exactly 32 raw bytes, as GVariants hold it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| Error::ChecksumLength(bytes.len()))
    }

    /// A checksum from 64 lower-case hexadecimal digits, the only spelling that libostree writes
    /// and accepts.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let digits: &[u8; 64] = hex.try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The raw 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

/// Bytes in hexadecimal, in small letters.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::from_hex(text.as_bytes()).ok_or_else(|| Error::ChecksumText(text.to_owned()))
    }
}

/// Computes a [`Checksum`] piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hasher that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all that was added.
    pub fn finish(self) -> Checksum {
        Checksum(self.0.finalize().into())
    }
}

/// Hashes and counts what is read or written through it.
#[derive(Debug)]
pub struct Hashing<T> {
    /// Where it comes from, or goes to.
    pub inner: T,
    hasher: Hasher,
    len: u64,
}

impl<T> Hashing<T> {
    /// One that nothing has gone through yet.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: Hasher::new(),
            len: 0,
        }
    }

    /// How many bytes have gone through.
    pub fn count(&self) -> u64 {
        self.len
    }

    /// The checksum of all that has gone through.
    pub fn finish(self) -> Checksum {
        self.hasher.finish()
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.note(&buffer[..len]);
        Ok(len)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.note(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

macro_rules! typed_id {
    ($(#[$doc:meta] $name:ident, $kind:ident;)*) => {$(
        #[$doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Checksum);

        impl $name {
            /// An id from exactly 32 raw bytes.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
                Checksum::from_bytes(bytes).map(Self)
            }

            /// The raw 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }

            /// The object this id names.
            pub fn object(self) -> crate::ObjectId {
                crate::ObjectId { checksum: self.0, kind: crate::ObjectKind::$kind }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                text.parse().map(Self)
            }
        }

        impl From<$name> for crate::ObjectId {
            fn from(id: $name) -> Self {
                id.object()
            }
        }
    )*};
}

typed_id! {
    /// Names a commit.
    CommitId, Commit;
    /// Names a dirtree: the entries of one directory.
    DirTreeId, DirTree;
    /// Names a dirmeta: owner, mode and extended attributes of one directory.
    DirMetaId, DirMeta;
    /// Names a file object: a regular file or a symbolic link with its metadata.
    FileId, File;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip() {
        let checksum = Checksum::of(&[0]);
        let hex = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(checksum.to_string(), hex);
        assert_eq!(hex.parse::<Checksum>().unwrap(), checksum);
    }

    #[test]
    fn other_spellings_are_refused() {
        let upper = "6E340B9CFFB37A989CA544E6BB780A2C78901D3FB33738768511A30617AFA01D";
        for text in ["", "6e", upper, &"g".repeat(64), &"a".repeat(65)] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
    }
}
