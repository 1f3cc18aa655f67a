// SPDX-License-Identifier: MIT OR Apache-2.0
//! Members of a cpio archive, which libostree takes for `--tree=tar`, too.
//!
//! `newc`: the text `070701` (or `070702`) and 13 numbers of eight hexadecimal digits; name and
//! content padded to four bytes. `odc`: `070707` and ten octal numbers; nothing padded. The member
//! `TRAILER!!!` ends the archive. Of files with several names, all but one may come without their
//! content.

use std::collections::HashMap;
use std::io::{self, Read};

use oxtree_format::dirmeta::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use tar::EntryType;

use super::stream::{Check, RawMember, Stream, invalid};

/// Bytes that tell the format.
pub(super) const MAGIC: usize = 6;

/// The longest name or link target.
const MAX_NAME: u64 = 64 << 10;

const TRAILER: &[u8] = b"TRAILER!!!";

/// Where each number is that matters: its first byte and its digits.
struct Layout {
    radix: u32,
    len: usize,
    align: u64,
    dev: &'static [(usize, usize)],
    ino: (usize, usize),
    mode: (usize, usize),
    uid: (usize, usize),
    gid: (usize, usize),
    nlink: (usize, usize),
    name: (usize, usize),
    size: (usize, usize),
}

const NEWC: Layout = Layout {
    radix: 16,
    len: 110,
    align: 4,
    dev: &[(62, 8), (70, 8)],
    ino: (6, 8),
    mode: (14, 8),
    uid: (22, 8),
    gid: (30, 8),
    nlink: (38, 8),
    name: (94, 8),
    size: (54, 8),
};

const ODC: Layout = Layout {
    radix: 8,
    len: 76,
    align: 1,
    dev: &[(6, 6)],
    ino: (12, 6),
    mode: (18, 6),
    uid: (24, 6),
    gid: (30, 6),
    nlink: (36, 6),
    name: (59, 6),
    size: (65, 11),
};

/// Where `070702` has the sum of the content's bytes.
const CHECK: (usize, usize) = (102, 8);

/// Device and inode.
type Identity = (u64, u64);

/// Files with several names.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// The name that came with the content.
    whole: HashMap<Identity, Vec<u8>>,
    /// Names that came without.
    empty: Vec<(Identity, RawMember)>,
    /// The last member was read.
    ended: bool,
}

/// Whether an archive that begins so is of this kind.
pub(super) fn is_cpio(start: &[u8]) -> bool {
    layout(start).is_some()
}

fn layout(magic: &[u8]) -> Option<&'static Layout> {
    match magic {
        b"070701" | b"070702" => Some(&NEWC),
        b"070707" => Some(&ODC),
        _ => None,
    }
}

impl<R: Read> Stream<R> {
    /// The next member of a cpio archive.
    pub(super) fn next_cpio(&mut self, links: &mut Links) -> io::Result<Option<RawMember>> {
        loop {
            if links.ended {
                return Ok(links.last());
            }
            let Some((identity, several, member)) = self.cpio_member()? else {
                links.ended = true;
                continue;
            };
            let regular = member.kind.is_file();
            match (regular && several, member.size) {
                (false, _) => return Ok(Some(member)),
                (true, 0) => links.empty.push((identity, member)),
                (true, _) => {
                    links
                        .whole
                        .entry(identity)
                        .or_insert_with(|| member.name.clone());
                    return Ok(Some(member));
                }
            }
        }
    }

    /// The next member with its identity, and whether it has several names; [`None`] at the end.
    fn cpio_member(&mut self) -> io::Result<Option<(Identity, bool, RawMember)>> {
        self.pass()?;
        let mut header = [0; NEWC.len];
        let layout = match self.fill(&mut header[..MAGIC])? {
            true => layout(&header[..MAGIC]).ok_or_else(|| self.damaged())?,
            false => return Err(self.cut()),
        };
        let with_sums = header.starts_with(b"070702");
        let header = &mut header[..layout.len];
        if !self.fill(&mut header[MAGIC..])? {
            return Err(self.cut());
        }
        let number = |(at, len)| number(&header[at..at + len], layout.radix);
        let name_len = number(layout.name)?;
        let mut name = self.cpio_text(name_len)?;
        name.pop_if(|last| *last == 0);
        self.at(&name);
        self.skip = layout.padding(layout.len as u64 + name_len);
        if name == TRAILER {
            return Ok(None);
        }
        self.pass()?;
        let mode = u32::try_from(number(layout.mode)?).unwrap_or(0);
        let mut member = RawMember {
            kind: EntryType::Char,
            name,
            link: Vec::new(),
            size: number(layout.size)?,
            uid: number(layout.uid)?,
            gid: number(layout.gid)?,
            mode: mode & 0o7777,
            records: Vec::new(),
            sparse: None,
        };
        member.kind = match mode & S_IFMT {
            S_IFREG => EntryType::Regular,
            S_IFDIR => EntryType::Directory,
            S_IFLNK => EntryType::Symlink,
            _ => EntryType::Char,
        };
        let padding = layout.padding(member.size);
        match member.kind {
            EntryType::Regular => {
                self.skip = member.size + padding;
                if with_sums && member.size > 0 {
                    self.check = Some(Check {
                        expected: u32::try_from(number(CHECK)?).unwrap_or(0),
                        sum: 0,
                        left: member.size,
                    });
                }
            }
            EntryType::Symlink => {
                member.link = self.cpio_text(member.size)?;
                member.size = 0;
                self.skip = padding;
            }
            _ => {
                self.skip = member.size + padding;
                member.size = 0;
            }
        }
        let mut device = 0;
        for part in layout.dev {
            device = device << 32 | number(*part)?;
        }
        let identity = (device, number(layout.ino)?);
        Ok(Some((identity, number(layout.nlink)? > 1, member)))
    }

