// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a client without TLS speaks HTTP/2: it then sends the preface first.

use std::io::{self, Cursor};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// The bytes that an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear whether the client speaks HTTP/2. Returns that, and a stream that begins with what was
/// read.
pub(crate) async fn read<S: AsyncRead + AsyncWrite>(
    stream: S,
) -> io::Result<(bool, impl AsyncRead + AsyncWrite + Unpin)> {
    let (mut reader, writer) = tokio::io::split(stream);
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let mut rest = (&mut reader).take((PREFACE.len() - first.len()) as u64);
        if rest.read_buf(&mut first).await? == 0 {
            break;
        }
    }
    let http2 = first == PREFACE;
    let reader = Cursor::new(first).chain(reader);
    Ok((http2, tokio::io::join(reader, writer)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    proptest! {
        /// However the bytes come, all of them are read, and HTTP/2 is told by its preface.
        #[test]
        fn nothing_is_lost(
            prefix in 0..=24usize,
            rest in proptest::collection::vec(any::<u8>(), 0..40),
            pieces in proptest::collection::vec(1..9usize, 1..9),
        ) {
            let sent = [&PREFACE[..prefix], &rest].concat();
            let (http2, came) = runtime().block_on(async {
                let (mut theirs, ours) = tokio::io::duplex(4);
                let send = async {
                    let mut left = sent.as_slice();
                    for len in pieces.iter().cycle() {
                        let (piece, after) = left.split_at((*len).min(left.len()));
                        theirs.write_all(piece).await.unwrap();
                        left = after;
                        if left.is_empty() {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                    drop(theirs);
                };
                let receive = async {
                    let (http2, mut stream) = read(ours).await.unwrap();
                    let mut came = Vec::new();
                    stream.read_to_end(&mut came).await.unwrap();
                    (http2, came)
                };
                tokio::join!(send, receive).1
            });
            prop_assert_eq!(http2, sent.starts_with(PREFACE));
            prop_assert_eq!(came, sent);
        }
    }
}
