// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stream of objects: records one after the other, cut into the payloads of data frames
//! without regard to where records begin or end.
//!
//! A record is an object's id (33 bytes), one byte that says in which form it comes, its length
//! (u64 big-endian), and that many bytes. A payload is one byte that says how it is packed, and
//! the piece of the stream. Each is packed for itself, but those in zstd, which continue a frame.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use oxtree_format::ObjectId;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::ID_LEN;
use super::frame::MAX_FRAME;
use super::message::{parse_id, put_id};
use crate::error::{Error, Result};

/// In which form an object comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A metadata object's own bytes.
    Metadata = 0,
    /// The bytes of a `.filez`.
    Filez = 1,
    /// The bytes that are hashed to name a file object: header and plain content.
    Plain = 2,
    /// The id of another file object (32 bytes), the header as it is hashed, the size of the content
    /// (u64 big-endian), and the [patch](super::patch) that makes it of the other's content.
    Patch = 3,
}

impl Form {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Metadata, Self::Filez, Self::Plain, Self::Patch]
            .into_iter()
            .find(|form| *form as u8 == byte)
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which object.
    pub object: ObjectId,
    /// In which form.
    pub form: Form,
    /// How many bytes follow.
    pub len: u64,
}

/// Bytes of a record's head.
pub const RECORD_LEN: usize = ID_LEN + 1 + 8;

impl Record {
    /// Appends the head.
    pub fn put(&self, to: &mut Vec<u8>) {
        put_id(to, &self.object);
        to.push(self.form as u8);
        to.extend_from_slice(&self.len.to_be_bytes());
    }

    fn parse(head: &[u8; RECORD_LEN]) -> Result<Self> {
        let (id, rest) = head.split_at(ID_LEN);
        let object = parse_id(id)?;
        let form = Form::from_byte(rest[0])
            .filter(|form| (*form == Form::Metadata) == object.kind.is_metadata())
            .ok_or_else(|| Error::Protocol(format!("{object} in an unknown form")))?;
        let mut len = [0; 8];
        len.copy_from_slice(&rest[1..]);
        Ok(Self {
            object,
            form,
            len: u64::from_be_bytes(len),
        })
    }
}

/// What a [`Decoder`] has found in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A record begins.
    Begin(Record),
    /// A piece of its bytes.
    Bytes(&'a [u8]),
    /// It is complete.
    End,
}

/// Cuts the stream into records.
#[derive(Debug, Default)]
pub struct Decoder {
    head: Vec<u8>,
    /// Bytes of the present record still to come.
    left: Option<u64>,
}

impl Decoder {
    /// Takes a piece of the stream, and calls `on` with what is in it.
    pub fn feed(
        &mut self,
        mut piece: &[u8],
        on: &mut impl FnMut(Event<'_>) -> Result<()>,
    ) -> Result<()> {
        loop {
            if let Some(left) = self.left {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                let (bytes, rest) = piece.split_at(len);
                if !bytes.is_empty() {
                    on(Event::Bytes(bytes))?;
                }
                piece = rest;
                let left = left - len as u64;
                if left > 0 {
                    self.left = Some(left);
                    return Ok(());
                }
                self.left = None;
                on(Event::End)?;
            }
            let need = RECORD_LEN - self.head.len();
            let (head, rest) = piece.split_at(need.min(piece.len()));
            self.head.extend_from_slice(head);
            piece = rest;
            let Ok(head) = <&[u8; RECORD_LEN]>::try_from(&self.head[..]) else {
                return Ok(());
            };
            let record = Record::parse(head)?;
            self.head.clear();
            self.left = Some(record.len);
            on(Event::Begin(record))?;
        }
    }

    /// True between two records.
    pub fn is_at_boundary(&self) -> bool {
        self.left.is_none() && self.head.is_empty()
    }
}

/// Largest piece of the stream that goes into one payload.
pub const MAX_PIECE: usize = MAX_FRAME - 1024;

const STORED: u8 = 0;
const DEFLATED: u8 = 1;
/// The byte that payloads in zstd begin with.
pub const ZSTD: u8 = 2;

/// How far back the zstd frames refer at the most, in bytes: so much memory is needed to unpack.
pub const ZSTD_WINDOW: u64 = 8 << 20;

/// Makes a payload of a piece of the stream; deflated, if a level is given and it pays.
pub fn pack(piece: &[u8], level: Option<u32>) -> Vec<u8> {
    if let Some(level) = level {
        let mut encoder = DeflateEncoder::new(vec![DEFLATED], Compression::new(level));
        if let Ok(packed) = encoder.write_all(piece).and_then(|()| encoder.finish())
            && packed.len() < piece.len()
        {
            return packed;
        }
    }
    let mut payload = Vec::with_capacity(piece.len() + 1);
    payload.push(STORED);
    payload.extend_from_slice(piece);
    payload
}

/// The beginning of a payload that holds a piece of the stream as it is: `head`, and what follows.
pub fn stored_payload(mut head: Vec<u8>) -> Vec<u8> {
    head.insert(0, STORED);
    head
}

/// Decoders that nobody uses at the moment. Each has a window, so there are few; and each push over HTTP
/// uses one after the other, for parts of the same.
static IDLE: Mutex<Vec<FrameDecoder>> = Mutex::new(Vec::new());

/// How many of them are kept.
const MOST_IDLE: usize = 2;

/// Takes the payloads of the stream one after the other, and gives the pieces in them.
#[derive(Default)]
pub struct Unpacker {
    /// Its memory is used for one zstd frame after the other.
    decoder: Option<FrameDecoder>,
    /// Whether a frame has begun and not ended.
    within: bool,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker")
            .field("within", &self.within)
            .finish()
    }
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.extend(self.decoder.take());
        }
    }
}

