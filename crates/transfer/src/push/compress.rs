// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compresses the stream of objects with zstd. A zstd frame spans many payloads, so that content which
//! was sent a moment ago is not sent again.

#[cfg(feature = "zstd")]
pub(super) use with_zstd::Compressor;
#[cfg(not(feature = "zstd"))]
pub(super) use without::Compressor;

#[cfg(feature = "zstd")]
mod with_zstd {
    use std::io;

    use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

    use crate::error::{Error, Result};
    use crate::protocol::stream::ZSTD;

    /// The window, as a power of two. Twice as much packs a Debian upgrade no better, and both ends would hold
    /// it.
    const WINDOW_LOG: u32 = 22;

    /// A frame ends when it has come to so many bytes: the receiver can use the last window of it
    /// only then, and what it cannot use yet is lost if the connection is.
    const FRAME: usize = 2 << 20;

    /// The same where the link is so slow that the level is this, or more.
    const SMALL_FRAME: (i32, usize) = (8, 512 << 10);

    /// Packs pieces of the stream.
    #[derive(Default)]
    pub(in crate::push) struct Compressor {
        encoder: Option<Encoder<'static>>,
        /// Bytes of the frame so far; 0 if none was begun.
        frame: usize,
    }

    impl Compressor {
        /// Whether it can do anything.
        pub(in crate::push) const WORKS: bool = true;

        /// The next piece, as a payload.
        pub(in crate::push) fn pack(&mut self, piece: &[u8], level: i32) -> Result<Vec<u8>> {
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                none => none.insert(encoder(level).map_err(Error::Connection)?),
            };
            let mut payload = Vec::with_capacity(piece.len() / 2 + 1024);
            payload.push(ZSTD);
            let mut input = InBuffer::around(piece);
            while input.pos < piece.len() {
                step(&mut payload, |out| encoder.run(&mut input, out))?;
            }
            // Whole blocks: the receiver unpacks each payload as it comes.
            while step(&mut payload, |out| encoder.flush(out))? > 0 {}
            self.frame += payload.len();
            let most = match level >= SMALL_FRAME.0 {
                true => SMALL_FRAME.1,
                false => FRAME,
            };
            if self.frame >= most {
                self.finish(&mut payload)?;
            }
            Ok(payload)
        }

        /// The payload that ends the frame, if one was begun.
        pub(in crate::push) fn end(&mut self) -> Result<Option<Vec<u8>>> {
            if self.frame == 0 {
                return Ok(None);
            }
            let mut payload = vec![ZSTD];
            self.finish(&mut payload)?;
            Ok(Some(payload))
        }

        fn finish(&mut self, payload: &mut Vec<u8>) -> Result<()> {
            self.frame = 0;
            let Some(encoder) = &mut self.encoder else {
                return Ok(());
            };
            while step(payload, |out| encoder.finish(out, true))? > 0 {}
            encoder.reinit().map_err(Error::Connection)
        }
    }

    /// Makes room, and lets the encoder write into it.
    fn step<T>(
        to: &mut Vec<u8>,
        write: impl FnOnce(&mut OutBuffer<'_, Vec<u8>>) -> io::Result<T>,
    ) -> Result<T> {
        to.reserve(64 << 10);
        let at = to.len();
        write(&mut OutBuffer::around_pos(to, at)).map_err(Error::Connection)
    }

    fn encoder(level: i32) -> io::Result<Encoder<'static>> {
        let mut encoder = Encoder::new(level)?;
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
        encoder.set_parameter(CParameter::ContentSizeFlag(false))?;
        Ok(encoder)
    }
}

#[cfg(not(feature = "zstd"))]
mod without {
    use crate::error::{Error, Result};

    /// Packs nothing: the receiver is never told that it might.
    #[derive(Default)]
    pub(in crate::push) struct Compressor(());

    impl Compressor {
        pub(in crate::push) const WORKS: bool = false;

        pub(in crate::push) fn pack(&mut self, _piece: &[u8], _level: i32) -> Result<Vec<u8>> {
            Err(Error::Protocol("built without zstd".to_owned()))
        }

        pub(in crate::push) fn end(&mut self) -> Result<Option<Vec<u8>>> {
            Ok(None)
        }
    }
}
