// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections: taking them, and letting them end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use sd_notify::NotifyState;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::access::Permission;
use crate::app::{App, Doors};
use crate::crew::Crew;
use crate::jobs::Jobs;
use crate::proxies::Client;
use crate::streams::Beside;
use crate::tls::Certificate;
use crate::watch::add;
use crate::{Address, Config, Error, Result};

/// Bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;

/// Lines of a request's head.
const MAX_HEADERS: usize = 100;

/// How long requests may go on after the server was told to end.
const FAREWELL: Duration = Duration::from_secs(30);

/// How often is looked for pushes that have expired, refs that others have changed, and certificates that have.
const ROUND: Duration = Duration::from_secs(10);

/// Serves until the process is told to end (SIGTERM, SIGINT). `ready` is told where.
pub fn run(config: Config, ready: impl FnOnce(&[Address])) -> Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(system("starting threads"))?;
    let served = runtime.block_on(serve(config, ready));
    // What is still going on may take for ever, and is taken up again by the next one.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn system(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::System { action, source }
}

/// A socket, and whether one talks TLS there.
struct Door {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

async fn serve(mut config: Config, ready: impl FnOnce(&[Address])) -> Result<()> {
    raise_file_limit();
    let certificate = config.tls.take().map(Certificate::load).transpose()?;
    let doors = open(&config, certificate.as_ref()).await?;
    let addresses: Vec<Address> = addresses(&doors)?;
    if let Some(open) = addresses
        .iter()
        .find(|one| !one.tls && !one.address.ip().is_loopback() && !config.insecure)
    {
        return Err(Error::Insecure(open.address));
    }
    let reachable = addresses.iter().find(|one| !one.address.ip().is_loopback());
    if let Some(one) = reachable.filter(|_| config.anonymous.can(Permission::Promote)) {
        return Err(Error::OpenToAll(one.address));
    }
    let room = Arc::new(Semaphore::new(config.max_connections));
    let (patience, delay) = (config.header_timeout, config.shutdown_delay);
    let app = Arc::new(App::new(config)?);
    let service = Arc::new(Doors::new(&app));
    let watch = |kind| signal(kind).map_err(system("waiting for signals"));
    let mut term = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut hangup = watch(SignalKind::hangup())?;
    for site in &app.sites {
        tokio::spawn(Jobs::work(Arc::clone(site)));
        tokio::spawn(Jobs::call(Arc::clone(site)));
    }
    ready(&addresses);
    tell_system(NotifyState::Ready);
    let crew = Crew::start().map_err(system("starting threads"))?;
    let graceful = GracefulShutdown::new();
    let mut round = tokio::time::interval(ROUND);
    let mut end = None;
    loop {
        tokio::select! {
            taken = take(&doors, &room) => match taken {
                Ok((stream, from, door, permit)) => {
                    let talk = Talk {
                        service: Arc::clone(&service),
                        app: Arc::clone(&app),
                        client: Client {
                            address: from.ip().to_canonical(),
                            tls: door.tls.is_some(),
                        },
                        patience,
                        _permit: permit,
                    };
                    if let Err(error) = talk.begin(stream, door.tls.clone(), &crew, &graceful) {
                        tracing::warn!("taking a connection: {error}");
                    }
                }
                Err(error) => {
                    // Out of file descriptors, say: those that end make room.
                    tracing::warn!("taking a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = round.tick() => {
                let app = Arc::clone(&app);
                tokio::task::spawn_blocking(move || app.see_to());
                if let Some(certificate) = &certificate {
                    certificate.reload(false);
                }
            }
            _ = hangup.recv() => {
                app.reopen_logs();
                if let Some(certificate) = &certificate {
                    certificate.reload(true);
                }
            }
            _ = told_to_end(&mut term, &mut interrupt) => {
                tell_system(NotifyState::Stopping);
                // Whoever is in a hurry says it twice.
                if delay.is_zero() || app.is_ending() {
                    break;
                }
                app.end();
                end = Some(Instant::now() + delay);
            }
            () = at(end) => break,
        }
    }
    app.end();
    drop(doors);
    if tokio::time::timeout(FAREWELL, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests have not ended in time");
    }
    Ok(())
}

async fn told_to_end(term: &mut Signal, interrupt: &mut Signal) -> Option<()> {
    tokio::select! {
        told = term.recv() => told,
        told = interrupt.recv() => told,
    }
}

/// Waits until it is so late; for ever, if that is nowhen.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A connection needs a file, and so does what is read or written for it.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit of open files stays what it is: {error}");
    }
}

/// Lets systemd know, if that wants to.
fn tell_system(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("telling systemd: {error}");
    }
}

