// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection: its settings, and its timeouts.
//!
//! HTTP/2 frames are written one by one. Gathering the frames of one turn in a buffer was tried
//! and reverted: `ostree pull` (libcurl 7.88) then stalled now and then until the next ping, for
//! an unknown reason.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
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
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::app::{App, Doors};
use crate::crew::Crew;
use crate::crowd::One;
use crate::delivery::Outgoing;
use crate::preface;
use crate::proxies::Client;
use crate::stall::Taken;
use crate::streams::Beside;
use crate::watch::add;

/// Bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;

/// The same for each stream of HTTP/2, of which a connection has many.
const MAX_HEAD_HTTP2: u32 = 16 << 10;

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
enum Stream<P, T> {
    /// And whether in HTTP/2.
    Plain((bool, P)),
    Tls(T),
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
        let Patience { silence, sending } = self.patience;
        let stream = Taken::new(stream, sending);
        let agreed = async {
            Ok::<_, io::Error>(match tls {
                None => Stream::Plain(timeout(silence, preface::read(stream)).await??),
                Some(tls) => Stream::Tls(timeout(silence, tls.accept(stream)).await??),
            })
        };
        match agreed.await {
            Ok(Stream::Plain((http2, stream))) => self.go_on(stream, http2, farewell).await,
            Ok(Stream::Tls(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.go_on(stream, http2, farewell).await;
            }
            Err(error) => tracing::debug!("{}: {error}", self.client.address),
        }
    }

    async fn go_on(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        http2: bool,
        mut farewell: watch::Receiver<()>,
    ) {
        let client = self.client;
        let Patience { silence, sending } = self.patience;
        let beside = Beside::new(sending);
        let service = Arc::clone(&self.service);
        let answers = beside.clone();
        // Bytes of answers that this connection holds.
        let held = Arc::<AtomicUsize>::default();
        let answer = service_fn(move |request: Request<Incoming>| {
            let delivery = http2.then(|| answers.delivery());
            let (service, held) = (Arc::clone(&service), Arc::clone(&held));
            async move {
                let request = request.map(Body::new);
                let response = service.answer(request, client, &held).await;
                Ok::<_, Infallible>(response.map(|body| Outgoing::new(body, delivery)))
            }
        });
        let builder = self.builder(beside.clone(), http2);
        let connection = builder.serve_connection(TokioIo::new(stream), answer);
        let ends = beside.clone();
        let goes_on = async {
            let mut connection = pin!(connection);
            let has_to_end = async {
                match http2 {
                    // HTTP/1 is waited for by hyper.
                    false => std::future::pending().await,
                    true => ends.has_to_end(silence).await,
                }
            };
            let is_late = tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                _ = farewell.changed() => false,
                () = has_to_end => true,
            };
            connection.as_mut().graceful_shutdown();
            match is_late {
                false => connection.await,
                true => {
                    // The client may not read even that.
                    let ended = timeout(silence, connection).await;
                    ended.unwrap_or_else(|_| Err("asks for nothing, or reads nothing".into()))
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
            .max_header_list_size(MAX_HEAD_HTTP2)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .keep_alive_interval(Some(Duration::from_secs(60)))
            .keep_alive_timeout(Duration::from_secs(30));
        builder
    }
}
