// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames: one byte that says what it is, four (big-endian) that say how long, and the payload.

use std::io::{self, Read, Write};

use crate::error::{Error, Result};

/// The largest payload that is ever sent, and what a receiver announces unless it wants less.
pub const MAX_FRAME: usize = 1 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A control message in JSON.
    Control,
    /// Object ids, 33 bytes each.
    Ids,
    /// A bit an id, the first id's in the lowest bit of the first byte.
    Bitmap,
    /// A piece of the object stream.
    Data,
}

impl FrameKind {
    const ALL: [(Self, u8); 4] = [
        (Self::Control, b'C'),
        (Self::Ids, b'I'),
        (Self::Bitmap, b'B'),
        (Self::Data, b'D'),
    ];

    fn byte(self) -> u8 {
        match self {
            Self::Control => b'C',
            Self::Ids => b'I',
            Self::Bitmap => b'B',
            Self::Data => b'D',
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(_, b)| *b == byte)
            .map(|(kind, _)| kind)
    }
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// The payload.
    pub payload: Vec<u8>,
}

const HEADER_LEN: usize = 5;

/// Reads the next frame; [`None`] at the end of the stream, if that is between two frames.
pub fn read(from: &mut impl Read) -> Result<Option<Frame>> {
    let mut header = [0; HEADER_LEN];
    let mut have = 0;
    while have < HEADER_LEN {
        match from.read(&mut header[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(Error::Connection(io::ErrorKind::UnexpectedEof.into())),
            Ok(len) => have += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Connection(error)),
        }
    }
    let [kind, length @ ..] = header;
    let kind = FrameKind::from_byte(kind)
        .ok_or_else(|| Error::Protocol(format!("unknown kind of frame {kind:#04x}")))?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(Error::Limit {
            what: "a frame",
            size: length as u64,
            limit: MAX_FRAME as u64,
        });
    }
    let mut payload = Vec::with_capacity(length);
    let got = from
        .take(length as u64)
        .read_to_end(&mut payload)
        .map_err(Error::Connection)?;
    if got < length {
        return Err(Error::Connection(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Some(Frame { kind, payload }))
}

/// Writes a frame, which must not be larger than [`MAX_FRAME`].
pub fn write(to: &mut impl Write, kind: FrameKind, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|length| *length as usize <= MAX_FRAME)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "frame too large"))?;
    let [a, b, c, d] = length.to_be_bytes();
    to.write_all(&[kind.byte(), a, b, c, d])?;
    to.write_all(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_end() {
        let mut bytes = Vec::new();
        for (kind, _) in FrameKind::ALL {
            write(&mut bytes, kind, b"payload").unwrap();
        }
        let mut from = &bytes[..];
        for (kind, _) in FrameKind::ALL {
            let frame = read(&mut from).unwrap().unwrap();
            assert_eq!(
                frame,
                Frame {
                    kind,
                    payload: b"payload".to_vec()
                }
            );
        }
        assert!(read(&mut from).unwrap().is_none());
    }

    #[test]
    fn hostile_frames() {
        assert!(matches!(
            read(&mut &b"X\0\0\0\0"[..]),
            Err(Error::Protocol(_))
        ));
        assert!(matches!(
            read(&mut &b"C\xff\xff\xff\xff"[..]),
            Err(Error::Limit { .. })
        ));
        assert!(matches!(
            read(&mut &b"C\0\0"[..]),
            Err(Error::Connection(_))
        ));
        assert!(matches!(
            read(&mut &b"C\0\0\0\x02a"[..]),
            Err(Error::Connection(_))
        ));
        assert!(write(&mut io::sink(), FrameKind::Data, &vec![0; MAX_FRAME + 1]).is_err());
    }
}
