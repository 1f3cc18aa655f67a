// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop that accepts connections, and the shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::connection::{Connection, Timeouts};
use super::connection_limit::ConnectionLimit;
use super::tls::Certificate;
use super::workers::WorkerPool;
use crate::access::Permission;
use crate::app::App;
use crate::config::{Address, Config};
use crate::error::{Error, Result};
use crate::limits::file_limit;
use crate::proxies::Peer;
use crate::routes::Service;

/// How long requests may go on after the server was told to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How often is looked for pushes that have expired, refs that others have changed, and certificates that have.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);

/// Serves until the process is told to end (SIGTERM, SIGINT). `ready` is told where.
pub fn run(config: Config, ready: impl FnOnce(&[Address])) -> Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(system("starting threads"))?;
    let served = runtime.block_on(serve(config, ready));
    // A running job may take long; the next server continues it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn system(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::System { action, source }
}

/// A socket, and whether one talks TLS there.
struct Socket {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

async fn serve(mut config: Config, ready: impl FnOnce(&[Address])) -> Result<()> {
    raise_file_limit();
    let certificate = config.tls.take().map(Certificate::load).transpose()?;
    let sockets = open(&config, certificate.as_ref()).await?;
    let addresses: Vec<Address> = addresses(&sockets)?;
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
    // The rest is for the files of answers, and all else.
    let connections = config.max_connections.min(file_limit() / 3 * 2);
    let free = Arc::new(Semaphore::new(connections));
    let delay = config.shutdown_delay;
    let per_client = ConnectionLimit::new(config.max_connections_per_client);
    let bounds = Timeouts {
        silence: config.header_timeout,
        sending: config.send_timeout,
    };
    let app = Arc::new(App::new(config)?);
    let service = Arc::new(Service::new(&app));
    let on = |kind| signal(kind).map_err(system("waiting for signals"));
    let mut term = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut hangup = on(SignalKind::hangup())?;
    for served in &app.repositories {
        served.start_jobs();
    }
    ready(&addresses);
    tell_system(NotifyState::Ready);
    let workers = WorkerPool::start().map_err(system("starting threads"))?;
    let shutdown = watch::Sender::new(());
    let mut maintenance = tokio::time::interval(MAINTENANCE_INTERVAL);
    let mut end = None;
    loop {
        tokio::select! {
            accepted = accept(&sockets, &free) => match accepted {
                Ok((stream, from, socket, permit)) => {
                    let address = from.ip().to_canonical();
                    // A trusted proxy has many clients.
                    let may_be_many = address.is_loopback() || app.trusts(address);
                    let counted = match may_be_many {
                        true => None,
                        false => match per_client.enter(address) {
                            Some(one) => Some(one),
                            None => {
                                tracing::debug!("{address} has too many connections");
                                continue;
                            }
                        },
                    };
                    let tls = socket.tls.clone();
                    let client = Peer { address, tls: tls.is_some() };
                    let connection = Connection::new(&service, &app, client, bounds, (permit, counted));
                    if let Err(error) = connection.begin(stream, tls, &workers, shutdown.subscribe()) {
                        tracing::warn!("taking a connection: {error}");
                    }
                }
                Err(error) => {
                    // Out of file descriptors, say: closed connections free some.
                    tracing::warn!("taking a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = maintenance.tick() => {
                let app = Arc::clone(&app);
                tokio::task::spawn_blocking(move || app.run_maintenance());
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
            _ = asked_to_stop(&mut term, &mut interrupt) => {
                tell_system(NotifyState::Stopping);
                // A second signal ends the delay.
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
    drop(sockets);
    shutdown.send_replace(());
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, shutdown.closed())
        .await
        .is_err()
    {
        tracing::warn!("some requests have not ended in time");
    }
    Ok(())
}

async fn asked_to_stop(term: &mut Signal, interrupt: &mut Signal) -> Option<()> {
    tokio::select! {
        told = term.recv() => told,
        told = interrupt.recv() => told,
    }
}

/// Waits until this time; forever without one.
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
async fn open(config: &Config, certificate: Option<&Arc<Certificate>>) -> Result<Vec<Socket>> {
    let acceptor = certificate.map(Certificate::acceptor).transpose()?;
    let mut sockets = Vec::new();
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
        sockets.push(Socket { listener, tls });
    }
    if !sockets.is_empty() {
        return Ok(sockets);
    }
    for Address { address, tls } in config.listen.iter().copied() {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        let tls = match (tls, &acceptor) {
            (false, _) => None,
            (true, Some(acceptor)) => Some(acceptor.clone()),
            (true, None) => return Err(Error::NoCertificate(address)),
        };
        sockets.push(Socket { listener, tls });
    }
    Ok(sockets)
}

fn addresses(sockets: &[Socket]) -> Result<Vec<Address>> {
    let addresses = sockets.iter().map(|socket| {
        let address = socket.listener.local_addr().map_err(system("listening"))?;
        let tls = socket.tls.is_some();
        Ok(Address { address, tls })
    });
    addresses.collect()
}

type Accepted<'d> = (TcpStream, SocketAddr, &'d Socket, OwnedSemaphorePermit);

/// The next connection, once fewer connections than allowed are open.
async fn accept<'d>(sockets: &'d [Socket], free: &Arc<Semaphore>) -> io::Result<Accepted<'d>> {
    let permit = Arc::clone(free).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, from, socket) = std::future::poll_fn(|context| {
        for socket in sockets {
            if let Poll::Ready(accepted) = socket.listener.poll_accept(context) {
                return Poll::Ready(accepted.map(|(stream, from)| (stream, from, socket)));
            }
        }
        Poll::Pending
    })
    .await?;
    Ok((stream, from, socket, permit))
}
