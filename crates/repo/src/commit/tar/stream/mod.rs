// SPDX-License-Identifier: MIT OR Apache-2.0
//! The members of a tar stream, with what extended headers say of them.
//!
//! A header is a block of 512 bytes; the content after it is padded to whole blocks; a block of
//! zeros ends the archive. Headers of type `x` hold records `LENGTH KEY=VALUE\n` (POSIX), those of
//! type `L` and `K` a long name and link target (GNU), for the member that comes next. A value may
//! hold any bytes, line ends too, and overrides the plain header, the size of the content included.
//!
//! Types are understood as libarchive does it: a type that is not known is that of a regular file; folders, symbolic
//! links and devices have no content, whatever size they claim; hard links have some in POSIX archives only.

mod content;
mod kinds;
mod numbers;
mod records;
#[cfg(test)]
mod tests;

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::super::walk::escaped;
use super::cpio::Links;
pub(super) use content::{Check, Content};
use kinds::{CONTINUED, names_another_archive};
use numbers::{or_blank, padded};
use records::{number, records};

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
    /// Of the content that is being read, where the format has a checksum.
    pub(super) check: Option<Check>,
    /// What the last header was of.
    last: String,
    /// The last member claimed a size, but is nothing that has content.
    claims: bool,
    /// Extended headers have been seen.
    posix: bool,
    /// What the user should know of the archive.
    pub(super) notes: Notes,
}

/// Things that are worth a warning, each once.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    /// The number of warnings is limited, as every member might be worth one.
    const MAX: usize = 20;

    pub(super) fn add(&mut self, note: String) {
        if self.0.len() < Self::MAX && !self.0.contains(&note) {
            self.0.push(note);
        }
    }
}

