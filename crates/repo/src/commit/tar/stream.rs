// SPDX-License-Identifier: MIT OR Apache-2.0
//! The members of a tar stream, with what extended headers say of them.
//!
//! A header is a block of 512 bytes; the content after it is padded to whole blocks; a block of
//! zeros ends the stream. Headers of type `x` hold records `LENGTH KEY=VALUE\n` (POSIX), those of
//! type `L` and `K` a long name and link target (GNU), for the member that comes next. A value may
//! hold any bytes, line ends too, and overrides the plain header, the size of the content included.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::cpio::Links;

/// Extended headers of a member larger than this are refused. Linux limits the extended
/// attributes of a file to about this much on most file systems.
const MAX_EXTENDED: u64 = 1 << 20;

const BLOCK: usize = 512;

/// Reads members one after the other.
pub(super) struct Stream<R> {
    pub(super) from: R,
    /// Bytes until the next header.
    pub(super) skip: u64,
    /// In a cpio archive.
    links: Option<Links>,
}

/// A member as its headers have it.
#[derive(Debug)]
pub(super) struct RawMember {
    pub(super) header: Header,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    /// Bytes of content in the stream.
    pub(super) size: u64,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mode: u32,
    /// The records of extended headers that nothing here understands.
    pub(super) records: Vec<(Vec<u8>, Vec<u8>)>,
    /// The real size and the pieces of an old GNU sparse file.
    pub(super) sparse: Option<(u64, Vec<(u64, u64)>)>,
}

#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            skip: 0,
            links: None,
        }
    }

    /// The members of a cpio archive.
    pub(super) fn cpio(from: R) -> Self {
        Self {
            links: Some(Links::default()),
            ..Self::new(from)
        }
    }

    /// The next member; what was not read of the last one's content is passed over.
    pub(super) fn next(&mut self) -> io::Result<Option<RawMember>> {
        if let Some(mut links) = self.links.take() {
            let member = self.next_cpio(&mut links);
            self.links = Some(links);
            return member;
        }
        let mut extended = Extended::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.entry_type() {
                EntryType::XHeader => {
                    let bytes = self.extended(&header)?;
                    extended.records.extend(records(&bytes)?);
                }
                EntryType::GNULongName => extended.name = Some(self.long(&header)?),
                EntryType::GNULongLink => extended.link = Some(self.long(&header)?),
                // Says things of all members that follow; libarchive has never listened to it.
                EntryType::XGlobalHeader => self.skip = padded(header.entry_size()?)?,
                _ => return self.member(header, extended).map(Some),
            }
        }
    }

    /// The content of the member that was read last.
    pub(super) fn content(&mut self, size: u64) -> Content<'_, R> {
        Content {
            left: size,
            stream: self,
        }
    }

    /// Passes over what is not wanted.
    pub(super) fn pass(&mut self) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.from).take(self.skip), &mut io::sink())?;
        if skipped != self.skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.skip = 0;
        Ok(())
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        self.pass()?;
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        match self.from.read(&mut block[..1])? {
            0 => return Ok(None),
            _ => self.from.read_exact(&mut block[1..])?,
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The checksum is that of the header with its own field full of spaces.
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let expected = sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..]);
        match header.cksum() {
            Ok(actual) if actual == expected => Ok(Some(header)),
            _ => Err(invalid("Unrecognized archive format")),
        }
    }

    fn extended(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > MAX_EXTENDED {
            return Err(invalid("an extended header of more than a megabyte"));
        }
        let mut bytes = Vec::new();
        (&mut self.from).take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.skip = padded(size)? - size;
        Ok(bytes)
    }

    fn long(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let mut bytes = self.extended(header)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        bytes.truncate(end.unwrap_or(bytes.len()));
        Ok(bytes)
    }

    fn member(&mut self, header: Header, extended: Extended) -> io::Result<RawMember> {
        let mut member = RawMember {
            name: extended
                .name
                .unwrap_or_else(|| header.path_bytes().into_owned()),
            link: extended
                .link
                .or_else(|| header.link_name_bytes().map(Into::into))
                .unwrap_or_default(),
            size: header.entry_size()?,
            uid: or_blank(header.uid(), &header.as_old().uid)?,
            gid: or_blank(header.gid(), &header.as_old().gid)?,
            mode: or_blank(header.mode(), &header.as_old().mode)?,
            records: Vec::new(),
            sparse: None,
            header,
        };
        // Of records with the same key the last one counts.
        for (key, value) in extended.records {
            match key.as_slice() {
                b"path" => member.name = value,
                b"linkpath" => member.link = value,
                b"size" => member.size = number(&value)?,
                b"uid" => member.uid = number(&value)?,
                b"gid" => member.gid = number(&value)?,
                _ => member.records.push((key, value)),
            }
        }
        let kind = member.header.entry_type();
        if kind.is_gnu_sparse() {
            member.sparse = Some(self.old_sparse(&member.header)?);
        }
        // Whatever their headers say, nothing else has content.
        let file = matches!(
            kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        );
        if !file {
            member.size = 0;
        }
        self.skip = padded(member.size)?;
        Ok(member)
    }

    fn old_sparse(&mut self, header: &Header) -> io::Result<(u64, Vec<(u64, u64)>)> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| invalid("a sparse file without GNU's header"))?;
        let mut pieces = Vec::new();
        add_pieces(&gnu.sparse, &mut pieces)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.from.read_exact(block.as_mut_bytes())?;
            add_pieces(&block.sparse, &mut pieces)?;
            if pieces.len() > super::sparse::MAX_PIECES {
                return Err(invalid("a sparse file of too many pieces"));
            }
            more = block.is_extended();
        }
        Ok((gnu.real_size()?, pieces))
    }
}