/// The sockets: those that systemd has opened for us, or else those that the configuration names.
async fn open(config: &Config, certificate: Option<&Arc<Certificate>>) -> Result<Vec<Door>> {
    let acceptor = certificate.map(Certificate::acceptor).transpose()?;
    let mut doors = Vec::new();
    // `FileDescriptorName=` of the units of systemd.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut given = listenfd::ListenFd::from_env();
    for at in 0..given.len() {
        let name = names.next().unwrap_or_default();
        let of_systemd = system("taking systemd's sockets");
        let taken = given.take_tcp_listener(at).map_err(&of_systemd)?;
        let Some(listener) = taken else { continue };
        listener.set_nonblocking(true).map_err(&of_systemd)?;
        let address = listener.local_addr().map_err(&of_systemd)?;
        let tls = match (name, &acceptor) {
            ("plain", _) => None,
            ("tls", None) => return Err(Error::NoCertificate(address)),
            (_, acceptor) => acceptor.clone(),
        };
        let listener = TcpListener::from_std(listener).map_err(&of_systemd)?;
        doors.push(Door { listener, tls });
    }
    if !doors.is_empty() {
        return Ok(doors);
    }
    for Address { address, tls } in config.listen.iter().copied() {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        let tls = match (tls, &acceptor) {
            (false, _) => None,
            (true, Some(acceptor)) => Some(acceptor.clone()),
            (true, None) => return Err(Error::NoCertificate(address)),
        };
        doors.push(Door { listener, tls });
    }
    Ok(doors)
}

fn addresses(doors: &[Door]) -> Result<Vec<Address>> {
    let addresses = doors.iter().map(|door| {
        let address = door.listener.local_addr().map_err(system("listening"))?;
        let tls = door.tls.is_some();
        Ok(Address { address, tls })
    });
    addresses.collect()
}

type Taken<'d> = (TcpStream, SocketAddr, &'d Door, OwnedSemaphorePermit);

/// The next connection, once there is room for one more.
async fn take<'d>(doors: &'d [Door], room: &Arc<Semaphore>) -> io::Result<Taken<'d>> {
    let permit = Arc::clone(room).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, from, door) = std::future::poll_fn(|context| {
        for door in doors {
            if let Poll::Ready(accepted) = door.listener.poll_accept(context) {
                return Poll::Ready(accepted.map(|(stream, from)| (stream, from, door)));
            }
        }
        Poll::Pending
    })
    .await?;
    Ok((stream, from, door, permit))
}

/// A connection on which it is clear how one talks.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
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
struct Talk {
    service: Arc<Doors>,
    app: Arc<App>,
    /// Who talks.
    client: Client,
    /// How long it may take to say what it wants.
    patience: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Talk {
    fn drop(&mut self) {
        let open = &self.app.counters.connections;
        open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Talk {
    fn begin(
        self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        crew: &Crew,
        graceful: &GracefulShutdown,
    ) -> io::Result<()> {
        add(&self.app.counters.connections, 1);
        // Answers are small, and the next request waits for them.
        let _ = stream.set_nodelay(true);
        let watcher = graceful.watcher();
        crew.see_to(stream, |stream| self.agree(stream, tls, watcher))
    }

    /// Finds out how one talks, and does it.
    async fn agree(self, stream: TcpStream, tls: Option<TlsAcceptor>, watcher: Watcher) {
        let agreed = tokio::time::timeout(self.patience, async {
            Ok::<_, io::Error>(match tls {
                None => (is_http2(&stream).await?, Stream::Plain(stream)),
                Some(tls) => {
                    let stream = tls.accept(stream).await?;
                    let protocol = stream.get_ref().1.alpn_protocol();
                    (protocol == Some(b"h2"), Stream::Tls(Box::new(stream)))
                }
            })
        });
        match agreed.await {
            Ok(Ok((http2, Stream::Plain(stream)))) => self.go_on(stream, http2, watcher).await,
            Ok(Ok((http2, Stream::Tls(stream)))) => self.go_on(stream, http2, watcher).await,
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
        watcher: Watcher,
    ) {
        let client = self.client;
        let service = Arc::clone(&self.service);
        let answer = service_fn(move |request: Request<Incoming>| {
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(service.answer(request.map(Body::new), client).await) }
        });
        let beside = Beside::default();
        let builder = Builder::new(beside.clone());
        let mut builder = match http2 {
            true => builder.http2_only(),
            false => builder.http1_only(),
        };
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(1000)
            .max_header_list_size(64 << 10)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .keep_alive_interval(Some(Duration::from_secs(60)))
            .keep_alive_timeout(Duration::from_secs(30));
        let connection = builder.serve_connection(TokioIo::new(stream), answer);
        let connection = watcher.watch(connection.into_owned());
        if let Err(error) = beside.go_on(connection).await {
            tracing::debug!("{}: {error}", client.address);
        }
    }
}
