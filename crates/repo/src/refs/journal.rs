// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several refs at once, also across a crash.
//!
//! Ref files cannot be changed together, so what is to be done to more than one is first written
//! down in `state/refs-journal` (a line each: the commit, or `-` for a deletion, a space, the
//! refspec; then the line `end`). The file appears complete and durable, or not at all. The next process that takes the lock on
//! the refs and finds one does what it says: the change was decided, and its objects are there.

use std::collections::BTreeSet;
use std::fmt::Write;

use oxtree_format::CommitId;
use oxtree_format::refs::Refspec;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{RefUpdate, ref_path};
use crate::fs;
use crate::{Error, Repo, Result};

const JOURNAL: &str = "state/refs-journal";

/// Where a journal goes that cannot be read.
const SET_ASIDE: &str = "state/refs-journal.damaged";

/// The last line: a journal without it was cut off.
const END: &str = "end\n";

/// Far more refs than a push may have.
const MAX_JOURNAL: u64 = 64 << 20;

impl Repo {
    /// Does what a journal says that somebody has left. The refs' lock is held.
    pub(super) fn finish_journal(&self) -> Result<()> {
        let path = || self.path().join(JOURNAL);
        let journal = match fs::read_file(self.dir(), JOURNAL, MAX_JOURNAL) {
            Ok(Some(journal)) => journal,
            Ok(None) => return Ok(()),
            Err(error) if is_no_journal(&error) => return self.set_journal_aside(),
            Err(error) => return Err(Error::io("reading", path())(error)),
        };
        let Some(changes) = parse(&journal) else {
            return self.set_journal_aside();
        };
        // A prune in between that does not know of journals may have taken the commits.
        let mut there = Vec::with_capacity(changes.len());
        for (refspec, new) in changes {
            if new.map_or(Ok(true), |new| self.has_object(&new.object()))? {
                there.push((refspec, new));
            }
        }
        self.carry_out(&there)
    }

    /// An error if there is a journal that cannot be used.
    pub(crate) fn check_journal(&self) -> Result<()> {
        let journal = fs::read_file(self.dir(), JOURNAL, MAX_JOURNAL)
            .map_err(Error::io("reading", self.path().join(JOURNAL)))?;
        match journal.is_none_or(|journal| parse(&journal).is_some()) {
            true => Ok(()),
            false => Err(Error::Invalid("not a journal of refs".to_owned())),
        }
    }

    /// A damaged journal must not keep refs from being changed. What it was to change may be half done: it stays
    /// beside the journals for people to look at.
    fn set_journal_aside(&self) -> Result<()> {
        let path = self.path().join(JOURNAL);
        rustix::fs::renameat(self.dir(), JOURNAL, self.dir(), SET_ASIDE)
            .map_err(Error::io("setting aside", &path))?;
        tracing::warn!(
            "{} is damaged, and was renamed to {SET_ASIDE}: refs that a crash has left half-way stay as they are",
            path.display()
        );
        Ok(())
    }

    /// Makes changes that were checked, all of them even if the machine stops half-way.
    pub(super) fn change_together(&self, updates: &[RefUpdate]) -> Result<()> {
        let changes: Vec<(Refspec, Option<CommitId>)> = updates
            .iter()
            .map(|update| (update.refspec.clone(), update.new))
            .collect();
        if let [_] = changes[..] {
            return self.write_and_sync(&changes);
        }
        let io = |action| Error::io(action, self.path().join(JOURNAL));
        fs::ensure_dir(self.dir(), "state").map_err(io("writing"))?;
        self.write_file(JOURNAL, write(&changes).as_bytes())
            .map_err(io("writing"))?;
        if self.config().fsync {
            fs::open_dir(self.dir(), "state")
                .and_then(|dir| Ok(rustix::fs::fsync(dir)?))
                .map_err(io("syncing"))?;
        }
        self.carry_out(&changes)
    }

    fn carry_out(&self, changes: &[(Refspec, Option<CommitId>)]) -> Result<()> {
        self.write_and_sync(changes)?;
        match rustix::fs::unlinkat(self.dir(), JOURNAL, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io("deleting", self.path().join(JOURNAL))(error)),
        }
    }

    /// Writes the refs, and makes their names durable: who is told that a ref has moved finds it
    /// there after a power cut, too.
    fn write_and_sync(&self, changes: &[(Refspec, Option<CommitId>)]) -> Result<()> {
        let mut folders = BTreeSet::new();
        for (refspec, new) in changes {
            let path = ref_path(refspec);
            if new.is_some() {
                self.make_room(&path, &refspec.to_string())?;
                folders.extend(path.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
            }
            self.write_ref(&path, *new)?;
        }
        for folder in folders.iter().filter(|_| self.config().fsync) {
            fs::open_dir(self.dir(), &**folder)
                .and_then(|dir| Ok(rustix::fs::fsync(dir)?))
                .map_err(Error::io("syncing", self.path().join(folder)))?;
        }
        Ok(())
    }
}