    fn cpio_text(&mut self, len: u64) -> io::Result<Vec<u8>> {
        if len > MAX_NAME {
            return Err(invalid("a name in a cpio archive that is too long"));
        }
        let mut text = Vec::new();
        (&mut self.from).take(len).read_to_end(&mut text)?;
        match text.len() as u64 == len {
            true => Ok(text),
            false => Err(self.cut()),
        }
    }

    fn damaged(&self) -> io::Error {
        match self.last() {
            "" => invalid("a damaged cpio header"),
            last => invalid(&format!("the archive is damaged after {last}")),
        }
    }
}

impl Links {
    /// One of those that came without content, as a link to the one that had it.
    fn last(&mut self) -> Option<RawMember> {
        let (identity, mut member) = self.empty.pop()?;
        if let Some(whole) = self.whole.get(&identity) {
            member.kind = EntryType::Link;
            member.link.clone_from(whole);
        }
        Some(member)
    }
}

impl Layout {
    /// Bytes after `len` others.
    fn padding(&self, len: u64) -> u64 {
        len.wrapping_neg() % self.align
    }
}

fn number(digits: &[u8], radix: u32) -> io::Result<u64> {
    let digits = digits.iter().map(|byte| char::from(*byte).to_digit(radix));
    digits
        .map(|digit| digit.map(u64::from))
        .try_fold(0, |number, digit| Some(number * u64::from(radix) + digit?))
        .ok_or_else(|| invalid("a number in a cpio header that is none"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn newc(name: &str, mode: u32, ino: u32, nlink: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        let (size, len) = (content.len() as u32, name.len() as u32 + 1);
        for field in [ino, mode, 1, 2, nlink, 0, size, 0, 0, 0, 0, len, 0] {
            bytes.extend(format!("{field:08x}").bytes());
        }
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn sample() -> Vec<u8> {
        [
            newc(".", 0o040_755, 1, 2, b""),
            newc("a", 0o100_644, 2, 2, b""),
            newc("link", 0o120_777, 3, 1, b"target"),
            newc("b", 0o100_644, 2, 2, b"abc"),
            newc("lone", 0o100_600, 4, 2, b""),
            newc("TRAILER!!!", 0, 0, 1, b""),
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<(String, EntryType, String)>> {
        let mut stream = Stream::cpio(bytes);
        let mut members = Vec::new();
        while let Some(member) = stream.next()? {
            let mut content = member.link;
            stream.content(member.size).read_to_end(&mut content)?;
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            members.push((text(&member.name), member.kind, text(&content)));
        }
        Ok(members)
    }

    #[test]
    fn members_and_their_links() {
        let expected = [
            (".", EntryType::Directory, ""),
            ("link", EntryType::Symlink, "target"),
            ("b", EntryType::Regular, "abc"),
            ("lone", EntryType::Regular, ""),
            ("a", EntryType::Link, "b"),
        ];
        let expected = expected.map(|(name, kind, text)| (name.to_owned(), kind, text.to_owned()));
        assert_eq!(read(&sample()).unwrap(), expected);
        for end in 0..sample().len() - 3 {
            assert!(read(&sample()[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn sums_are_verified() {
        let mut bytes = sample();
        for at in 0..bytes.len() - 6 {
            if bytes[at..].starts_with(b"070701") {
                bytes[at + 5] = b'2';
            }
        }
        // Where the headers have no sums.
        assert!(read(&bytes).is_err());
        let at = bytes.windows(3).position(|bytes| bytes == b"abc").unwrap();
        let header = bytes[..at]
            .windows(6)
            .rposition(|bytes| bytes == b"070702")
            .unwrap();
        bytes[header + 102..header + 110].copy_from_slice(b"00000126");
        assert_eq!(read(&bytes).unwrap(), read(&sample()).unwrap());
        let mut stream = Stream::cpio(&bytes[..]);
        while stream.next().unwrap().is_some() {}
        bytes[at] ^= 1;
        assert!(read(&bytes).is_err());
        let mut stream = Stream::cpio(&bytes[..]);
        let skipped = std::iter::from_fn(|| stream.next().transpose());
        assert!(skipped.collect::<io::Result<Vec<_>>>().is_err());
    }

    proptest! {
        #[test]
        fn hostile_archives_do_not_panic(
            changes in proptest::collection::vec((0..600_usize, any::<u8>()), 0..8),
            digits in proptest::collection::vec((0..600_usize, "[0-9a-f]"), 0..8),
        ) {
            let mut bytes = sample();
            let digits = digits.iter().map(|(at, digit)| (*at, digit.as_bytes()[0]));
            for (at, byte) in changes.into_iter().chain(digits) {
                let len = bytes.len();
                bytes[at % len] = byte;
            }
            let _ = read(&bytes);
        }
    }
}
