// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes to a repository on this machine: the receiver runs in a thread, at the other end of a
//! socket pair, and speaks the same protocol as over ssh.

use std::os::unix::net::UnixStream;
use std::path::Path;

use oxtree_repo::Repo;

use crate::error::{Error, Result};
use crate::protocol::message::UnfinishedPush;
use crate::push::{self, PushObserver, PushOptions, PushReport};
use crate::receive::{self, LocalReceiver};

/// Pushes to a repository on this machine.
pub fn push_local(
    repo: &Repo,
    path: &Path,
    options: &PushOptions,
    observer: PushObserver<'_>,
) -> Result<PushReport> {
    with_receiver(path, &options.agent, |from, to| {
        push::push(repo, options, from, to, observer)
    })
}

/// The pushes to a repository on this machine that are running or were cut off.
pub fn status_local(path: &Path, options: &PushOptions) -> Result<Vec<UnfinishedPush>> {
    with_receiver(path, &options.agent, |from, to| {
        push::status(options, from, to)
    })
}

/// Talks to a receiver in a thread of this process.
fn with_receiver<T>(
    path: &Path,
    agent: &str,
    talk: impl FnOnce(UnixStream, &UnixStream) -> Result<T>,
) -> Result<T> {
    let receiver = LocalReceiver::new(Repo::open(path)?);
    let (here, there) = UnixStream::pair().map_err(Error::Connection)?;
    let from = here.try_clone().map_err(Error::Connection)?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let open = || Ok(receiver);
            // What goes wrong is told to the pusher, which is us.
            let _ = receive::receive(open, &there, &there, agent);
        });
        let said = talk(from, &here);
        // Wakes the receiver where the push has ended early.
        let _ = here.shutdown(std::net::Shutdown::Both);
        said
    })
}