/// Whether it is something else that cannot be read as a file of that size.
fn is_no_journal(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::IsADirectory | std::io::ErrorKind::FileTooLarge
    )
}

fn write(changes: &[(Refspec, Option<CommitId>)]) -> String {
    let mut text = String::new();
    for (refspec, new) in changes {
        let new = new.map_or_else(|| "-".to_owned(), |new| new.to_string());
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{new} {refspec}");
    }
    text + END
}

fn parse(journal: &[u8]) -> Option<Vec<(Refspec, Option<CommitId>)>> {
    let text = std::str::from_utf8(journal).ok()?;
    let text = text.strip_suffix(END)?;
    if !text.is_empty() && !text.ends_with('\n') {
        return None;
    }
    let change = |line: &str| {
        let (new, refspec) = line.split_once(' ')?;
        let new = match new {
            "-" => None,
            commit => Some(commit.parse().ok()?),
        };
        Some((refspec.parse().ok()?, new))
    };
    text.lines().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expected, Mode};
    use oxtree_format::{Checksum, ObjectId, ObjectKind};

    fn change(refspec: &str, new: Option<&[u8]>) -> (Refspec, Option<CommitId>) {
        let new = new.map(|bytes| CommitId(Checksum::of(bytes)));
        (refspec.parse().unwrap(), new)
    }

    #[test]
    fn round_trip() {
        let changes = vec![change("a/b", Some(b"1")), change("origin:c", None)];
        assert_eq!(parse(write(&changes).as_bytes()), Some(changes));
        for bad in ["x", "- ../x", "- ", "0 a", "-  a"] {
            assert_eq!(parse(format!("{bad}\nend\n").as_bytes()), None, "{bad}");
        }
        let whole = write(&[change("a/legend", None), change("c", None)]);
        for len in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..len]), None, "{len}");
        }
    }

    #[test]
    fn what_a_crash_has_left_is_finished_by_the_next_change() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None).unwrap();
        let commit = |id: &str| {
            let path =
                ObjectId::new(ObjectKind::Commit, Checksum::of(id.as_bytes())).loose_path(true);
            let path = dir.path().join("repo/objects").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        commit("1");
        commit("2");
        let gone = change("gone", Some(b"pruned"));
        let changes = vec![change("a", Some(b"1")), gone, change("b", Some(b"2"))];
        // As if the machine had stopped right after the journal was written.
        repo.write_file(JOURNAL, write(&changes).as_bytes())
            .unwrap();
        let (refspec, new) = change("c", Some(b"3"));
        let update = RefUpdate {
            refspec,
            expected: Expected::Exactly(None),
            new,
        };
        repo.update_refs(&[update]).unwrap();
        let refs: Vec<String> = repo
            .local_refs()
            .unwrap()
            .into_keys()
            .map(|name| name.to_string())
            .collect();
        assert_eq!(refs, ["a", "b", "c"]);
        assert!(!dir.path().join("repo").join(JOURNAL).exists());
    }

    #[test]
    fn who_wants_what_a_crash_has_left_undone_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None).unwrap();
        let (old, new) = (change("b", Some(b"1")), change("b", Some(b"2")));
        let path = ObjectId::new(ObjectKind::Commit, Checksum::of(b"2")).loose_path(true);
        let path = dir.path().join("repo/objects").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
        repo.carry_out(std::slice::from_ref(&old)).unwrap();
        repo.write_file(JOURNAL, write(std::slice::from_ref(&new)).as_bytes())
            .unwrap();
        let (refspec, new) = new;
        let update = RefUpdate {
            refspec,
            expected: Expected::Exactly(old.1),
            new,
        };
        repo.update_refs(&[update]).unwrap();
        let refs: Vec<_> = repo.local_refs().unwrap().into_values().collect();
        assert_eq!(Some(refs[0]), new);
    }

    #[test]
    fn all_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None).unwrap();
        let update = |name: &str, expected| {
            let (refspec, new) = change(name, Some(b"1"));
            RefUpdate {
                refspec,
                expected,
                new,
            }
        };
        let wrong = Expected::Exactly(Some(CommitId(Checksum::of(b"other"))));
        let updates = [update("a", Expected::Exactly(None)), update("b", wrong)];
        assert!(matches!(
            repo.update_refs(&updates),
            Err(Error::RefMoved { .. })
        ));
        assert!(repo.local_refs().unwrap().is_empty());
        let updates = [
            update("a", Expected::Exactly(None)),
            update("b", Expected::Any),
        ];
        repo.update_refs(&updates).unwrap();
        assert_eq!(repo.local_refs().unwrap().len(), 2);
        assert!(!dir.path().join("repo").join(JOURNAL).exists());
    }
}
