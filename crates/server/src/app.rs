// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state that all requests share.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use oxtree_format::checksum::hex;
use oxtree_transfer::semaphore::ClientSemaphore;

use crate::access::issuers::Issuers;
use crate::access::tokens::{TokenFile, random};
use crate::access::{Gate, Permission};
use crate::answer::{Answer, Fault};
use crate::clock::now;
use crate::config::Config;
use crate::error::Result;
use crate::limits::send_budget::SendBudget;
use crate::limits::{ClientId, MemoryBudget, Permit, RequestSemaphore, file_limit};
use crate::log::Log;
use crate::metrics::Counters;
use crate::proxies::Proxies;
use crate::served::Served;

/// The state that all requests share.
pub(crate) struct App {
    pub(crate) repositories: Vec<Arc<Served>>,
    pub(crate) agent: String,
    pub(crate) gate: Gate,
    pub(crate) proxies: Proxies,
    pub(crate) counters: Arc<Counters>,
    /// Whether all may be read by everybody, so that caches in between may keep it.
    pub(crate) is_public: bool,
    pub(crate) log: Option<Arc<Log>>,
    /// Where it is noted down that tokens were made or revoked.
    pub(crate) audit: Option<Log>,
    ending: AtomicBool,
    /// The result of the last readiness check.
    pub(crate) away: tokio::sync::Mutex<Option<(Instant, Option<String>)>>,
    /// Streams of objects that are taken in at once.
    streams: RequestSemaphore,
    /// And of these, those that are unpacked from zstd.
    pub(crate) decompressing: ClientSemaphore,
    /// Lists of ids that are looked for at once.
    lists: RequestSemaphore,
    /// Files that are packed at once.
    packing: RequestSemaphore,
    /// Lists of refs or objects that are made at once.
    answers: RequestSemaphore,
    /// Files that answers keep open at once.
    open_files: RequestSemaphore,
    /// For bodies that are held as a whole.
    pub(crate) memory: MemoryBudget,
    /// For answers until clients take them.
    pub(crate) sending: Arc<SendBudget>,
}

/// Streams of objects at once, in all and of one client: each needs up to 5 MiB.
const STREAMS: usize = 24;
const OWN_STREAMS: usize = 18;

/// Streams in zstd at once, in all and of one client: each needs up to 12 MiB more.
const DECOMPRESSING: usize = 6;
const OWN_DECOMPRESSING: usize = 4;

/// Lists of ids at once, in all and of one client: each needs 1.6 MiB.
const LISTS: usize = 32;
const OWN_LISTS: usize = 24;

/// Lists of refs or objects that are made at once, in all and for one client. Each may have megabytes.
const ANSWERS: usize = 16;
const OWN_ANSWERS: usize = 6;

/// Files that are packed at once, in all and for one client. Each needs a thread.
const PACKING: usize = 64;
const OWN_PACKING: usize = 16;

/// An answer keeps its file open until the client has read it. One client may keep one in this many of
/// them open, but at least so many.
const OPEN_FILES_SHARE: usize = 8;
const OWN_OPEN_FILES: usize = 64;

