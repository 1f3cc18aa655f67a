// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests of an HTTP/2 connection, in the task of the connection.
//!
//! In tasks of their own they would run in other threads, and each small answer would wake the thread that
//! has the connection. None of them blocks its thread, so none waits for another.
//!
//! This is also where a stream ends whose client stops reading it. Every eighth of the send timeout [`Executor::drive`]
//! looks at all answers that have bytes waiting. One that stands still for the whole timeout is dropped: the
//! client gets a reset of that stream, and its memory is free. An answer that was handed to the connection as a whole cannot
//! be taken back; if such a one stands still, the connection ends ([`Executor::must_close`]).

use std::mem::take;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream};
use hyper::rt;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::delivery::Delivery;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The shortest time between two looks, whatever is configured.
const LEAST: Duration = Duration::from_millis(5);

/// Where a connection puts what is to go on beside it.
#[derive(Clone)]
pub(crate) struct Executor(Arc<Shared>);

struct Shared {
    send_timeout: Duration,
    state: Mutex<State>,
    stuck: Notify,
}

struct State {
    new_tasks: Vec<Answer>,
    /// The delivery of the answer whose task comes next.
    expected: Option<Arc<Delivery>>,
    /// Since when there is nothing to do; [`None`] while there is.
    idle_since: Option<Instant>,
}

/// The task that makes an answer and hands it to the connection.
struct Answer {
    task: Task,
    delivery: Option<Arc<Delivery>>,
}

impl Future for Answer {
    /// The delivery to watch after the task is done.
    type Output = Option<Arc<Delivery>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(delivery) = &self.delivery
            && delivery.poll_ended(context).is_ready()
        {
            return Poll::Ready(None);
        }
        let done = self.task.as_mut().poll(context);
        done.map(|()| self.delivery.take())
    }
}

impl<F: Future<Output = ()> + Send + 'static> rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        let mut state = self.state();
        let delivery = state.expected.take();
        let task = Box::pin(task);
        state.new_tasks.push(Answer { task, delivery });
    }
}

impl Executor {
    pub(crate) fn new(send_timeout: Duration) -> Self {
        Self(Arc::new(Shared {
            send_timeout,
            state: Mutex::new(State {
                new_tasks: Vec::new(),
                expected: None,
                idle_since: Some(Instant::now()),
            }),
            stuck: Notify::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The delivery of an answer whose task hyper puts here next.
    pub(crate) fn delivery(&self) -> Arc<Delivery> {
        let delivery = Delivery::new();
        self.state().expected = Some(Arc::clone(&delivery));
        delivery
    }

    /// Waits until nothing was asked for this long, or an answer stands still that cannot be taken back.
    pub(crate) async fn must_close(&self, idle: Duration) {
        let falls_silent = async {
            loop {
                let since = self.state().idle_since.unwrap_or_else(Instant::now);
                if since.elapsed() >= idle {
                    return;
                }
                sleep_until(since + idle.max(LEAST)).await;
            }
        };
        tokio::select! {
            () = falls_silent => {}
            () = self.0.stuck.notified() => {}
        }
    }

    /// Drives a connection and all that it has put here, until the connection has ended.
    pub(crate) async fn drive<T>(self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        let mut answers = Answers::new(self.0.send_timeout);
        std::future::poll_fn(move |context| {
            let ended = connection.as_mut().poll(context);
            let mut goes_on = ended.is_pending();
            while goes_on {
                answers.making.extend(take(&mut self.state().new_tasks));
                answers.poll_all(context);
                if answers.look(context) {
                    self.0.stuck.notify_one();
                }
                let mut state = self.state();
                match answers.is_idle() {
                    false => state.idle_since = None,
                    true => {
                        state.idle_since.get_or_insert_with(Instant::now);
                    }
                }
                // They may have put something here, too.
                goes_on = !state.new_tasks.is_empty();
            }
            ended
        })
        .await
    }
}

/// The answers of one connection.
struct Answers {
    making: FuturesUnordered<Answer>,
    /// Handed to the connection as a whole, and not yet taken.
    handed_over: Vec<Arc<Delivery>>,
    send_timeout: Duration,
    next_look: Option<Pin<Box<Sleep>>>,
}

impl Answers {
    fn new(send_timeout: Duration) -> Self {
        Self {
            making: FuturesUnordered::new(),
            handed_over: Vec::new(),
            send_timeout,
            next_look: None,
        }
    }

    fn is_idle(&self) -> bool {
        self.making.is_empty() && self.handed_over.is_empty()
    }

    /// Lets all go on that can.
    fn poll_all(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(done)) = Pin::new(&mut self.making).poll_next(context) {
            self.handed_over.extend(done.filter(|one| one.is_waiting()));
        }
    }

    /// Ends the answers that stand still, when it is time to look. Returns whether one does that cannot be ended.
    fn look(&mut self, context: &mut Context<'_>) -> bool {
        self.handed_over.retain(|one| one.is_waiting());
        if self.is_idle() {
            self.next_look = None;
            return false;
        }
        let pause = (self.send_timeout / 8).max(LEAST);
        let next = self.next_look.get_or_insert_with(|| Box::pin(sleep(pause)));
        let mut stuck = false;
        while next.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            for answer in self.making.iter_mut() {
                if let Some(delivery) = &answer.delivery
                    && delivery.stands_still(now, self.send_timeout)
                {
                    delivery.end();
                }
            }
            let mut left = self.handed_over.iter();
            stuck |= left.any(|one| one.stands_still(now, self.send_timeout));
            next.as_mut().reset(now + pause);
        }
        stuck
    }
}
