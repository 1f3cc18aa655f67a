// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection: how one talks, and how long is waited for it.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::app::{App, Doors};
use crate::crew::Crew;
use crate::crowd::One;
use crate::proxies::Client;
use crate::stall::{Pulse, Taken};
use crate::streams::Beside;
use crate::watch::add;

/// Bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;

/// Lines of a request's head.
const MAX_HEADERS: usize = 100;

/// Requests at once in one connection of HTTP/2.
const MAX_STREAMS: u32 = 256;

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until they say what they want.
    pub(crate) silence: Duration,
    /// Until they take something of what is sent to them.
    pub(crate) sending: Duration,
}

/// A connection on which it is clear how one talks.
enum Stream {
    Plain(Taken<TcpStream>),
    Tls(Box<TlsStream<Taken<TcpStream>>>),
}

/// Whether a client begins as one of HTTP/2 does, without having asked whether it may.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    const BEGINNING: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut first = [0; BEGINNING.len()];
    loop {
        let len = stream.peek(&mut first).await?;
        if len == first.len() || first[..len] != BEGINNING[..len] || len == 0 {
            return Ok(first == *BEGINNING);
        }
        // What was seen is still there, so that nobody would say that more has come.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection.
pub(crate) struct Talk {
    service: Arc<Doors>,
    app: Arc<App>,
    /// Who talks.
    client: Client,
    patience: Patience,
    _place: Place,
}

/// A connection's place among all, and among its client's.
type Place = (OwnedSemaphorePermit, Option<One>);

impl Drop for Talk {
    fn drop(&mut self) {
        let open = &self.app.counters.connections;
        open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Talk {
    pub(crate) fn new(
        service: &Arc<Doors>,
        app: &Arc<App>,
        client: Client,
        patience: Patience,
        place: Place,
    ) -> Self {
        add(&app.counters.connections, 1);
        Self {
            service: Arc::clone(service),
            app: Arc::clone(app),
            client,
            patience,
            _place: place,
        }
    }

    /// Lets the crew see to it, until it ends, or `farewell` has a word.
    pub(crate) fn begin(
        self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        crew: &Crew,
        farewell: watch::Receiver<()>,
    ) -> io::Result<()> {
        // Answers are small, and the next request waits for them.
        let _ = stream.set_nodelay(true);
        crew.see_to(stream, |stream| self.agree(stream, tls, farewell))
    }

    /// Finds out how one talks, and does it.
    async fn agree(
        self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        farewell: watch::Receiver<()>,
    ) {
        let taken = |stream| Taken::new(stream, self.patience.sending);
        let agreed = tokio::time::timeout(self.patience.silence, async {
            Ok::<_, io::Error>(match tls {
                None => (is_http2(&stream).await?, Stream::Plain(taken(stream))),
                Some(tls) => {
                    let stream = tls.accept(taken(stream)).await?;
                    let protocol = stream.get_ref().1.alpn_protocol();
                    (protocol == Some(b"h2"), Stream::Tls(Box::new(stream)))
                }
            })
        });
        match agreed.await {
            Ok(Ok((http2, Stream::Plain(stream)))) => self.go_on(stream, http2, farewell).await,
            Ok(Ok((http2, Stream::Tls(stream)))) => self.go_on(stream, http2, farewell).await,
            Ok(Err(error)) => tracing::debug!("{}: {error}", self.client.address),
            Err(_) => {
                tracing::debug!("{}: says nothing, or not how to talk", self.client.address);
            }
        }
    }

    async fn go_on(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        http2: bool,
        mut farewell: watch::Receiver<()>,
    ) {
        let client = self.client;
        let pulse = http2.then(Arc::<Pulse>::default);
        let service = (Arc::clone(&self.service), pulse.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (service, pulse) = service.clone();
            async move {
                let answer = service.answer(request.map(Body::new), client);
                Ok::<_, Infallible>(match &pulse {
                    None => answer.await,
                    Some(pulse) => Pulse::answer(pulse, answer).await,
                })
            }
        });
        let beside = Beside::default();
        let builder = self.builder(beside.clone(), http2);
        let connection = builder.serve_connection(TokioIo::new(stream), answer);
        let goes_on = async {
            let mut connection = pin!(connection);
            let Patience { silence, sending } = self.patience;
            let falls_silent = async {
                match &pulse {
                    // HTTP/1 is waited for by hyper.
                    None => std::future::pending().await,
                    Some(pulse) => pulse.falls_silent(silence, sending).await,
                }
            };
            let is_silent = tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                _ = farewell.changed() => false,
                () = falls_silent => true,
            };
            connection.as_mut().graceful_shutdown();
            match is_silent {
                false => connection.await,
                true => {
                    // It need not hear even that.
                    let ended = tokio::time::timeout(silence, connection).await;
                    ended.unwrap_or_else(|_| Err("says nothing, or takes nothing".into()))
                }
            }
        };
        if let Err(error) = beside.go_on(goes_on).await {
            tracing::debug!("{}: {error}", client.address);
        }
    }

    fn builder(&self, beside: Beside, http2: bool) -> Builder<Beside> {
        let builder = Builder::new(beside);
        let mut builder = match http2 {
            true => builder.http2_only(),
            false => builder.http1_only(),
        };
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.silence)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(64 << 10)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .keep_alive_interval(Some(Duration::from_secs(60)))
            .keep_alive_timeout(Duration::from_secs(30));
        builder
    }
}
