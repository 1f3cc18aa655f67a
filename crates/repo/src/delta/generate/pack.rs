// SPDX-License-Identifier: MIT OR Apache-2.0
//! A part's file: packed, hashed and counted as it is written.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use lzma_rust2::{CheckType, EncodeMode, LzmaOptions, MfType, XzOptions, XzWriter};
use oxtree_format::Checksum;
use oxtree_format::checksum::Hashing;
use oxtree_format::delta::NewOperations;
use oxtree_format::delta::part::{Layout, XZ};

/// How far back the packer looks, in bytes. libostree's 32 MiB need 370 MB of memory a packer.
const DICTIONARY: u32 = 2 << 20;

/// A payload on its way into its file. The blob is written as it comes, the rest is small.
pub(super) struct Packer<'f> {
    xz: XzWriter<Hashing<BufWriter<&'f File>>>,
    modes: u64,
    head: u64,
    blob: u64,
    pub(super) operations: NewOperations,
}

impl<'f> Packer<'f> {
    /// Begins a part that has these lists of modes and extended attributes.
    pub(super) fn new(file: &'f File, modes: &[u8], xattrs: &[u8]) -> io::Result<Self> {
        let mut file = Hashing::new(BufWriter::with_capacity(64 << 10, file));
        file.write_all(&[XZ])?;
        let mut options = XzOptions {
            lzma_options: LzmaOptions {
                dict_size: DICTIONARY,
                mode: EncodeMode::Normal,
                mf: MfType::Bt4,
                nice_len: 64,
                ..LzmaOptions::default()
            },
            ..XzOptions::default()
        };
        options.set_check_sum_type(CheckType::Crc64);
        let mut xz = XzWriter::new(file, options)?;
        xz.write_all(modes)?;
        xz.write_all(xattrs)?;
        Ok(Self {
            xz,
            modes: modes.len() as u64,
            head: (modes.len() + xattrs.len()) as u64,
            blob: 0,
            operations: NewOperations::default(),
        })
    }

    /// How long the blob is.
    pub(super) fn blob(&self) -> u64 {
        self.blob
    }

    /// Ends the part: the size of its file, and its checksum.
    pub(super) fn finish(mut self) -> io::Result<(u64, Checksum)> {
        let blob = self.head + self.blob;
        let operations = self.operations.as_bytes();
        self.xz.write_all(operations)?;
        let end = blob + operations.len() as u64;
        self.xz
            .write_all(&Layout::tail(self.modes, self.head, blob, end))?;
        let mut file = self.xz.finish()?;
        file.flush()?;
        Ok((file.count(), file.finish()))
    }
}

/// Adds to the blob.
impl Write for Packer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.xz.write(bytes)?;
        self.blob += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
