// SPDX-License-Identifier: MIT OR Apache-2.0
//! Archives as they come: plain, or packed by gzip, bzip2, xz, lzma, lzip or zstd.
//!
//! The checksums of packed data stand at its end, after the end of the archive in it. So a caller that has read an
//! archive reads on until there is no more; only then is what it read known to be right.

mod lzma;
mod members;
#[cfg(test)]
mod tests;
mod zstd;

use std::io::{self, BufRead, Cursor, ErrorKind, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::{LzipReader, XzReader};

use self::lzma::Lzma;
use self::members::Members;
use self::zstd::Zstd;

/// The largest dictionary of xz, lzma and lzip, in KiB: four times that of `xz -9`.
const DICTIONARY: u32 = 256 << 10;

/// What begins with these bytes is known, but not read.
const OTHERS: [(&[u8], &str); 9] = [
    (b"\x1f\x9d", "packed by compress (.Z)"),
    (b"\x04\x22\x4d\x18", "packed by lz4"),
    (b"\x89LZO\0", "packed by lzop"),
    (b"LRZI", "packed by lrzip"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
    (b"!<arch>\n", "an ar archive or a Debian package"),
    (b"xar!", "a xar archive"),
];

/// `stream` unpacked, in whatever way it is packed.
pub(super) fn unpack<'r>(mut stream: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut start = Vec::new();
    (&mut stream)
        .take(lzma::START as u64)
        .read_to_end(&mut start)?;
    let known = |magic: &[u8]| start.starts_with(magic);
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| known(magic)) {
        return Err(Found::error(format!(
            "this is {what}; tar and cpio archives are read, plain or packed by gzip, bzip2, xz, lzma, lzip or zstd: \
             unpack it first"
        )));
    }
    let name = match start[..] {
        [0x1f, 0x8b, ..] => "gzip",
        [b'B', b'Z', b'h', ..] => "bzip2",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [b'L', b'Z', b'I', b'P', ..] => "lzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => "zstd",
        _ if lzma::is_lzma(&start) => "lzma",
        _ => return Ok(Box::new(Cursor::new(start).chain(stream))),
    };
    if let [b'L', b'Z', b'I', b'P', _, size, ..] = start[..]
        && u64::from(DICTIONARY) << 10 < 1 << (size & 31)
    {
        return Err(explain(name, &ErrorKind::OutOfMemory.into()));
    }
    let stream = Cursor::new(start).chain(stream);
    let from: Box<dyn Read + 'r> = match name {
        "gzip" => Box::new(Members::<_, GzDecoder<_>>::Between(stream)),
        "bzip2" => Box::new(Members::<_, BzDecoder<_>>::Between(stream)),
        "xz" => Box::new(XzReader::new_mem_limit(stream, true, DICTIONARY)),
        "lzip" => Box::new(LzipReader::new(stream)),
        "zstd" => Box::new(Zstd::new(stream)),
        _ => Box::new(Lzma::new(stream).map_err(|error| explain(name, &error))?),
    };
    Ok(Box::new(Packed {
        name,
        from,
        failed: None,
    }))
}

/// Packed data, with errors that a user understands.
struct Packed<'r> {
    name: &'static str,
    from: Box<dyn Read + 'r>,
    /// The error that ended it, which is given again: a decoder that failed may say that it has ended.
    failed: Option<io::Error>,
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(explain(self.name, error));
        }
        self.from.read(buffer).map_err(|error| {
            let said = explain(self.name, &error);
            self.failed = Some(error);
            said
        })
    }
}

/// What this module found itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Found(String);

impl Found {
    fn error(text: String) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, Self(text))
    }

    /// Bytes after the end that no other file of the kind begins with.
    fn trailing() -> io::Error {
        Self::error(
            "after the end of the packed data come bytes that are not part of it; the file may be damaged".to_owned(),
        )
    }
}

/// What a decoder's error means. What the system says of reading the file itself stays as it is.
fn explain(name: &str, error: &io::Error) -> io::Error {
    if let Some(code) = error.raw_os_error() {
        return io::Error::from_raw_os_error(code);
    }
    if let Some(found) = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<Found>())
    {
        return io::Error::new(error.kind(), Found(found.0.clone()));
    }
    let text = match error.kind() {
        ErrorKind::UnexpectedEof => {
            format!("the {name} data ends too early: the file is truncated")
        }
        ErrorKind::OutOfMemory => format!(
            "the {name} data needs a larger dictionary than {} MiB to be unpacked: unpack it first",
            DICTIONARY >> 10
        ),
        ErrorKind::Unsupported => format!("{name} data of a kind that is not supported"),
        _ => format!("the {name} data is damaged"),
    };
    io::Error::new(error.kind(), Found(text))
}
