// SPDX-License-Identifier: MIT OR Apache-2.0
//! zstd: frames, each with the checksum of its content if the packer made one.

use std::error::Error;
use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The largest window of a frame, in bytes: what `zstd -d` takes without `--long`.
const WINDOW: u64 = 128 << 20;

/// The frames of a zstd file, one after the other.
pub(super) struct Zstd<R> {
    stream: R,
    decoder: FrameDecoder,
    /// Whether the decoder is in a frame.
    inside: bool,
    /// Bytes of the frame that were given out.
    len: u64,
}

impl<R: BufRead> Zstd<R> {
    pub(super) fn new(stream: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Self {
            stream,
            decoder,
            inside: false,
            len: 0,
        }
    }

    /// Begins the next frame that holds something; false if there is none.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.stream.fill_buf()?.is_empty() {
            let length = match self.decoder.init(&mut self.stream) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => u64::from(length),
                Err(error) => return Err(malformed(&error)),
            };
            let skipped = io::copy(&mut (&mut self.stream).take(length), &mut io::sink())?;
            if skipped < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(false)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.inside = false;
        // 0 where the frame does not say its size.
        let size = self.decoder.content_size();
        let expected = self.decoder.get_checksum_from_data();
        let checked = expected.is_none() || expected == self.decoder.get_calculated_checksum();
        match checked && (size == 0 || size == self.len) {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.inside {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.inside = true;
                self.len = 0;
            }
            // What lies within the window is kept until the frame ends.
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.stream, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| malformed(&error))?;
            }
            match self.decoder.read(buffer)? {
                0 => self.end_frame()?,
                len => {
                    self.len += len as u64;
                    return Ok(len);
                }
            }
        }
    }
}

fn malformed(error: &FrameDecoderError) -> io::Error {
    if matches!(error, FrameDecoderError::WindowSizeTooBig { .. }) {
        return io::ErrorKind::OutOfMemory.into();
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => error.kind().into(),
            };
        }
        cause = error.source();
    }
    io::ErrorKind::InvalidData.into()
}
