// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one thread that decides what is fetched next.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oxtree_format::{CommitId, DirMetaId, FileId, MAX_METADATA_SIZE, ObjectId};
use oxtree_repo::Progress;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::commits::{NewCommit, get_commit, get_detached};
use super::held::{Asker, Held};
use super::scan::{Scanned, TreeWant};
use super::stream::{PIECES, PieceReader, Pieces, send_pieces};
use super::{CommitWant, Source, path_of};
use crate::error::{Error, Result};
use crate::limits::Budget;
use crate::pull::fetch::{Download, is_page};
use crate::pull::policy::PullPolicy;
use crate::pull::wanted::{Step, Wanted};

/// Files up to this size, in bytes, are held in memory until they are written.
const SMALL: usize = 128 << 10;

/// So many large files are written at once.
const STREAMS: usize = 2;

/// What has happened.
enum Event {
    Commit(CommitWant, Result<Held<NewCommit>>),
    Tree(TreeWant, Result<Held<Vec<u8>>>),
    Meta(DirMetaId, Result<Held<Vec<u8>>>),
    File(FileId, Result<Body>),
    /// The pool is done with something that was fetched.
    Stored(Result<Scanned>),
    /// The pool has looked at a folder that was here.
    Scanned(Result<Scanned>),
    /// A large file was written.
    Streamed(Result<()>),
}

/// A file that was fetched, or begins to be.
enum Body {
    Whole(Vec<u8>),
    /// With how many bytes were promised.
    Stream(Vec<u8>, Pieces, Option<u64>),
}

/// A pull as it goes on.
pub(super) struct Run<'r, 'scope, 'threads, 'env> {
    pub(super) source: &'scope Source<'scope>,
    pub(super) policy: &'r PullPolicy<'r>,
    progress: &'r dyn Progress,
    pool: &'r rayon::Scope<'scope>,
    threads: &'threads std::thread::Scope<'threads, 'env>,
    /// Nobody wants what is still under way.
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    events: mpsc::UnboundedSender<Event>,
    inbox: mpsc::UnboundedReceiver<Event>,
    room: Arc<Semaphore>,
    pub(super) commits: VecDeque<CommitWant>,
    trees: Vec<TreeWant>,
    metas: Vec<DirMetaId>,
    files: VecDeque<FileId>,
    streams: VecDeque<(FileId, PieceReader, Option<u64>)>,
    streaming: usize,
    /// What was asked for and is not stored yet.
    fetching: usize,
    /// Folders that are looked at.
    scanning: usize,
    files_next: bool,
    /// How far was gone back from each commit.
    pub(super) seen: HashMap<CommitId, Option<u64>>,
    pub(super) steps: Vec<Step>,
}

