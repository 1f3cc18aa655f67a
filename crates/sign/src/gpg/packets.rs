// SPDX-License-Identifier: MIT OR Apache-2.0
//! How OpenPGP packets stand one after the other, in binary or in ASCII armor (RFC 9580, sections
//! 4.2 and 6).
//!
//! A packet is a header, which says what kind it is and how long, and a body. Keys and detached
//! signatures always have definite lengths, so the others (partial and indeterminate) are refused.
//! This module does not interpret bodies.

use crate::encoding;
use crate::{Error, Result};

/// The largest keyring that is read, in bytes.
pub(crate) const MAX_KEYRING: u64 = 64 << 20;

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPacket<'a> {
    /// The kind of packet.
    pub tag: u8,
    /// The content.
    pub body: &'a [u8],
    /// Header and body.
    pub whole: &'a [u8],
}

/// The packets in these bytes. The error says why what follows is none.
pub fn split(bytes: &[u8]) -> Result<Vec<RawPacket<'_>>, &'static str> {
    let mut packets = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (tag, header, len) = header(rest)?;
        let end = header
            .checked_add(len)
            .filter(|end| *end <= rest.len())
            .ok_or("a packet is cut off")?;
        packets.push(RawPacket {
            tag,
            body: &rest[header..end],
            whole: &rest[..end],
        });
        rest = &rest[end..];
    }
    Ok(packets)
}

/// The tag, the length of the header and that of the body.
fn header(bytes: &[u8]) -> Result<(u8, usize, usize), &'static str> {
    const CUT_OFF: &str = "the header of a packet is cut off";
    let first = *bytes.first().ok_or(CUT_OFF)?;
    let number = |range: std::ops::Range<usize>| -> Result<usize, &'static str> {
        let bytes = bytes.get(range).ok_or(CUT_OFF)?;
        Ok(bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    };
    match first >> 6 {
        0b10 => {
            let tag = first >> 2 & 0b1111;
            match first & 0b11 {
                0 => Ok((tag, 2, number(1..2)?)),
                1 => Ok((tag, 3, number(1..3)?)),
                2 => Ok((tag, 5, number(1..5)?)),
                _ => Err("a packet of indeterminate length"),
            }
        }
        0b11 => {
            let tag = first & 0b11_1111;
            match number(1..2)? {
                len @ 0..=191 => Ok((tag, 2, len)),
                192..=223 => Ok((tag, 3, number(1..3)? - (192 << 8) + 192)),
                255 => Ok((tag, 6, number(2..6)?)),
                _ => Err("a packet of partial lengths"),
            }
        }
        _ => Err("not an OpenPGP packet"),
    }
}

/// Returns the packets' bytes of input with or without armor. All blocks of armor are read; text around
/// them is ignored.
pub fn dearmor(bytes: &[u8]) -> Result<Vec<u8>> {
    if bytes.first().is_none_or(|first| first & 0x80 != 0) {
        return Ok(bytes.to_vec());
    }
    let wrong = |reason: &str| Error::OpenPgp {
        what: "ASCII armor".to_owned(),
        reason: reason.to_owned(),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not text"))?;
    let mut found = None;
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if !(line.starts_with("-----BEGIN PGP ") && line.ends_with("-----")) {
            continue;
        }
        let block = block(&mut lines).ok_or_else(|| wrong("a block is cut off"))?;
        let decoded = encoding::decode(&block, MAX_KEYRING as usize)
            .ok_or_else(|| wrong("it is not base64"))?;
        found
            .get_or_insert_with(Vec::new)
            .extend_from_slice(&decoded);
    }
    found.ok_or_else(|| wrong("there is none"))
}

/// The base64 of a block, up to its end: without its headers, which a blank line ends, and its
/// checksum, which nobody is to rely on.
fn block<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<String> {
    let mut body = String::new();
    for line in lines {
        match line {
            _ if line.starts_with("-----END PGP ") => return Some(body),
            "" => body.clear(),
            _ if line.starts_with('=') || line.contains(": ") => {}
            _ => body.push_str(line),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers() {
        let all = [
            &[0b1000_1000, 1, 7][..],
            &[0b1000_1001, 0, 1, 8],
            &[0b1000_1010, 0, 0, 0, 1, 9],
            &[0b1100_0010, 1, 10],
            &[0b1100_0010, 255, 0, 0, 0, 1, 11],
        ]
        .concat();
        let packets = split(&all).unwrap();
        let bodies: Vec<_> = packets.iter().map(|packet| packet.body[0]).collect();
        assert_eq!(bodies, [7, 8, 9, 10, 11]);
        assert!(packets.iter().all(|packet| packet.tag == 2));

        let two = [&[0b1100_0010, 192, 1][..], &[0; 193]].concat();
        assert_eq!(split(&two).unwrap()[0].body.len(), 193);
        for bad in [
            &[0x00][..],
            &[0x88],
            &[0x88, 2, 0],
            &[0x8b, 0],
            &[0xc2, 224, 0],
            &[0xc2, 255, 0xff, 0xff, 0xff, 0xff],
        ] {
            split(bad).unwrap_err();
        }
    }

    #[test]
    fn armor() {
        let text = "words\n-----BEGIN PGP X-----\nVersion: 1\n\naG\nk=\n=abcd\n-----END PGP X-----\n\
                    -----BEGIN PGP Y-----\n\naGk=\n-----END PGP Y-----\n";
        assert_eq!(dearmor(text.as_bytes()).unwrap(), b"hihi");
        assert_eq!(dearmor(b"").unwrap(), b"");
        assert_eq!(dearmor(b"\x99x").unwrap(), b"\x99x");
        dearmor(b"nothing").unwrap_err();
        dearmor(b"-----BEGIN PGP X-----\n\naGk=\n").unwrap_err();
        dearmor(b"-----BEGIN PGP X-----\n\n!\n-----END PGP X-----\n").unwrap_err();
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packets) = split(&bytes) {
                let whole: Vec<u8> = packets.iter().flat_map(|packet| packet.whole.to_vec()).collect();
                prop_assert_eq!(whole, bytes);
            }
        }

        #[test]
        fn any_armor(text in "(-----(BEGIN|END) PGP X-----\n|[A-Za-z=: \n]{0,9}){0,9}") {
            let _ = dearmor(text.as_bytes());
        }
    }
}
