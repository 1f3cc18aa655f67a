// SPDX-License-Identifier: MIT OR Apache-2.0
//! The threads that serve connections, one per processor. A connection stays in its thread, and so
//! do the requests of an HTTP/2 connection. So a request is answered by the thread that the kernel
//! woke, and no thread wakes another. These threads never block: disk reads and slow bodies have
//! threads of their own. The one exception is reading file data that is already in the page cache.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Threads that may wait for the disk (or a slow client), over all.
const BLOCKING: usize = 512;

/// One for each processor. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct WorkerPool(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    _ends: oneshot::Sender<()>,
}

impl WorkerPool {
    /// Starts them.
    pub(crate) fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        let workers = (0..count).map(|_| Worker::start(BLOCKING.div_ceil(count).max(64)));
        workers.collect::<io::Result<_>>().map(Self)
    }

    /// Has the one with the fewest connections see to one more.
    pub(crate) fn spawn<F>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send,
    {
        let load = |worker: &&Worker| worker.connections.load(Ordering::Relaxed);
        let worker = self.0.iter().min_by_key(load);
        let worker = worker.ok_or_else(|| io::Error::other("no threads"))?;
        // The other thread must get the kernel's events of this socket.
        let stream = stream.into_std()?;
        let place = Place::taken(&worker.connections);
        worker.runtime.spawn(async move {
            let _place = place;
            match TcpStream::from_std(stream) {
                Ok(stream) => serve(stream).await,
                Err(error) => tracing::warn!("taking a connection: {error}"),
            }
        });
        Ok(())
    }
}

impl Worker {
    fn start(blocking: usize) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().max_blocking_threads(blocking);
        let runtime = builder.thread_name("serve-disk").build()?;
        let handle = runtime.handle().clone();
        let (ends, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("serve".to_owned());
        thread.spawn(move || {
            // That the sender is gone is what it is about.
            let _ = runtime.block_on(ended);
            // A running job may take long; the next server continues it.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            runtime: handle,
            connections: Arc::default(),
            _ends: ends,
        })
    }
}

/// A connection's place in the count.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn taken(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