impl App {
    pub(crate) fn new(config: Config) -> Result<Self> {
        let lifetime = config.push_lifetime;
        let repositories = config.repositories.into_iter();
        let repositories: Result<Vec<_>> = repositories
            .map(|served| Ok(Arc::new(Served::new(served, lifetime)?)))
            .collect();
        let mut repositories = repositories?;
        // A name that another one begins with comes later.
        repositories.sort_by(|a, b| b.name.cmp(&a.name));
        let anonymous = config.anonymous;
        let open = |path: Option<&Path>, mode| path.map(|path| Log::open(path, mode)).transpose();
        let log = open(config.access_log.as_deref(), 0o640)?.map(Arc::new);
        let audit = open(config.audit_log.as_deref(), 0o600)?;
        let tokens = config.tokens.map(TokenFile::new);
        if let Some(tokens) = &tokens {
            tokens.all()?;
        }
        // Connections may have two thirds.
        let open_files = file_limit() / 4;
        Ok(Self {
            repositories,
            agent: config.agent,
            is_public: anonymous.can(Permission::Read) && anonymous.refs.is_none(),
            gate: Gate::new(anonymous, tokens, Issuers::new(config.issuers)),
            proxies: Proxies(config.trusted_proxies),
            counters: Arc::default(),
            log,
            audit,
            ending: AtomicBool::new(false),
            away: tokio::sync::Mutex::default(),
            streams: RequestSemaphore::for_bodies(STREAMS, OWN_STREAMS),
            decompressing: ClientSemaphore::new(DECOMPRESSING, OWN_DECOMPRESSING),
            lists: RequestSemaphore::for_bodies(LISTS, OWN_LISTS),
            packing: RequestSemaphore::new(PACKING, OWN_PACKING),
            answers: RequestSemaphore::new(ANSWERS, OWN_ANSWERS),
            open_files: RequestSemaphore::new(
                open_files,
                (open_files / OPEN_FILES_SHARE).max(OWN_OPEN_FILES),
            ),
            memory: MemoryBudget::new(),
            sending: SendBudget::new(),
        })
    }

    /// Waits until one more stream of objects can be received. Its data waits in the network until then.
    pub(crate) async fn stream_permit(&self, client: &ClientId) -> Answer<Permit> {
        let reason = "too many pushes are bringing objects; try again later";
        self.streams.wait(client, 1, reason).await
    }

    /// Waits until one more list of ids can be looked for.
    pub(crate) async fn list_permit(&self, client: &ClientId) -> Answer<Permit> {
        let reason = "too many lists of objects are on their way; try again later";
        self.lists.wait(client, 1, reason).await
    }

    /// Waits until one more list can be made for a client.
    pub(crate) async fn answer_permit(&self, client: &ClientId) -> Answer<Permit> {
        let reason = "too many lists are being made; try again later";
        self.answers.wait(client, 1, reason).await
    }

    /// Waits until one more file can be open for a client.
    pub(crate) async fn open_file_permit(&self, client: &ClientId) -> Answer<Permit> {
        let reason = "too many files that were asked for are not read; try again later";
        self.open_files.wait(client, 1, reason).await
    }

    /// Waits until one more file can be packed for a client.
    pub(crate) async fn packing_permit(&self, client: &ClientId) -> Answer<Permit> {
        let reason = "too many files are being packed; try again later";
        self.packing.wait(client, 1, reason).await
    }

    /// Whether there is a trusted proxy at this address.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.believes(address)
    }

    /// Reopens the logs, after the old files were moved away.
    pub(crate) fn reopen_logs(&self) {
        for log in self.log.as_deref().into_iter().chain(&self.audit) {
            log.reopen();
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// An id that nobody can guess.
    pub(crate) fn random_id(&self) -> Answer<String> {
        let bytes = random::<16>().map_err(|error| Fault::internal(error.to_string()))?;
        Ok(hex(&bytes))
    }

    /// Gives up what nobody has used for too long, and looks whether others have changed refs.
    pub(crate) fn run_maintenance(&self) {
        for served in &self.repositories {
            if let Err(error) = served.pushes.expire(now()) {
                tracing::warn!("{}: {error}", served.name);
            }
            served.jobs.look();
        }
    }

    /// The repository that a path leads to, and the rest of the path, which begins with a slash.
    pub(crate) fn find<'p>(&self, path: &'p str) -> (Option<Arc<Served>>, &'p str) {
        for served in &self.repositories {
            if served.name.is_empty() {
                return (Some(Arc::clone(served)), path);
            }
            let rest = path
                .strip_prefix('/')
                .and_then(|path| path.strip_prefix(served.name.as_str()));
            if let Some(rest) = rest.filter(|rest| rest.starts_with('/')) {
                return (Some(Arc::clone(served)), rest);
            }
        }
        (None, path)
    }
}