fn add_pieces(list: &[GnuSparseHeader], pieces: &mut Vec<(u64, u64)>) -> io::Result<()> {
    for piece in list.iter().filter(|piece| !piece.is_empty()) {
        pieces.push((piece.offset()?, piece.length()?));
    }
    Ok(())
}

/// The content of a member.
pub(super) struct Content<'s, R> {
    stream: &'s mut Stream<R>,
    left: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = (&mut self.stream.from).take(self.left).read(buffer)?;
        if len == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= len as u64;
        self.stream.skip -= len as u64;
        Ok(len)
    }
}

/// The value of a numeric field; 0 if nothing was written there.
fn or_blank<T: Default>(value: io::Result<T>, field: &[u8]) -> io::Result<T> {
    match field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        true => Ok(T::default()),
        false => value,
    }
}

fn padded(size: u64) -> io::Result<u64> {
    size.checked_next_multiple_of(BLOCK as u64)
        .ok_or_else(|| invalid("a size that makes no sense"))
}

pub(super) fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn number(digits: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| invalid("an extended header that is no number"))
}

/// Splits the records of an extended header.
fn records(mut bytes: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let malformed = || invalid("a malformed extended header");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes
            .iter()
            .take(20)
            .position(|byte| *byte == b' ')
            .ok_or_else(malformed)?;
        let len = usize::try_from(number(&bytes[..space])?).map_err(|_| malformed())?;
        let (record, rest) = bytes.split_at_checked(len).ok_or_else(malformed)?;
        let record = record
            .get(space + 1..)
            .and_then(|record| record.strip_suffix(b"\n"))
            .ok_or_else(malformed)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(malformed)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = rest;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_may_hold_anything() {
        let list = records(b"11 a=b\nc=d\n6 e=f\n").unwrap();
        assert_eq!(
            list,
            [
                (b"a".to_vec(), b"b\nc=d".to_vec()),
                (b"e".to_vec(), b"f".to_vec())
            ]
        );
        for bad in [
            &b"x"[..],
            b"7 a=b\n",
            b"5 a=b\n",
            b"6 a-b\n",
            b"0 a=b\n",
            b"99999999999999999999 a=b\n",
            b"2 ",
            b" a=b\n",
        ] {
            assert!(records(bad).is_err(), "{bad:?}");
        }
    }

    fn tar(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        fill(&mut builder);
        builder.into_inner().unwrap()
    }

    fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content).unwrap();
    }

    #[test]
    fn members_one_after_the_other() {
        let long = "long/".repeat(60);
        let bytes = tar(|builder| {
            append(builder, "a", &[b'a'; 700]);
            append(builder, &long, b"");
            append(builder, "b", b"b");
        });
        let mut stream = Stream::new(&bytes[..]);
        let first = stream.next().unwrap().unwrap();
        assert_eq!((&first.name[..], first.size), (&b"a"[..], 700));
        // Half of the content is left unread.
        stream.content(700).read_exact(&mut [0; 300]).unwrap();
        assert_eq!(stream.next().unwrap().unwrap().name, long.as_bytes());
        let last = stream.next().unwrap().unwrap();
        let mut content = String::new();
        stream
            .content(last.size)
            .read_to_string(&mut content)
            .unwrap();
        assert_eq!(content, "b");
        assert!(stream.next().unwrap().is_none());
    }

    #[test]
    fn cut_and_changed_streams_do_not_panic() {
        let bytes = tar(|builder| {
            builder
                .append_pax_extensions([("path", &b"other"[..])])
                .unwrap();
            append(builder, "a", &[b'a'; 700]);
        });
        let read_all = |bytes: &[u8]| -> io::Result<()> {
            let mut stream = Stream::new(bytes);
            while let Some(member) = stream.next()? {
                io::copy(&mut stream.content(member.size), &mut io::sink())?;
            }
            Ok(())
        };
        read_all(&bytes).unwrap();
        for end in 1..2 * BLOCK + 700 {
            assert!(
                end % BLOCK == 0 || read_all(&bytes[..end]).is_err(),
                "{end}"
            );
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            // Any outcome but a panic.
            let _ = read_all(&changed);
        }
    }
}
