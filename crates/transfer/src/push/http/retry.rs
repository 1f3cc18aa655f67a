// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is tried again, and when.

use std::io;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};

/// The first wait before a request is made again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait that is not the server's wish.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The longest wait.
const LONGEST_WISH: Duration = Duration::from_secs(300);

/// A wait that the user is told of.
const NOTICED: Duration = Duration::from_secs(5);

/// How often a server that says nothing is asked once more: each time takes long enough.
const SILENCES: u32 = 2;

/// Why a request has failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may go better another time; the server may have said when.
    Passing(Error, Option<Duration>),
    /// Nothing was heard for as long as one waits. That may be so another time.
    Silent(Error),
    /// It never will.
    Lasting(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Connection(cause) if cause.kind() == io::ErrorKind::TimedOut => {
                Self::Silent(error)
            }
            _ => Self::Lasting(error),
        }
    }
}

impl Failure {
    pub(super) fn error(self) -> Error {
        match self {
            Self::Passing(error, _) | Self::Silent(error) | Self::Lasting(error) => error,
        }
    }
}

/// Counts how often something is tried again.
#[derive(Debug)]
pub(super) struct Retries {
    most: u32,
    tries: u32,
    silences: u32,
}

impl Retries {
    /// At most so many.
    pub(super) fn new(most: u32) -> Self {
        let (tries, silences) = (0, 0);
        Self {
            most,
            tries,
            silences,
        }
    }

    /// Counts again from the beginning, after some progress.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.most);
    }

    /// Waits before the next try, or gives up.
    pub(super) fn wait(&mut self, failure: Failure) -> Result<()> {
        self.silences += u32::from(matches!(failure, Failure::Silent(_)));
        let (error, wish) = match failure {
            _ if self.tries >= self.most => return Err(failure.error()),
            Failure::Passing(error, wish) => (error, wish),
            Failure::Silent(error) if self.silences <= SILENCES => (error, None),
            failure => return Err(failure.error()),
        };
        let wait = FIRST_WAIT
            .saturating_mul(1 << self.tries.min(10))
            .min(LONGEST_WAIT);
        let wait = wish.map_or(wait, |wish| wish.min(LONGEST_WISH)) + jitter(wait);
        self.tries += 1;
        // Nobody is to wonder why nothing happens.
        match wait >= NOTICED {
            true => tracing::warn!("trying again in {wait:.0?}: {error}"),
            false => tracing::info!("trying again in {wait:.1?}: {error}"),
        }
        std::thread::sleep(wait);
        Ok(())
    }
}

/// Up to a quarter of a time, so that not all who were disturbed at once come again at once.
fn jitter(time: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let chance = now.unwrap_or_default().subsec_nanos() % 1024;
    time * chance / 4096
}
