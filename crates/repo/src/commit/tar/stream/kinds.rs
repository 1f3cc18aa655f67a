// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types of members, and how much content each has.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::numbers::padded;
use super::{BLOCK, RawMember, Stream, invalid};

pub(super) const CONTINUED: &str = "this volume begins within a file whose beginning is on another one: join the volumes first, as tar -M reads them";

impl<R: Read> Stream<R> {
    /// Settles which kind a member is of, and how much content it has.
    pub(super) fn content_of(&mut self, header: &Header, member: &mut RawMember) -> io::Result<()> {
        let mut has_content = true;
        match member.kind.as_byte() {
            b'1' => has_content = self.posix,
            b'2'..=b'6' => has_content = false,
            b'D' => {
                member.kind = EntryType::Directory;
                return self.dumpdir(member);
            }
            b'M' => return Err(invalid(CONTINUED)),
            b'S' => member.sparse = Some(self.old_sparse(header)?),
            kind => {
                // Archives of before 1988 have no directories but this.
                let is_dir = member.name.ends_with(b"/");
                has_content = !is_dir;
                member.kind = if is_dir {
                    EntryType::Directory
                } else {
                    EntryType::Regular
                };
                if !matches!(kind, 0 | b'0' | b'7') {
                    let note = format!(
                        "{} is of the unknown type '{}' and was taken for a regular file",
                        self.last,
                        kind.escape_ascii()
                    );
                    self.notes.add(note);
                }
            }
        }
        self.claims = !has_content && member.size > 0;
        if !has_content {
            member.size = 0;
        }
        self.skip = padded(member.size)?;
        Ok(())
    }

    /// Reads the content of a directory of an incremental archive: a list of what was in it.
    fn dumpdir(&mut self, member: &mut RawMember) -> io::Result<()> {
        self.skip = padded(member.size)?;
        let (mut elsewhere, mut begins, mut some) = (false, true, [0; BLOCK]);
        let mut content = self.content(member.size);
        loop {
            match content.read(&mut some)? {
                0 => break,
                len => {
                    for byte in &some[..len] {
                        elsewhere |= begins && *byte == b'N';
                        begins = *byte == 0;
                    }
                }
            }
        }
        member.size = 0;
        self.claims = false;
        self.dumped(elsewhere);
        Ok(())
    }

    pub(super) fn dumped(&mut self, elsewhere: bool) {
        if elsewhere {
            let note = "an incremental archive: files that have not changed are not in it, and those that were deleted stay";
            self.notes.add(note.to_owned());
        }
    }
}

/// Whether a list of a directory's files has some that are not in this archive.
pub(super) fn names_another_archive(dumpdir: &[u8]) -> bool {
    dumpdir
        .split(|byte| *byte == 0)
        .any(|entry| entry.starts_with(b"N"))
}
