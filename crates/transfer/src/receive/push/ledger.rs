// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much is kept of pushes: each has a list of refs and commits, which whoever opens it makes as long as they
//! like.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// Bytes of all records in one repository. Their memory is about as much.
const MOST: usize = 32 << 20;

/// And of those of one of those who open them: ten thousand refs with long names are 4 MiB.
const MOST_OWN: usize = MOST / 2;

type Owner = Option<String>;

/// The sizes of all records of a repository, by owner.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<HashMap<Owner, usize>>);

/// What one more record needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Fits,
    /// Others of the same owner have to go.
    Own,
    /// Any others have to go.
    Any,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is needed for `more` bytes of this owner's.
    pub(super) fn need(&self, owner: Option<&String>, more: usize) -> Need {
        need(&self.lock(), &owner.cloned(), more)
    }
}

fn need(sizes: &HashMap<Owner, usize>, owner: &Owner, more: usize) -> Need {
    let own = sizes.get(owner).copied().unwrap_or_default();
    match () {
        () if own + more > MOST_OWN => Need::Own,
        () if sizes.values().sum::<usize>() + more > MOST => Need::Any,
        () => Need::Fits,
    }
}

/// The place of one record; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    ledger: Arc<Ledger>,
    owner: Owner,
    size: usize,
}

impl Place {
    /// For a record of this size, whether there is room or not: it is there already.
    pub(super) fn taken(ledger: Arc<Ledger>, owner: Owner, size: usize) -> Self {
        *ledger.lock().entry(owner.clone()).or_default() += size;
        Self {
            ledger,
            owner,
            size,
        }
    }

    /// The record is to have another size, for which there may be no room.
    pub(super) fn resize(&mut self, size: usize) -> Result<()> {
        let mut sizes = self.ledger.lock();
        let more = size.saturating_sub(self.size);
        if more > 0 {
            check(size)?;
            if need(&sizes, &self.owner, more) != Need::Fits {
                return Err(busy());
            }
        }
        let own = sizes.entry(self.owner.clone()).or_default();
        *own = own.saturating_sub(self.size) + size;
        self.size = size;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sizes = self.ledger.lock();
        if let Some(own) = sizes.get_mut(&self.owner) {
            *own = own.saturating_sub(self.size);
            if *own == 0 {
                sizes.remove(&self.owner);
            }
        }
    }
}

/// Checks the size of one record.
pub(super) fn check(size: usize) -> Result<()> {
    match size > MOST_OWN {
        true => Err(Error::Limit {
            what: "what has to be kept of a push, its refs and commits,",
            size: size as u64,
            limit: MOST_OWN as u64,
        }),
        false => Ok(()),
    }
}

/// Nothing can go that would make room.
pub(super) fn busy() -> Error {
    Error::Busy("too many pushes, or too large ones, are open here already".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_share_and_gets_it_back() {
        let ledger = Arc::new(Ledger::default());
        let one = |owner: &str| Place::taken(Arc::clone(&ledger), Some(owner.to_owned()), 0);
        let needs = |owner: &str, more| ledger.need(Some(&owner.to_owned()), more);
        let mut first = one("a");
        assert!(first.resize(MOST_OWN + 1).is_err());
        first.resize(MOST_OWN).unwrap();
        let mut second = one("a");
        assert!(matches!(second.resize(1), Err(Error::Busy(_))));
        assert_eq!(needs("a", 1), Need::Own);
        assert_eq!(needs("b", MOST_OWN), Need::Fits);
        let mut third = one("b");
        third.resize(MOST_OWN).unwrap();
        assert_eq!(needs("c", 1), Need::Any);
        first.resize(1).unwrap();
        assert_eq!(needs("c", 1), Need::Fits);
        drop((first, second, third));
        assert!(ledger.lock().is_empty());
    }
}