/// A decoder for windows that we allow.
fn decoder() -> FrameDecoder {
    let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    idle.unwrap_or_else(|| {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        decoder
    })
}

impl Unpacker {
    /// The next bytes of the stream. However well a payload is packed, it may not hold more than
    /// [`MAX_PIECE`] bytes; of a zstd frame the last [`ZSTD_WINDOW`] bytes may come later.
    pub fn unpack<'p>(&mut self, payload: &'p [u8]) -> Result<Cow<'p, [u8]>> {
        let Some((how, packed)) = payload.split_first() else {
            return Err(wrong("empty"));
        };
        match *how {
            ZSTD => self.zstd(packed).map(Cow::Owned),
            _ if self.within => Err(wrong("begun before the end of the one in zstd")),
            STORED => Ok(Cow::Borrowed(packed)),
            DEFLATED => inflate(packed).map(Cow::Owned),
            _ => Err(wrong("packed in an unknown way")),
        }
    }

    /// True if all that came in has been given out.
    pub fn is_at_boundary(&self) -> bool {
        !self.within
    }

    /// Whole blocks of one frame, its header before the first.
    fn zstd(&mut self, mut packed: &[u8]) -> Result<Vec<u8>> {
        let failed = |error: &dyn fmt::Display| wrong(&error.to_string());
        let is_new = self.decoder.is_none();
        let decoder = self.decoder.get_or_insert_with(decoder);
        if is_new {
            // Only from the second time on it makes room for the window in one go.
            decoder
                .init(&mut &*packed)
                .map_err(|error| failed(&error))?;
        }
        if !self.within {
            decoder.init(&mut packed).map_err(|error| failed(&error))?;
            self.within = true;
        }
        let mut piece = Vec::new();
        while !packed.is_empty() && !decoder.is_finished() {
            // A block is 128 KiB at the most.
            decoder
                .decode_blocks(&mut packed, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|error| failed(&error))?;
            decoder
                .collect_to_writer(&mut piece)
                .map_err(|error| failed(&error))?;
            if piece.len() > MAX_PIECE && !decoder.is_finished() {
                return Err(wrong("unpacks to more than a frame may hold"));
            }
        }
        self.within = !decoder.is_finished();
        match packed.is_empty() {
            true => Ok(piece),
            false => Err(wrong("bytes after the end of the zstd frame")),
        }
    }
}

fn inflate(packed: &[u8]) -> Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(packed.len() * 3);
    DeflateDecoder::new(packed)
        .take(MAX_PIECE as u64 + 1)
        .read_to_end(&mut piece)
        .map_err(|error: io::Error| wrong(&error.to_string()))?;
    match piece.len() > MAX_PIECE {
        true => Err(wrong("unpacks to more than a frame may hold")),
        false => Ok(piece),
    }
}

fn wrong(what: &str) -> Error {
    Error::Protocol(format!("data frame: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxtree_format::{Checksum, ObjectKind};
    use proptest::prelude::*;

    fn record(content: &[u8], form: Form) -> Vec<u8> {
        let kind = if form == Form::Metadata {
            ObjectKind::DirTree
        } else {
            ObjectKind::File
        };
        let object = ObjectId::new(kind, Checksum::of(content));
        let mut bytes = Vec::new();
        Record {
            object,
            form,
            len: content.len() as u64,
        }
        .put(&mut bytes);
        bytes.extend_from_slice(content);
        bytes
    }

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<Vec<u8>>, bool)> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in pieces {
            decoder.feed(piece, &mut |event| {
                match event {
                    Event::Begin(_) => found.push(Vec::new()),
                    Event::Bytes(bytes) => found.last_mut().unwrap().extend_from_slice(bytes),
                    Event::End => {}
                }
                Ok(())
            })?;
        }
        Ok((found, decoder.is_at_boundary()))
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_records(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8),
            cut in 1..40usize,
        ) {
            let stream: Vec<u8> = contents.iter().flat_map(|c| record(c, Form::Plain)).collect();
            let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
            prop_assert_eq!(decode(&pieces).unwrap(), (contents, true));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&bytes]);
            let _ = Unpacker::default().unpack(&bytes);
        }

        #[test]
        fn packing_round_trips(piece in proptest::collection::vec(0..4u8, 0..5000), level in 0..10u32) {
            prop_assert_eq!(Unpacker::default().unpack(&pack(&piece, Some(level).filter(|l| *l > 0))).unwrap().into_owned(), piece);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = pack(&vec![0; MAX_PIECE + 1], Some(9));
        assert!(bomb.len() < 10_000);
        assert!(Unpacker::default().unpack(&bomb).is_err());
    }

    #[test]
    fn forms_have_to_fit_the_kind() {
        let mut bytes = record(b"x", Form::Metadata);
        bytes[ID_LEN] = Form::Plain as u8;
        assert!(decode(&[&bytes]).is_err());
        bytes[ID_LEN] = 9;
        assert!(decode(&[&bytes]).is_err());
    }
}