impl<'r, 'scope, 'threads, 'env> Run<'r, 'scope, 'threads, 'env>
where
    'scope: 'threads,
{
    pub(super) fn new(
        source: &'scope Source<'scope>,
        policy: &'r PullPolicy<'r>,
        progress: &'r dyn Progress,
        pool: &'r rayon::Scope<'scope>,
        threads: &'threads std::thread::Scope<'threads, 'env>,
    ) -> Self {
        let (events, inbox) = mpsc::unbounded_channel();
        Self {
            source,
            policy,
            progress,
            pool,
            threads,
            over: Arc::default(),
            tasks: JoinSet::new(),
            events,
            inbox,
            room: Arc::new(Semaphore::new(1)),
            commits: VecDeque::new(),
            trees: Vec::new(),
            metas: Vec::new(),
            files: VecDeque::new(),
            streams: VecDeque::new(),
            streaming: 0,
            fetching: 0,
            scanning: 0,
            files_next: false,
            seen: HashMap::new(),
            steps: Vec::new(),
        }
    }

    pub(super) async fn go(mut self, wanted: &[Wanted]) -> Result<Vec<Step>> {
        for (index, Wanted { commit, .. }) in wanted.iter().enumerate() {
            self.commits.push_back(CommitWant {
                id: *commit,
                depth: self.source.what.depth,
                tip: Some(index),
            });
        }
        let outcome = self.fetch_all(wanted).await;
        self.over.store(true, Ordering::Relaxed);
        outcome.map(|()| self.steps)
    }

    async fn fetch_all(&mut self, wanted: &[Wanted]) -> Result<()> {
        loop {
            while self.fetching < self.source.fetcher.parallel() && self.start_one()? {}
            while self.tasks.try_join_next().is_some() {}
            if self.fetching == 0 && self.scanning == 0 {
                return Ok(());
            }
            if let Some(event) = self.inbox.recv().await {
                self.handle(event, wanted)?;
            }
        }
    }

    /// Asks for one more thing; false if there is nothing to be asked for now.
    fn start_one(&mut self) -> Result<bool> {
        if let Some(want) = self.commits.pop_front() {
            self.start_commit(want)?;
            return Ok(true);
        }
        // Files keep the disk busy, folders say what comes next: by turns.
        self.files_next = !self.files_next;
        if self.files_next && self.start_file() {
            return Ok(true);
        }
        if let Some(want) = self.trees.pop() {
            let object = want.dir.tree.object();
            self.start_metadata(object, |held| Event::Tree(want, held));
        } else if let Some(id) = self.metas.pop() {
            self.start_metadata(id.object(), move |held| Event::Meta(id, held));
        } else {
            return Ok(self.start_file());
        }
        Ok(true)
    }

    fn start_commit(&mut self, want: CommitWant) -> Result<()> {
        let object = want.id.object();
        let is_hidden = self.source.hidden.contains(&want.id);
        let is_here = !is_hidden && self.source.is_here(&object)?;
        let asker = self.asker();
        let (signatures, objects) = (&self.source.signatures, &self.source.objects);
        let (signatures, objects) = (signatures.clone(), objects.clone());
        let tombstones = self.source.what.tombstones;
        let known = self.source.detached.get(&want.id).cloned();
        self.start(async move {
            let (id, is_tip) = (want.id, want.tip.is_some());
            let detached = async {
                match known {
                    Some(known) => Ok(known),
                    None => get_detached(&asker, &signatures, id).await,
                }
            };
            let commit = async {
                match is_here {
                    true => Ok(None),
                    false => get_commit(&asker, &objects, id, is_tip, tombstones).await,
                }
            };
            let both = tokio::try_join!(detached, commit);
            let new = both.map(|(detached, bytes)| Held {
                what: NewCommit { bytes, detached },
                _place: asker,
            });
            Event::Commit(want, new)
        });
        Ok(())
    }

    fn start_metadata(
        &mut self,
        object: ObjectId,
        event: impl FnOnce(Result<Held<Vec<u8>>>) -> Event + Send + 'static,
    ) {
        let (asker, from) = (self.asker(), self.source.objects.clone());
        self.start(async move {
            let got = asker.object(&from, &object).await;
            event(got.map(|what| Held {
                what,
                _place: asker,
            }))
        });
    }

    fn start_file(&mut self) -> bool {
        let Some(id) = self.files.pop_front() else {
            return false;
        };
        let limit = self.source.budget.map_or(u64::MAX, Budget::largest_filez);
        let mut download = self.download(&id.object(), limit);
        let events = self.events.clone();
        self.fetching += 1;
        self.tasks.spawn(async move {
            let (sender, pieces) = mpsc::channel(PIECES);
            let (first, more) = match begin(&mut download).await {
                Ok(first) => first,
                Err(error) => return tell(&events, Event::File(id, Err(error))),
            };
            if !more {
                return tell(&events, Event::File(id, Ok(Body::Whole(first))));
            }
            tell(
                &events,
                Event::File(id, Ok(Body::Stream(first, pieces, download.promised()))),
            );
            send_pieces(download, sender).await;
        });
        true
    }

    fn asker(&self) -> Asker {
        let limit = self
            .source
            .budget
            .map_or(MAX_METADATA_SIZE, Budget::largest_metadata);
        Asker::new(self.source.fetcher.clone(), limit, Arc::clone(&self.room))
    }

    fn download(&self, object: &ObjectId, limit: u64) -> Download {
        let from = self.source.objects.clone();
        Download::new(self.source.fetcher.clone(), from, path_of(object), limit)
    }

    /// Lets a request run.
    fn start(&mut self, request: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        self.fetching += 1;
        self.tasks
            .spawn(async move { tell(&events, request.await) });
    }

    fn handle(&mut self, event: Event, wanted: &[Wanted]) -> Result<()> {
        match event {
            Event::Commit(want, new) => {
                self.fetching -= 1;
                let new = new?;
                self.commit(&want, new.what, wanted)
            }
            Event::Tree(want, held) => {
                let held = held?;
                self.store(move |source| {
                    source.store_metadata(&want.dir.tree.object(), &held.what)?;
                    source.scan(&want, &held.what)
                });
                Ok(())
            }
            Event::Meta(id, held) => {
                let held = held?;
                self.store(move |source| {
                    source.store_metadata(&id.object(), &held.what)?;
                    Ok(Scanned::default())
                });
                Ok(())
            }
            Event::File(id, body) => {
                match body? {
                    Body::Whole(bytes) => self.store(move |source| {
                        source.store_file(id, &mut &bytes[..], Some(bytes.len() as u64))?;
                        Ok(Scanned::default())
                    }),
                    Body::Stream(first, pieces, promised) => {
                        let reader = PieceReader::new(first, pieces);
                        self.streams.push_back((id, reader, promised));
                        self.stream();
                    }
                }
                Ok(())
            }
            Event::Stored(scanned) => {
                self.fetching -= 1;
                self.progress.advance(1);
                self.found(scanned?);
                Ok(())
            }
            Event::Scanned(scanned) => {
                self.scanning -= 1;
                self.found(scanned?);
                Ok(())
            }
            Event::Streamed(written) => {
                self.fetching -= 1;
                self.streaming -= 1;
                self.progress.advance(1);
                written?;
                self.stream();
                Ok(())
            }
        }
    }

    /// Lets the pool do something with what was fetched.
    fn store(&self, job: impl FnOnce(&Source<'_>) -> Result<Scanned> + Send + 'scope) {
        self.spawn(job, Event::Stored);
    }

    fn spawn(
        &self,
        job: impl FnOnce(&Source<'_>) -> Result<Scanned> + Send + 'scope,
        event: fn(Result<Scanned>) -> Event,
    ) {
        let (source, events) = (self.source, self.events.clone());
        let over = Arc::clone(&self.over);
        self.pool.spawn(move |_| {
            if !over.load(Ordering::Relaxed) {
                tell(&events, event(job(source)));
            }
        });
    }

    /// Lets large files be written, a thread each: they wait for the network most of the time.
    fn stream(&mut self) {
        while self.streaming < STREAMS {
            let Some((id, mut reader, promised)) = self.streams.pop_front() else {
                return;
            };
            self.streaming += 1;
            let (source, events) = (self.source, self.events.clone());
            self.threads.spawn(move || {
                let written = source.store_file(id, &mut reader, promised);
                tell(&events, Event::Streamed(reader.blame(written)));
            });
        }
    }

    pub(super) fn found(&mut self, scanned: Scanned) {
        self.files.extend(scanned.files);
        self.metas.extend(scanned.metas);
        self.trees.extend(scanned.trees);
        for want in scanned.here {
            self.scanning += 1;
            let look = move |source: &Source<'_>| {
                let object = want.dir.tree.object();
                let bytes = source.transaction.load_metadata(&object)?;
                source.scan(&want, &bytes)
            };
            self.spawn(look, Event::Scanned);
        }
    }
}

/// Nobody listens any more when it is over.
fn tell(events: &mpsc::UnboundedSender<Event>, event: Event) {
    drop(events.send(event));
}

/// The beginning of a file, and whether there may be more.
async fn begin(download: &mut Download) -> Result<(Vec<u8>, bool), Error> {
    let mut first = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        first.extend_from_slice(&chunk);
        // A file begins with the size of its header, which is less than this would be.
        if is_page(&first) {
            download.was_page().await?;
            first.clear();
            continue;
        }
        if first.len() > SMALL {
            return Ok((first, true));
        }
    }
    Ok((first, false))
}
