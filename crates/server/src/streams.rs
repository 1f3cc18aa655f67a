// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests of a connection, in the task of the connection.
//!
//! In tasks of their own they would run in other threads, and each small answer would wake the thread that
//! has the connection. Nothing of them blocks a thread, so that none has to wait for another.

use std::mem::take;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream};
use hyper::rt::Executor;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a connection puts what is to go on beside it.
#[derive(Clone, Default)]
pub(crate) struct Beside(Arc<Mutex<Vec<Task>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Beside {
    fn execute(&self, task: F) {
        self.new_tasks().push(Box::pin(task));
    }
}

impl Beside {
    fn new_tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to a connection and to all that it has put here, until the connection has ended.
    pub(crate) async fn go_on<T>(self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        let mut tasks = FuturesUnordered::new();
        std::future::poll_fn(move |context| {
            let ended = connection.as_mut().poll(context);
            let mut goes_on = ended.is_pending();
            while goes_on {
                tasks.extend(take(&mut *self.new_tasks()));
                poll_all(&mut tasks, context);
                // They may have put something here, too.
                goes_on = !self.new_tasks().is_empty();
            }
            ended
        })
        .await
    }
}

/// Lets all go on that can.
fn poll_all(tasks: &mut FuturesUnordered<Task>, context: &mut Context<'_>) {
    while let Poll::Ready(Some(())) = Pin::new(&mut *tasks).poll_next(context) {}
}
