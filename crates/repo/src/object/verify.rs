// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is an object what its name says?

use std::io::{self, Read};

use oxtree_format::{Checksum, FileId, FilezHeader, ObjectId, ObjectKind};

use super::metadata::check_metadata;
use super::read::FileObject;
use crate::{Error, FileContent, Repo, Result};

/// A good size for the buffer of [`Repo::verify_object`], in bytes.
pub const BUFFER: usize = 128 << 10;

impl Repo {
    /// Reads an object, computes its checksum, and checks its structure. File content goes
    /// piecewise through `buffer`, which must not be empty.
    ///
    /// The error is one of missing objects, a mismatch, a corrupt object, or of the system.
    pub fn verify_object(&self, object: &ObjectId, buffer: &mut [u8]) -> Result<()> {
        if object.kind == ObjectKind::File {
            return self.verify_file(FileId(object.checksum), buffer);
        }
        let bytes = self.load_metadata(object)?;
        verify_metadata(object, &bytes)
    }

    fn verify_file(&self, id: FileId, buffer: &mut [u8]) -> Result<()> {
        let object = id.object();
        let FileObject {
            header,
            size,
            mut content,
        } = self.open_file(id)?;
        let mut hasher = header.hasher();
        let mut read = 0;
        loop {
            match content.read(buffer) {
                Ok(0) => break,
                Ok(len) => {
                    read += len as u64;
                    hasher.update(&buffer[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(&object, error)),
            }
            // What inflates to more than it says is not read to its end, which may be far.
            if read > size {
                break;
            }
        }
        if read > size {
            let reason = format!("content is longer than {size} bytes");
            return Err(Error::corrupt(id, reason));
        }
        compare(&object, hasher.finish())?;
        if read < size {
            let reason = format!("{size} bytes of content promised, {read} found");
            return Err(Error::corrupt(id, reason));
        }
        let trailing = match content {
            FileContent::Deflated(decoder) => {
                let mut left = [0];
                let read = decoder.into_inner().read(&mut left);
                read.map_err(|error| self.read_error(&object, error))? > 0
            }
            FileContent::None if self.mode().is_archive() => {
                let file = FilezHeader { size, file: header };
                self.stored_size(&object)? != file.stored_bytes().len() as u64
            }
            FileContent::None | FileContent::Plain(_) => false,
        };
        match trailing {
            true => Err(Error::corrupt(id, "bytes after the end of the content")),
            false => Ok(()),
        }
    }

    /// The decoder's errors say that the bytes are wrong, all others that the system failed.
    pub(crate) fn read_error(&self, object: &ObjectId, error: io::Error) -> Error {
        match error.raw_os_error() {
            None => Error::corrupt(*object, error),
            Some(_) => self.object_io("reading", &self.loose(object))(error),
        }
    }
}

/// Whether these are the bytes of a metadata object.
pub(super) fn verify_metadata(object: &ObjectId, bytes: &[u8]) -> Result<()> {
    if object.kind.is_content_addressed() {
        check_checksum(object, bytes)?;
    }
    check_metadata(object, bytes)
}

/// Checks that a metadata object is what its name says.
///
/// # Errors
/// [`Error::ChecksumMismatch`] with both checksums.
pub fn check_checksum(object: &ObjectId, bytes: &[u8]) -> Result<()> {
    compare(object, Checksum::of(bytes))
}

fn compare(expected: &ObjectId, actual: Checksum) -> Result<()> {
    match expected.checksum == actual {
        true => Ok(()),
        false => Err(Error::ChecksumMismatch {
            expected: *expected,
            actual,
        }),
    }
}
