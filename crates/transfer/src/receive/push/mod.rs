// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes that consist of many requests, in any order. The HTTP API is built on this module, which
//! does not know HTTP.
//!
//! A push is opened, is asked which objects are missing, receives objects from several threads at
//! once, and is finished. It uses the same steps as [`receive`](super::receive), one piece at a
//! time.
//!
//! - **Restarts.** Facts about a push are kept in a [`Book`]: notes in the repository, each
//!   written before the request is answered. The objects are in a quarantine; if the process ends,
//!   a later push finds them there like those of any interrupted push.
//! - **Permissions.** Each request opens the destination again, with the client's present
//!   permissions. So a client whose token is revoked cannot finish its push.
//! - **Concurrency.** Requests share the quarantine under a read lock; the request that finishes
//!   the push holds it alone.
//!
//! `tests/pushes/` runs random interleavings of requests, crashes and revocations.

mod ledger;
mod objects;
mod one;
mod record;
mod turn;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::ledger::{Ledger, Need, Place};
pub use self::one::Push;
pub use self::record::Book;
use self::record::Record;
use super::{admit, record};
use crate::error::Result;
use crate::protocol::http::{PushInfo, PushState};
use crate::protocol::message::{Outcome, WireUpdate};
use crate::receive::Receiver;
use crate::receive::session::check_updates;

/// Pushes that may be open at once, in one repository.
const MAX_OPEN: usize = 1000;

/// And by one of those who open them: nobody is to be able to keep all others out.
const MAX_OWN: usize = 200;

/// Pushes that have ended, of which it is still known how: in one repository, and of one owner.
const MAX_ENDED: usize = 1000;
const MAX_OWN_ENDED: usize = 200;

/// A push that nobody has used for so many seconds may be that of a client that was cut off.
const CUT_OFF: u64 = 5;

/// What is wanted of a push.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// Who opens it; only they are to see it.
    pub owner: Option<String>,
    /// Tells the owner from others who have, or had, the same name.
    pub owner_id: Option<String>,
    /// The refs to change.
    pub updates: Vec<WireUpdate>,
    /// Nothing is to be changed.
    pub dry_run: bool,
}

/// How the opening of a push has ended.
#[derive(Debug)]
pub enum Opened {
    /// Objects may come.
    Open(Arc<Push>),
    /// It is refused already.
    Refused(Outcome),
}

/// All pushes to one receiver. Times are in seconds since 1970.
pub struct Pushes {
    book: Arc<dyn Book>,
    lifetime: u64,
    ledger: Arc<Ledger>,
    all: Mutex<BTreeMap<String, Arc<Push>>>,
}