/// A member as its headers have it.
#[derive(Debug)]
pub(super) struct RawMember {
    /// Regular, sparse, directory, symbolic or hard link; anything else cannot be in a commit.
    pub(super) kind: EntryType,
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
    any: bool,
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
            check: None,
            last: String::new(),
            claims: false,
            posix: false,
            notes: Notes::default(),
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
                return match extended.any {
                    true => Err(invalid(
                        "the archive ends after an extended header: it is truncated or damaged",
                    )),
                    false => Ok(None),
                };
            };
            match header.entry_type().as_byte() {
                b'x' | b'X' => {
                    self.posix = true;
                    let bytes = self.extended(&header)?;
                    extended.records.extend(records(&bytes)?);
                }
                b'L' => extended.name = Some(self.long(&header)?),
                b'K' => extended.link = Some(self.long(&header)?),
                b'g' => {
                    self.global(&header)?;
                    continue;
                }
                // The name of the volume, and nothing else.
                b'V' => continue,
                b'A' => {
                    return Err(invalid(
                        "an access control list of Solaris, which a commit cannot hold",
                    ));
                }
                _ => return self.member(&header, extended).map(Some),
            }
            extended.any = true;
        }
    }

    /// Reads what comes after the archive, to the end: only there are the checksums of packed data. What the user
    /// should know is given back.
    pub(super) fn finish(mut self) -> io::Result<Vec<String>> {
        let mut some = vec![0; 64 << 10];
        let mut more = false;
        loop {
            match self.from.read(&mut some)? {
                0 => break,
                len => more |= some[..len].iter().any(|byte| *byte != 0),
            }
        }
        if more {
            self.notes
                .add("what comes after the end of the archive is not read".to_owned());
        }
        Ok(self.notes.0)
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
        if let Some(left) = self.check.as_ref().map(|check| check.left) {
            io::copy(&mut self.content(left), &mut io::sink())?;
        }
        if let Some(check) = self.check.take()
            && check.sum != check.expected
        {
            let text = format!("the checksum of {} is wrong", self.last);
            return Err(invalid(&text));
        }
        let skipped = io::copy(&mut (&mut self.from).take(self.skip), &mut io::sink())?;
        if skipped != self.skip {
            return Err(self.cut());
        }
        self.skip = 0;
        Ok(())
    }

    /// Reads all of `bytes`; false if there is not a single one.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        let mut at = 0;
        while at < bytes.len() {
            match self.from.read(&mut bytes[at..])? {
                0 if at == 0 => return Ok(false),
                0 => return Err(self.cut()),
                len => at += len,
            }
        }
        Ok(true)
    }

    /// The next member is `name`, for messages.
    pub(super) fn at(&mut self, name: &[u8]) {
        self.last = escaped(name);
    }

    /// The member that was read last, for messages.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    /// The stream is over where it must not be.
    pub(super) fn cut(&self) -> io::Error {
        let place = match self.last.as_str() {
            "" => String::new(),
            last => format!(" in or after {last}"),
        };
        let text = format!("the archive ends too early{place}: it is truncated");
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        self.pass()?;
        let mut block = [0; BLOCK];
        if !self.fill(&mut block)? {
            if !self.last.is_empty() {
                let note = "the archive has no end mark: it may be truncated";
                self.notes.add(note.to_owned());
            }
            return Ok(None);
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut header = Header::new_old();
        *header.as_mut_bytes() = block;
        // The checksum is that of the header with its own field full of spaces. Some old programs took bytes for
        // signed numbers.
        let (before, after) = (&block[..148], &block[156..]);
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
        let signed = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| i64::from(byte.cast_signed()))
                .sum::<i64>()
        };
        let spaces = 8 * i64::from(b' ');
        let expected = [
            sum(before) + sum(after) + spaces,
            signed(before) + signed(after) + spaces,
        ];
        if header
            .cksum()
            .is_ok_and(|actual| expected.contains(&i64::from(actual)))
        {
            return Ok(Some(header));
        }
        Err(match self.last.as_str() {
            "" => invalid("Unrecognized archive format"),
            last if self.claims => invalid(&format!(
                "the archive is damaged after {last}, which has content though it is not a file"
            )),
            last => invalid(&format!("the archive is damaged after {last}")),
        })
    }

    fn extended(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header
            .entry_size()
            .map_err(|_| invalid("an extended header without a size"))?;
        if size > MAX_EXTENDED {
            return Err(invalid("an extended header of more than a megabyte"));
        }
        let mut bytes = Vec::new();
        (&mut self.from).take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(self.cut());
        }
        self.skip = padded(size)? - size;
        Ok(bytes)
    }

    /// A header that says things of all members that follow; libarchive has never listened to it. That a volume
    /// begins within a file is said there, too.
    fn global(&mut self, header: &Header) -> io::Result<()> {
        let size = header
            .entry_size()
            .map_err(|_| invalid("an extended header without a size"))?;
        if size > MAX_EXTENDED {
            self.skip = padded(size)?;
            return Ok(());
        }
        let bytes = self.extended(header)?;
        let of_volume =
            |(key, value): &(Vec<u8>, Vec<u8>)| key == b"GNU.volume.offset" && value != b"0";
        match records(&bytes)?.iter().any(of_volume) {
            true => Err(invalid(CONTINUED)),
            false => Ok(()),
        }
    }

    fn long(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let mut bytes = self.extended(header)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        bytes.truncate(end.unwrap_or(bytes.len()));
        Ok(bytes)
    }

    fn member(&mut self, header: &Header, extended: Extended) -> io::Result<RawMember> {
        let name = extended
            .name
            .unwrap_or_else(|| header.path_bytes().into_owned());
        self.at(&name);
        let damaged = |_| invalid(&format!("the header of {} is damaged", escaped(&name)));
        let mut member = RawMember {
            kind: header.entry_type(),
            link: extended
                .link
                .or_else(|| header.link_name_bytes().map(Into::into))
                .unwrap_or_default(),
            size: or_blank(header.entry_size(), &header.as_old().size).map_err(damaged)?,
            uid: or_blank(header.uid(), &header.as_old().uid).map_err(damaged)?,
            gid: or_blank(header.gid(), &header.as_old().gid).map_err(damaged)?,
            mode: or_blank(header.mode(), &header.as_old().mode).map_err(damaged)?,
            records: Vec::new(),
            sparse: None,
            name,
        };
        // Of records with the same key the last one counts.
        for (key, value) in extended.records {
            match key.as_slice() {
                b"path" => member.name = value,
                b"linkpath" => member.link = value,
                b"size" => member.size = number(&value)?,
                b"uid" => member.uid = number(&value)?,
                b"gid" => member.gid = number(&value)?,
                b"GNU.dumpdir" => self.dumped(names_another_archive(&value)),
                b"SCHILY.acl.access" | b"SCHILY.acl.default" => {
                    self.notes
                        .add("access control lists are not committed".to_owned());
                }
                _ => member.records.push((key, value)),
            }
        }
        self.at(&member.name);
        self.content_of(header, &mut member)?;
        Ok(member)
    }
}

pub(super) fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
