// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests of a connection, in the task of the connection.
//!
//! In tasks of their own they would run in other threads, and each small answer would wake the thread that
//! has the connection. Nothing of them blocks a thread, so that none has to wait for another.

use std::mem::take;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream};
use hyper::rt::Executor;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a connection puts what is to go on beside it.
#[derive(Clone, Default)]
pub(crate) struct Beside(Arc<Mutex<Vec<Task>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Beside {
    fn execute(&self, task: F) {
        let mut new = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        new.push(Box::pin(task));
    }
}

impl Beside {
    /// Sees to a connection and to all that it has put here, until the connection has ended.
    pub(crate) async fn go_on<T>(self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        let mut tasks = FuturesUnordered::new();
        std::future::poll_fn(move |context| {
            let ended = connection.as_mut().poll(context);
            if ended.is_pending() {
                let new = take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
                tasks.extend(new);
                poll_all(&mut tasks, context);
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
