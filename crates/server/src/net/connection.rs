// SPDX-License-Identifier: MIT OR Apache-2.0
//! CountedConnection connection: its settings, and its timeouts.
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

use super::connection_limit::CountedConnection;
use super::delivery::outgoing;
use super::executor::Executor;
use super::preface;
use super::workers::WorkerPool;
use super::write_timeout::WriteTimeout;
use crate::app::App;
use crate::metrics::add;
use crate::proxies::Peer;
use crate::routes::Service;

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
pub(crate) struct Timeouts {
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
pub(crate) struct Connection {
    service: Arc<Service>,
    app: Arc<App>,
    /// The peer.
    client: Peer,
    timeouts: Timeouts,
    _place: Place,
}

/// A connection's place among all, and among its client's.
type Place = (OwnedSemaphorePermit, Option<CountedConnection>);

impl Drop for Connection {
    fn drop(&mut self) {
        let open = &self.app.counters.connections;
        open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Connection {
    pub(crate) fn new(
        service: &Arc<Service>,
        app: &Arc<App>,
        client: Peer,
        timeouts: Timeouts,
        place: Place,
    ) -> Self {
        add(&app.counters.connections, 1);
        Self {
            service: Arc::clone(service),
            app: Arc::clone(app),
            client,
            timeouts,
            _place: place,
        }
    }

    /// Lets the workers see to it, until it ends, or `shutdown` has a word.
    pub(crate) fn begin(
        self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        workers: &WorkerPool,
        shutdown: watch::Receiver<()>,
    ) -> io::Result<()> {
        // Answers are small, and the next request waits for them.
        let _ = stream.set_nodelay(true);
        workers.spawn(stream, |stream| self.detect_protocol(stream, tls, shutdown))
    }

    /// Finds out how one talks, and does it.
    async fn detect_protocol(
        self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        shutdown: watch::Receiver<()>,
    ) {
        let Timeouts { silence, sending } = self.timeouts;
        let stream = WriteTimeout::new(stream, sending);
        let agreed = async {
            Ok::<_, io::Error>(match tls {
                None => Stream::Plain(timeout(silence, preface::read(stream)).await??),
                Some(tls) => Stream::Tls(timeout(silence, tls.accept(stream)).await??),
            })
        };
        match agreed.await {
            Ok(Stream::Plain((http2, stream))) => self.serve(stream, http2, shutdown).await,
            Ok(Stream::Tls(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.serve(stream, http2, shutdown).await;
            }
            Err(error) => tracing::debug!("{}: {error}", self.client.address),
        }
    }

    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        http2: bool,
        mut shutdown: watch::Receiver<()>,
    ) {
        let client = self.client;
        let Timeouts { silence, sending } = self.timeouts;
        let executor = Executor::new(sending);
        let service = Arc::clone(&self.service);
        let answers = executor.clone();
        // Bytes of answers that this connection holds.
        let held = Arc::<AtomicUsize>::default();
        let answer = service_fn(move |request: Request<Incoming>| {
            let delivery = http2.then(|| answers.delivery());
            let (service, held) = (Arc::clone(&service), Arc::clone(&held));
            async move {
                let request = request.map(Body::new);
                let response = service.answer(request, client, &held).await;
                Ok::<_, Infallible>(response.map(|body| outgoing(body, delivery)))
            }
        });
        let builder = self.builder(executor.clone(), http2);
        let connection = builder.serve_connection(TokioIo::new(stream), answer);
        let ends = executor.clone();
        let goes_on = async {
            let mut connection = pin!(connection);
            let has_to_end = async {
                match http2 {
                    // HTTP/1 is waited for by hyper.
                    false => std::future::pending().await,
                    true => ends.must_close(silence).await,
                }
            };
            let is_late = tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                _ = shutdown.changed() => false,
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
        if let Err(error) = executor.drive(goes_on).await {
            tracing::debug!("{}: {error}", client.address);
        }
    }

    fn builder(&self, executor: Executor, http2: bool) -> Builder<Executor> {
        let builder = Builder::new(executor);
        let mut builder = match http2 {
            true => builder.http2_only(),
            false => builder.http1_only(),
        };
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.silence)
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
