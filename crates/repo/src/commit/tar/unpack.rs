// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tar streams as they come: plain, or packed by gzip, xz or zstd.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The largest dictionary of an xz stream, in KiB: four times that of `xz -9`.
const XZ_MEMORY: u32 = 256 << 10;

/// The largest window of a zstd frame, in bytes: what `zstd -d` takes without `--long`.
const ZSTD_WINDOW: u64 = 128 << 20;

/// `stream` unpacked, in whatever way it is packed.
pub(super) fn unpack<'r>(mut stream: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match stream.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(stream)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(XzReader::new_mem_limit(stream, true, XZ_MEMORY))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(Zstd::new(stream))
        }
        [b'B', b'Z', b'h', ..] => {
            return Err(unsupported(
                "packed by bzip2; only gzip, xz and zstd are read, unpack it first",
            ));
        }
        _ => Box::new(stream),
    })
}

fn unsupported(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The frames of a zstd file, one after the other.
struct Zstd<R> {
    stream: R,
    decoder: FrameDecoder,
    /// Whether the decoder is in a frame.
    inside: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(stream: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        Self {
            stream,
            decoder,
            inside: false,
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
        let expected = self.decoder.get_checksum_from_data();
        match expected.is_none() || expected == self.decoder.get_calculated_checksum() {
            true => Ok(()),
            false => Err(malformed(&"the checksum is wrong")),
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
            }
            // What lies within the window is kept until the frame ends.
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.stream, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| malformed(&error))?;
            }
            match self.decoder.read(buffer)? {
                0 => self.end_frame()?,
                len => return Ok(len),
            }
        }
    }
}

fn malformed(reason: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        unpack(packed)?.take(1 << 22).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn packed_by(program: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = bytes.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
        let out = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(out.status.success());
        out.stdout
    }

    fn content() -> Vec<u8> {
        (0..300_000_u32)
            .flat_map(|n| (n.wrapping_mul(n) / 7).to_le_bytes())
            .collect()
    }

    const PACKERS: [(&str, &[&str]); 4] = [
        ("gzip", &["-c"]),
        ("xz", &["-c", "-0"]),
        ("xz", &["-c", "--check=sha256", "--block-size=100000", "-1"]),
        ("zstd", &["-c", "-q", "--check"]),
    ];

    #[test]
    fn every_way_of_packing_several_in_a_row_and_cut() {
        let content = content();
        assert_eq!(unpacked(&content).unwrap(), content);
        assert_eq!(unpacked(b"").unwrap(), b"");
        for (program, args) in PACKERS {
            let packed = packed_by(program, args, &content);
            assert_eq!(unpacked(&packed).unwrap(), content, "{program} {args:?}");
            let twice = [&packed[..], &packed].concat();
            assert_eq!(unpacked(&twice).unwrap(), content.repeat(2), "{program}");
            for len in [8, packed.len() / 2, packed.len() - 1] {
                assert!(unpacked(&packed[..len]).is_err(), "{program}: {len}");
            }
        }
        let skippable = [&b"\x5a\x2a\x4d\x18\x03\0\0\0abc"[..]; 2].concat();
        let packed = packed_by("zstd", &["-c", "-q"], b"x");
        let framed = [&skippable[..], &packed, &skippable, &packed].concat();
        assert_eq!(unpacked(&framed).unwrap(), b"xx");
        assert!(unpacked(&framed[..6]).is_err());
    }

    #[test]
    fn damage_is_seen() {
        let content = content();
        for (program, args) in PACKERS {
            let mut packed = packed_by(program, args, &content);
            let middle = packed.len() / 2;
            packed[middle] ^= 0x10;
            assert!(
                unpacked(&packed).map_or(true, |bytes| bytes != content),
                "{program}: the same content from other bytes"
            );
            assert!(unpacked(&packed).is_err(), "{program} {args:?}");
        }
    }

    #[test]
    fn too_much_memory_is_not_given() {
        let packed = packed_by("xz", &["-c", "--lzma2=dict=512MiB"], b"x");
        assert!(unpacked(&packed).is_err());
        let packed = packed_by(
            "zstd",
            &["-c", "-q", "--ultra", "-22", "--long=30"],
            &content(),
        );
        // A stream that tells its size needs no more than that.
        assert!(unpacked(&packed).map_or(true, |bytes| bytes == content()));
        assert!(unpacked(b"BZh91AY&SY").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn hostile_streams_do_not_panic(
            magic in prop::sample::select(vec![
                &b"\x1f\x8b\x08\0"[..], b"\xfd7zXZ\0\0\x04", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18",
            ]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = unpacked(&[magic, &rest].concat());
        }
    }
}
