// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong between two repositories.

use std::io;

use oxtree_repo::words::plain;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a transfer failed. Each says what to do where that is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something about the repository at this end.
    #[error(transparent)]
    Repo(#[from] oxtree_repo::Error),
    /// Where to push to cannot be understood.
    #[error("{0}")]
    Destination(String),
    /// The far side answers with something that is not the protocol.
    #[error(
        "the far side does not speak oxtree's protocol, it says {0:?}: its login shell must \
             print nothing, and the command run there must be `oxtree receive`"
    )]
    NotTheProtocol(String),
    /// No protocol version that both sides know.
    #[error("the far side speaks protocol version {theirs}, this oxtree speaks {ours}: update {}",
            if *.newer { "this oxtree" } else { "the oxtree on the far side" })]
    Version {
        /// The versions there.
        theirs: String,
        /// The version here.
        ours: u32,
        /// Theirs is the newer one.
        newer: bool,
    },
    /// The peer broke the rules.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The owner of the receiver allows less.
    #[error(
        "{what} of {size} is over the receiver's limit of {limit} (receive.{key} in its config{})",
        own_limit(key)
    )]
    OverLimit {
        /// What is too large, or too many.
        what: &'static str,
        /// How large.
        size: u64,
        /// How large it may be.
        limit: u64,
        /// What can be raised.
        key: &'static str,
    },
    /// An object is refused.
    #[error("object {object}: {source}")]
    Object {
        /// Which one.
        object: oxtree_format::ObjectId,
        /// Why.
        source: Box<Self>,
    },
    /// More than the protocol allows.
    #[error("{what} of {size} is over the limit of {limit}")]
    Limit {
        /// What is too large, or too many.
        what: &'static str,
        /// How large.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The connection ended early.
    #[error("{}: {}", broken(.0), plain(&.0.to_string()))]
    Connection(#[source] io::Error),
    /// The pusher gave up and said why.
    #[error("the pusher has given up: {0}")]
    Aborted(String),
    /// The push is not in a state for what is asked of it.
    #[error("this cannot be done with the push now: {0}")]
    State(String),
    /// The receiver has too much to do.
    #[error("{0}; try again later")]
    Busy(String),
    /// The receiver takes no pushes.
    #[error("no push is accepted here: {0}")]
    ReadOnly(String),
    /// A program of the receiver's owner could not be run.
    #[error("{0}")]
    Hook(String),
    /// The far side gave up and said why.
    #[error("{0}")]
    Remote(String),
    /// The login failed, or nothing there answers.
    #[error("{0}")]
    Ssh(String),
    /// The remote host does not run the command of a receiver.
    #[error("there is no command `{command}` {}",
            if *.refused { format!("that the login on {host} allows") }
            else { format!("on {host}: install oxtree there") })]
    NoCommand {
        /// The command, or several joined by `` ` or ` ``.
        command: String,
        /// The remote host.
        host: String,
        /// The command may exist, but the login may not run it.
        refused: bool,
    },
    /// A server does not do what it is asked.
    #[error("{url}: {reason}")]
    Server {
        /// What it was asked.
        url: String,
        /// The status that it answered with, if it did.
        status: Option<u16>,
        /// What it says, or what came between.
        reason: String,
    },
    /// A server asks for a token, and the caller has none.
    #[error("{url}: {reason}: there is no token")]
    NoToken {
        /// What it was asked.
        url: String,
        /// What it says.
        reason: String,
    },
    /// There is a web server at a URL, but no repository that can be pushed to as ours.
    #[error(
        "{url}: there is no repository of `oxtree serve` here (by the name `ostree-upload` this \
         program can push to a server of that, too)"
    )]
    NoApi {
        /// Where it was looked for.
        url: String,
    },
    /// A file could not be fetched from a web server.
    #[error("While fetching {url}: {reason}")]
    Fetch {
        /// Where it is.
        url: String,
        /// Why not.
        reason: String,
        /// What kind of a reason that is.
        fault: FetchFault,
    },
    /// The receiver has no protocol: it fetches from a URL.
    #[error("the receiver there is ostree-push's, which can be pushed to, but not asked")]
    WantsUrl,
    /// What the user wants to push is not there.
    #[error("{0}")]
    NothingToPush(String),
}

/// Why something could not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFault {
    /// The server says that it does not have it, or does not give it to us: 403, 404, 410.
    Missing,
    /// It is larger than it may be.
    TooLarge,
    /// The server, or the way to it, does not work; later it may.
    Trouble,
    /// Anything else.
    Other,
}

/// The other side of a connection was silent for longer than the caller lets it be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct IdleTimeout(String);

impl IdleTimeout {
    /// As the error of a stream; `text` says what did not happen.
    pub(crate) fn error(text: impl Into<String>) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, Self(text.into()))
    }
}

/// What a connection's error means.
fn broken(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::TimedOut => "gave up waiting",
        _ => "the connection to the far side was lost",
    }
}

impl Error {
    /// True if the far side was waited for in vain.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Connection(error) if error.kind() == io::ErrorKind::TimedOut)
    }

    /// True if the other side was silent for longer than the caller lets it be
    /// ([`PushOptions::idle`](crate::PushOptions::idle)).
    pub fn is_idle_timeout(&self) -> bool {
        let Self::Connection(error) = self else {
            return false;
        };
        let cause = error.get_ref();
        cause.is_some_and(<dyn std::error::Error + Send + Sync>::is::<IdleTimeout>)
    }

    /// The status with which a server refused.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Server { status, .. } => *status,
            Self::NoToken { .. } => Some(401),
            _ => None,
        }
    }

    /// True if a web server does not have a file.
    pub fn is_missing_file(&self) -> bool {
        matches!(self, Self::Fetch { fault, .. } if *fault == FetchFault::Missing)
    }

    /// True if the far side has no command by the name that was tried.
    pub fn is_command_not_found(&self) -> bool {
        matches!(self, Self::NoCommand { .. })
    }
}

/// The keys whose limits [`Caps`](crate::limits::Caps) may have made lower.
const CAPPED: [&str; 5] = [
    "max-object-size",
    "max-bytes",
    "max-unpacked-size",
    "max-objects",
    "max-refs",
];

/// What else may have set a limit.
fn own_limit(key: &str) -> &'static str {
    match CAPPED.contains(&key) {
        true => ", or what the pusher's token or identity allows",
        false => "",
    }
}

/// A request or a repository that is not as it has to be.
pub(crate) fn invalid(reason: impl Into<String>) -> Error {
    oxtree_repo::Error::Invalid(reason.into()).into()
}

/// An error with all its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = plain(&error.to_string()).into_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        let more = plain(&more);
        if !text.contains(&*more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
