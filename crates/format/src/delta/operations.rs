// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations of a part as they are written.

use std::ops::Range;

/// Operations that are written.
#[derive(Clone, Debug, Default)]
pub struct NewOperations(Vec<u8>);

impl NewOperations {
    /// The operations' bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Metadata, all of it in the blob.
    pub fn metadata(&mut self, place: Range<u64>) {
        self.put(b'S', &[place.end - place.start, place.start]);
    }

    /// A file, all of whose content is in the blob.
    pub fn whole(&mut self, mode: u64, xattrs: u64, content: Range<u64>) {
        self.put(
            b'S',
            &[mode, xattrs, content.end - content.start, content.start],
        );
    }

    /// Begins a file that is made of pieces.
    pub fn open(&mut self, mode: u64, xattrs: u64, size: u64) {
        self.put(b'o', &[mode, xattrs, size]);
    }

    /// The following operations read the file object whose checksum is at `at` in the blob.
    pub fn source(&mut self, at: u64) {
        self.put(b'r', &[at]);
    }

    /// The following operations read the blob.
    pub fn no_source(&mut self) {
        self.put(b'R', &[]);
    }

    /// Bytes of the source, or the blob if there is none.
    pub fn write(&mut self, offset: u64, len: u64) {
        self.put(b'w', &[len, offset]);
    }

    /// A patch of the source.
    pub fn patch(&mut self, patch: Range<u64>) {
        self.put(b'B', &[patch.start, patch.end - patch.start]);
    }

    /// Ends a file that is made of pieces.
    pub fn close(&mut self) {
        self.put(b'c', &[]);
    }

    fn put(&mut self, letter: u8, numbers: &[u64]) {
        self.0.push(letter);
        for number in numbers {
            let mut number = *number;
            while number >= 0x80 {
                self.0.push(number as u8 | 0x80);
                number >>= 7;
            }
            self.0.push(number as u8);
        }
    }
}
