// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sparse files in the three ways in which GNU tar puts them into extended headers.
//!
//! Only the pieces between the holes are in the stream. Where they belong is said by
//! `GNU.sparse.offset` and `numbytes`, pair by pair (0.0); by `GNU.sparse.map`, all in one (0.1);
//! or by decimal lines before the content, padded to 512 bytes: how many pieces, and then offset
//! and length of each (1.0, what GNU tar writes today). The older way has
//! a type and headers of its own.

use std::io::{self, Read};

/// No more pieces than this are believed to be in one file.
pub(super) const MAX_PIECES: usize = 1 << 20;

/// How a file's content is to be read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sparse {
    size: u64,
    layout: Layout,
}

#[derive(Debug, Default, PartialEq)]
enum Layout {
    /// Without holes.
    #[default]
    Whole,
    /// Offset and length of each piece.
    Pieces(Vec<(u64, u64)>),
    /// The pieces are listed before the content.
    ListFirst,
}

impl Sparse {
    /// A file of `size` bytes with these pieces, offset and length of each.
    pub(super) fn pieces(size: u64, pieces: Vec<(u64, u64)>) -> Self {
        Self {
            size,
            layout: Layout::Pieces(pieces),
        }
    }

    /// Reads the records `GNU.sparse.…` (without that) of a member that holds `stored` bytes. Also
    /// gives the file's real name if they have one.
    pub(super) fn new(
        records: &[(String, String)],
        stored: u64,
    ) -> Result<(Self, Option<String>), String> {
        let mut sparse = Self {
            size: stored,
            layout: Layout::Whole,
        };
        let mut name = None;
        let mut numbers = Vec::new();
        for (key, value) in records {
            match key.as_str() {
                "size" | "realsize" => sparse.size = number(value)?,
                "name" => name = Some(value.clone()),
                "major" if value == "1" => sparse.layout = Layout::ListFirst,
                "map" => {
                    numbers = value.split(',').map(number).collect::<Result<_, _>>()?;
                    sparse.layout = Layout::Pieces(Vec::new());
                }
                "offset" | "numbytes" => {
                    numbers.push(number(value)?);
                    sparse.layout = Layout::Pieces(Vec::new());
                }
                _ => {}
            }
        }
        if let Layout::Pieces(list) = &mut sparse.layout {
            *list = pieces(&numbers)?;
        }
        Ok((sparse, name))
    }

    /// Reads the content with its holes filled by zeros.
    pub(super) fn reader(self, mut content: &mut dyn Read) -> Result<Filled<'_>, String> {
        let pieces = match self.layout {
            Layout::Whole => vec![(0, self.size)],
            Layout::Pieces(pieces) => pieces,
            Layout::ListFirst => read_list(&mut content).map_err(|error| error.to_string())?,
        };
        let mut end = 0;
        for (offset, length) in &pieces {
            if *offset < end {
                return Err(bad());
            }
            end = offset.checked_add(*length).ok_or_else(bad)?;
        }
        if end > self.size {
            return Err(bad());
        }
        Ok(Filled {
            content,
            pieces: pieces.into_iter(),
            piece: (0, 0),
            at: 0,
            size: self.size,
        })
    }
}

fn bad() -> String {
    "the list of a sparse file's pieces makes no sense".to_owned()
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| bad())
}

fn pieces(numbers: &[u64]) -> Result<Vec<(u64, u64)>, String> {
    match numbers.as_chunks::<2>() {
        (pairs, []) => Ok(pairs
            .iter()
            .map(|[offset, length]| (*offset, *length))
            .collect()),
        _ => Err(bad()),
    }
}

fn read_list(content: &mut &mut dyn Read) -> io::Result<Vec<(u64, u64)>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, bad());
    let mut blocks = Blocks {
        content,
        block: [0; 512],
        at: 512,
    };
    let count = usize::try_from(blocks.number()?).map_err(|_| invalid())?;
    if count > MAX_PIECES {
        return Err(invalid());
    }
    (0..count)
        .map(|_| Ok((blocks.number()?, blocks.number()?)))
        .collect()
}

/// Reads whole blocks, so that the content begins where it should.
struct Blocks<'a, 'c> {
    content: &'a mut &'c mut dyn Read,
    block: [u8; 512],
    at: usize,
}

impl Blocks<'_, '_> {
    fn number(&mut self) -> io::Result<u64> {
        let mut text = String::new();
        loop {
            if self.at == self.block.len() {
                self.content.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => break,
                b'0'..=b'9' if text.len() < 20 => text.push(char::from(byte)),
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, bad())),
            }
        }
        number(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Content with its holes filled.
pub(super) struct Filled<'c> {
    content: &'c mut dyn Read,
    pieces: std::vec::IntoIter<(u64, u64)>,
    /// The piece we are in or before.
    piece: (u64, u64),
    at: u64,
    size: u64,
}

impl Filled<'_> {
    /// The size with all holes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

impl Read for Filled<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.0 + self.piece.1 {
            match self.pieces.next() {
                Some(piece) => self.piece = piece,
                None => break,
            }
        }
        let (offset, length) = self.piece;
        let (in_hole, until) = match self.at {
            at if at < offset => (true, offset),
            at if at < offset + length => (false, offset + length),
            _ => (true, self.size),
        };
        let left = usize::try_from(until - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let got = match in_hole {
            true => {
                buffer[..wanted].fill(0);
                wanted
            }
            false => self.content.read(&mut buffer[..wanted])?,
        };
        self.at += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| (String::from(*key), String::from(*value));
        pairs.iter().map(owned).collect()
    }

    fn read(pairs: &[(&str, &str)], stored: &[u8]) -> Result<Vec<u8>, String> {
        let (sparse, _) = Sparse::new(&records(pairs), stored.len() as u64)?;
        let mut bytes = Vec::new();
        let mut stored = stored;
        sparse
            .reader(&mut stored)?
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    #[test]
    fn holes_are_filled() {
        let expected = b"\0\0ab\0c\0".to_vec();
        assert_eq!(read(&[], b"whole").unwrap(), b"whole");
        assert_eq!(
            read(&[("size", "7"), ("map", "2,2,5,1")], b"abc").unwrap(),
            expected
        );
        let pairs = [
            ("size", "7"),
            ("numblocks", "2"),
            ("offset", "2"),
            ("numbytes", "2"),
            ("offset", "5"),
            ("numbytes", "1"),
        ];
        assert_eq!(read(&pairs, b"abc").unwrap(), expected);
        let mut stored = b"2\n2\n2\n5\n1\n".to_vec();
        stored.resize(512, 0);
        stored.extend(b"abc");
        let pairs = [("major", "1"), ("minor", "0"), ("realsize", "7")];
        assert_eq!(read(&pairs, &stored).unwrap(), expected);
    }

    #[test]
    fn nonsense_is_refused() {
        for pairs in [
            &[("size", "7"), ("map", "2,2,3,1")][..],
            &[("size", "7"), ("map", "2,2,5")],
            &[("size", "7"), ("map", "2,9")],
            &[("size", "7"), ("map", "18446744073709551615,1")],
            &[("size", "-1")],
            &[("major", "1"), ("realsize", "7")],
        ] {
            assert!(read(pairs, b"abc").is_err(), "{pairs:?}");
        }
        let mut huge = b"99999999999\n".to_vec();
        huge.resize(512, 0);
        assert!(read(&[("major", "1"), ("realsize", "7")], &huge).is_err());
    }
}
