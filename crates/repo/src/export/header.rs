// SPDX-License-Identifier: MIT OR Apache-2.0
//! Headers of tar members, in GNU's format as libarchive writes it, byte for byte.

use oxtree_format::Xattrs;

/// The unit of everything in a tar file, in bytes.
pub(super) const BLOCK: usize = 512;

/// Where the fields of a header are: first byte, length.
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const UID: (usize, usize) = (108, 8);
const GID: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MTIME: (usize, usize) = (136, 12);
const CHECKSUM: (usize, usize) = (148, 8);
const KIND: usize = 156;
const LINK: (usize, usize) = (157, 100);
const MAGIC: (usize, usize) = (257, 8);
const USER: (usize, usize) = (265, 32);
const GROUP: (usize, usize) = (297, 32);

/// The largest time that a header holds: eleven octal digits.
const MAX_TIME: i64 = 0o77_777_777_777;

/// A member of a tar file.
pub(super) struct Member<'a> {
    pub(super) kind: Kind<'a>,
    /// Its path; that of a directory ends with a slash.
    pub(super) name: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    pub(super) xattrs: &'a Xattrs,
}

/// What a member is.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// A regular file of so many bytes, which follow the header.
    File(u64),
    Dir,
    /// The same file as this member before it.
    Same(&'a [u8]),
    /// A symbolic link to this.
    Link(&'a [u8]),
}

impl Member<'_> {
    /// Everything that comes before the content: the header, and before it what does not fit in
    /// there.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (code, size, link) = match self.kind {
            Kind::File(size) => (b'0', size, &b""[..]),
            Kind::Same(name) => (b'1', 0, name),
            Kind::Link(target) => (b'2', 0, target),
            Kind::Dir => (b'5', 0, &b""[..]),
        };
        if !self.xattrs.is_empty() {
            self.write_xattrs(out);
        }
        if link.len() > LINK.1 {
            long(b'K', link, link, out);
        }
        if self.name.len() > NAME.1 {
            long(b'L', self.name, link, out);
        }
        let mut header = Header::new(code, self.name, link);
        header.octal(MODE, u64::from(self.mode & 0o7777));
        header.number(UID, u64::from(self.uid));
        header.number(GID, u64::from(self.gid));
        header.number(SIZE, size);
        header.octal(MTIME, self.mtime.clamp(0, MAX_TIME).unsigned_abs());
        out.extend(header.finish());
    }

    /// GNU's format has no extended attributes (libostree's exports lack them therefore), but each
    /// reader takes them from an extended header of POSIX, whatever comes after it.
    fn write_xattrs(&self, out: &mut Vec<u8>) {
        let mut records = Vec::new();
        // libarchive turns the order round, and libostree 2022.7 commits them as they come.
        let xattrs: Vec<(&[u8], &[u8])> = self.xattrs.iter().collect();
        for (name, value) in xattrs.into_iter().rev() {
            record(&[b"SCHILY.xattr.", name].concat(), value, &mut records);
        }
        let name = [b"PaxHeaders/", self.name].concat();
        let name = name.strip_suffix(b"/").unwrap_or(&name);
        let mut header = Header::new(b'x', &name[..name.len().min(NAME.1)], b"");
        header.octal(MODE, 0o644);
        header.octal(UID, 0);
        header.octal(GID, 0);
        header.number(SIZE, records.len() as u64);
        header.octal(MTIME, self.mtime.clamp(0, MAX_TIME).unsigned_abs());
        out.extend(header.finish());
        out.extend(&records);
        pad(out, records.len() as u64);
    }
}

/// Fills up with zeros after so many bytes of content.
pub(super) fn pad(out: &mut Vec<u8>, len: u64) {
    let over = (len % BLOCK as u64) as usize;
    if over > 0 {
        out.resize(out.len() + BLOCK - over, 0);
    }
}

/// A line `LENGTH KEY=VALUE`, in which the length counts its own digits.
fn record(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend(len.to_string().as_bytes());
    out.push(b' ');
    out.extend(key);
    out.push(b'=');
    out.extend(value);
    out.push(b'\n');
}

/// A name or link target that is too long for the header that follows.
fn long(code: u8, text: &[u8], link: &[u8], out: &mut Vec<u8>) {
    let mut header = Header::new(code, b"././@LongLink", link);
    let len = text.len() as u64 + 1;
    header.octal(MODE, 0);
    header.octal(UID, 0);
    header.octal(GID, 0);
    header.number(SIZE, len);
    header.octal(MTIME, 0);
    header.put(USER, b"root");
    header.put(GROUP, b"wheel");
    out.extend(header.finish());
    out.extend(text);
    out.push(0);
    pad(out, len);
}

struct Header([u8; BLOCK]);

impl Header {
    fn new(code: u8, name: &[u8], link: &[u8]) -> Self {
        let mut header = Self([0; BLOCK]);
        header.put(NAME, name);
        header.put(LINK, link);
        header.put(MAGIC, b"ustar  \0");
        header.0[KIND] = code;
        header
    }

    fn field(&mut self, (first, len): (usize, usize)) -> &mut [u8] {
        &mut self.0[first..first + len]
    }

    /// As much of the text as there is room for.
    fn put(&mut self, field: (usize, usize), text: &[u8]) {
        let field = self.field(field);
        let len = text.len().min(field.len());
        field[..len].copy_from_slice(&text[..len]);
    }

    /// Octal digits, and a NUL after them.
    fn octal(&mut self, field: (usize, usize), value: u64) {
        let digits = field.1 - 1;
        self.put(field, format!("{value:0digits$o}").as_bytes());
    }

    /// Octal digits, or in binary what is too large for that.
    fn number(&mut self, field: (usize, usize), value: u64) {
        if value >> (3 * (field.1 - 1)) == 0 {
            return self.octal(field, value);
        }
        let bytes = value.to_be_bytes();
        let field = self.field(field);
        // Of eight bytes the first is the mark: what is in such a field is an owner, 32 bits.
        let len = bytes.len().min(field.len() - 1);
        let at = field.len() - len;
        field[at..].copy_from_slice(&bytes[bytes.len() - len..]);
        field[0] = 0x80;
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.field(CHECKSUM).fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.put(CHECKSUM, format!("{sum:06o}\0").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for (value, len) in [(1, 6), (4, 9), (5, 11), (92, 98), (93, 99), (94, 101)] {
            let mut out = Vec::new();
            record(b"k", &vec![b'v'; value], &mut out);
            assert_eq!(out.len(), len);
            let (number, _) = out.split_at(out.iter().position(|b| *b == b' ').unwrap());
            assert_eq!(std::str::from_utf8(number).unwrap(), out.len().to_string());
        }
    }

    #[test]
    fn numbers_that_do_not_fit() {
        let mut header = Header::new(b'0', b"x", b"");
        header.number(UID, 0o7_777_777);
        header.number(GID, 0o10_000_000);
        header.number(SIZE, u64::MAX);
        assert_eq!(header.field(UID), b"7777777\0");
        assert_eq!(header.field(GID), [0x80, 0, 0, 0, 0, 0x20, 0, 0]);
        let mut size = [0xff; 12];
        size[..4].copy_from_slice(&[0x80, 0, 0, 0]);
        assert_eq!(header.field(SIZE), size);
    }
}