impl std::fmt::Debug for Pushes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pushes")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl Pushes {
    /// Those of the book. Each is forgotten `lifetime` seconds after the last request for it.
    pub fn load(book: Arc<dyn Book>, lifetime: u64) -> Result<Self> {
        let mut all = BTreeMap::new();
        let ledger = Arc::new(Ledger::default());
        for (id, bytes) in book.load()? {
            match Record::parse(&bytes) {
                Ok(record) => {
                    let owner = record.owner.clone();
                    let place = Place::taken(Arc::clone(&ledger), owner, bytes.len());
                    let push = Push::new(id.clone(), Arc::clone(&book), record, place);
                    all.insert(id, Arc::new(push));
                }
                Err(error) => {
                    tracing::warn!("push {id}: {error}");
                    book.delete(&id)?;
                }
            }
        }
        Ok(Self {
            book,
            lifetime,
            ledger,
            all: Mutex::new(all),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Push>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a push by the name of `id`, which nobody can guess; or goes on with one that was cut off.
    pub fn open(
        &self,
        id: String,
        receiver: &Receiver,
        intent: Intent,
        now: u64,
    ) -> Result<Opened> {
        check_updates(&intent.updates, receiver.limits()?)?;
        let (updates, dry_run) = (&intent.updates, intent.dry_run);
        let mut verdict = admit::before(receiver, updates, dry_run, &HashMap::new())?;
        if admit::is_refused(&verdict) {
            admit::refuse_rest(&mut verdict);
            let mut outcome = Outcome {
                refs: verdict,
                ..Outcome::default()
            };
            if !intent.dry_run {
                record(receiver, &mut outcome);
            }
            return Ok(Opened::Refused(outcome));
        }
        if let Some(push) = self.take_up(&intent, now)? {
            return Ok(Opened::Open(push));
        }
        let record = Record {
            owner: intent.owner,
            owner_id: intent.owner_id,
            updates: intent.updates,
            dry_run: intent.dry_run,
            opened: now,
            used: now,
            ..Record::default()
        };
        self.make_room(&record, now)?;
        let place = Place::taken(Arc::clone(&self.ledger), record.owner.clone(), 0);
        let book = Arc::clone(&self.book);
        let push = Arc::new(Push::new(id.clone(), book, record, place));
        push.save()?;
        self.lock().insert(id, Arc::clone(&push));
        Ok(Opened::Open(push))
    }

    /// An open push of the same owner's for the very same, which nobody uses any more: that of a client
    /// that was cut off. Its objects need not come again. Those for other commits of the same refs are
    /// given up, so that the next quarantine finds what they have brought.
    fn take_up(&self, intent: &Intent, now: u64) -> Result<Option<Arc<Push>>> {
        let all: Vec<_> = self.lock().values().cloned().collect();
        let left = |push: &Arc<Push>| {
            let is_open = push.state() == PushState::Open;
            is_open && push.is_left(now, CUT_OFF) && push.changes_what(intent)
        };
        let (same, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter(left)
            .partition(|push| push.is_for(intent));
        if let Some(found) = same.into_iter().max_by_key(|push| push.objects()) {
            found.take_up(now);
            return Ok(Some(found));
        }
        for push in others {
            if push.give_up().is_ok() {
                self.forget(push.id())?;
            }
        }
        Ok(None)
    }

    /// Makes room for one more push: those go that have ended longest ago, and then that which was left alone
    /// for the longest time, if there is one. Its objects stay in quarantine.
    fn make_room(&self, record: &Record, now: u64) -> Result<()> {
        let owner = record.owner.as_ref();
        let size = record.to_bytes()?.len();
        ledger::check(size)?;
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_by_cached_key(|push| push.used());
        let (mut ended, mut open): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|push| push.state() == PushState::Ended);
        let is_own = |push: &Arc<Push>| push.owner().as_ref() == owner;
        let own = |all: &[Arc<Push>]| all.iter().filter(|push| is_own(push)).count();
        loop {
            let (own_ended, own_open) = (own(&ended), own(&open));
            let need = self.ledger.need(owner, size);
            let mine = own_ended >= MAX_OWN_ENDED || own_open >= MAX_OWN || need == Need::Own;
            let enough = ended.len() < MAX_ENDED && open.len() < MAX_OPEN && need == Need::Fits;
            if !mine && enough {
                return Ok(());
            }
            let may_go = |push: &Arc<Push>| !mine || is_own(push);
            let too_many_open = own_open >= MAX_OWN || (!mine && open.len() >= MAX_OPEN);
            let oldest = match too_many_open {
                true => None,
                false => ended.iter().position(may_go),
            };
            let goes = match oldest {
                Some(at) => ended.remove(at),
                None => {
                    let at = open.iter().position(may_go).ok_or_else(ledger::busy)?;
                    let push = open.remove(at);
                    if !push.is_left(now, CUT_OFF) || push.give_up().is_err() {
                        return Err(ledger::busy());
                    }
                    push
                }
            };
            self.forget(goes.id())?;
        }
    }

    /// The push of that id.
    pub fn get(&self, id: &str, now: u64) -> Option<Arc<Push>> {
        let push = self.lock().get(id).cloned()?;
        push.touch(now);
        Some(push)
    }

    /// What there is to say about all pushes that are `wanted`.
    pub fn list(&self, now: u64, wanted: impl Fn(&Push) -> bool) -> Vec<PushInfo> {
        let all: Vec<_> = self.lock().values().cloned().collect();
        let wanted = all.iter().filter(|push| wanted(push));
        wanted.map(|push| self.info(push, now)).collect()
    }

    /// What there is to say about a push.
    pub fn info(&self, push: &Push, now: u64) -> PushInfo {
        push.info(now, self.lifetime)
    }

    /// How many pushes are in which state.
    pub fn count(&self) -> HashMap<PushState, usize> {
        let mut count = HashMap::new();
        for push in self.lock().values() {
            *count.entry(push.state()).or_default() += 1;
        }
        count
    }

    /// Gives up a push, unless it is being published. Its objects stay for the next one.
    pub fn abort(&self, id: &str) -> Result<()> {
        let push = self.lock().get(id).cloned();
        let Some(push) = push else { return Ok(()) };
        push.give_up()?;
        self.forget(id)
    }

    fn forget(&self, id: &str) -> Result<()> {
        self.lock().remove(id);
        self.book.delete(id)
    }

    /// Gives up what nobody has done anything with for too long.
    pub fn expire(&self, now: u64) -> Result<()> {
        let all: Vec<_> = self.lock().values().cloned().collect();
        for push in all {
            if push.expire(now.saturating_sub(self.lifetime)) {
                self.forget(push.id())?;
            }
        }
        Ok(())
    }
}
