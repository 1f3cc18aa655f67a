// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections: taking them, and letting them end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Doors};
use crate::site::Site;
use crate::{Config, Error, Result};

/// How long a client may take to say what it wants.
const HEADERS: Duration = Duration::from_secs(30);

/// How long requests may go on after the server was told to end.
const FAREWELL: Duration = Duration::from_secs(30);

/// How often is looked for pushes that have expired.
const ROUND: Duration = Duration::from_secs(30);

/// Serves until the process is told to end (SIGTERM, SIGINT). `ready` is told where.
pub fn run(config: Config, ready: impl FnOnce(&[SocketAddr])) -> Result<()> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.thread_name("serve").enable_all();
    let runtime = builder.build().map_err(system("starting threads"))?;
    runtime.block_on(serve(config, ready))
}

fn system(action: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::System { action, source }
}

async fn serve(config: Config, ready: impl FnOnce(&[SocketAddr])) -> Result<()> {
    let lifetime = config.push_lifetime;
    let sites = config.sites.into_iter();
    let sites: Result<Vec<Site>> = sites.map(|site| Site::new(site, lifetime)).collect();
    let app = Arc::new(App::new(sites?, config.agent, config.anonymous));
    let doors = Arc::new(Doors::new(&app));
    let mut listeners = Vec::new();
    for address in config.listen {
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.map_err(|source| Error::Listen { address, source })?);
    }
    let addresses = listeners.iter().map(TcpListener::local_addr);
    let addresses: Result<Vec<_>, _> = addresses.collect();
    let mut term = signal(SignalKind::terminate()).map_err(system("waiting for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("waiting for signals"))?;
    ready(&addresses.map_err(system("listening"))?);
    let graceful = GracefulShutdown::new();
    let mut round = tokio::time::interval(ROUND);
    loop {
        tokio::select! {
            stream = accept(&listeners) => match stream {
                Ok(stream) => talk(stream, &doors, &graceful),
                Err(error) => {
                    // Out of file descriptors, say: those that end make room.
                    tracing::warn!("taking a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = round.tick() => {
                let app = Arc::clone(&app);
                tokio::task::spawn_blocking(move || app.expire());
            }
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    app.end();
    drop(listeners);
    if tokio::time::timeout(FAREWELL, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests have not ended in time");
    }
    Ok(())
}

/// The next connection of any listener.
async fn accept(listeners: &[TcpListener]) -> std::io::Result<TcpStream> {
    std::future::poll_fn(|context| {
        for listener in listeners {
            if let std::task::Poll::Ready(accepted) = listener.poll_accept(context) {
                return std::task::Poll::Ready(accepted.map(|(stream, _)| stream));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

fn talk(stream: TcpStream, doors: &Arc<Doors>, graceful: &GracefulShutdown) {
    // Answers are small, and the next request waits for them.
    let _ = stream.set_nodelay(true);
    let doors = Arc::clone(doors);
    let answer = service_fn(move |request: Request<Incoming>| {
        let doors = Arc::clone(&doors);
        async move { Ok::<_, Infallible>(doors.answer(request.map(Body::new)).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1000);
    let connection = builder
        .serve_connection(TokioIo::new(stream), answer)
        .into_owned();
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection has ended: {error}");
        }
    });
}
