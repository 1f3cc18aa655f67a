// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether refs have changed, without reading them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};

use super::list::MAX_DEPTH;
use crate::{Error, Repo, Result, fs};

/// The folders of the local refs as they were at some time. Refs are replaced by files with new content, which
/// changes their folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefsStamp {
    /// Of each folder, its number and when it was changed.
    folders: Vec<(u64, Duration)>,
}

impl RefsStamp {
    /// When the last of them was changed, since 1970.
    fn newest(&self) -> Duration {
        let times = self.folders.iter().map(|(_, time)| *time);
        times.max().unwrap_or_default()
    }

    /// Whether something that changes after this was taken is sure to make a difference: the clock of file
    /// systems does not tick often.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default() > self.newest() + Duration::from_secs(1)
    }
}

/// When the directories of a repository and of its parents were changed last. Programs of OSTree touch that of a
/// repository after they have changed a ref, be it a local one, that of a remote or of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched(Vec<(u64, Duration)>);

impl Touched {
    /// Whether a change after this was taken is sure to make a difference. Where times are in whole seconds,
    /// one has to pass; else the clock of the kernel ticks at least once in a hundredth of one.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        self.0.iter().all(|(_, time)| {
            let tick = match time.subsec_nanos() {
                0 => Duration::from_millis(1100),
                _ => Duration::from_millis(50),
            };
            now > *time + tick
        })
    }
}

/// When a file was changed in whatever way, which nobody can set.
fn changed(stat: &Stat) -> Duration {
    let seconds = u64::try_from(stat.st_ctime).unwrap_or(0);
    Duration::new(seconds, u32::try_from(stat.st_ctime_nsec).unwrap_or(0))
}

impl Repo {
    /// When this repository, and those whose objects are its own as well, were touched last.
    pub fn touched(&self) -> Result<Touched> {
        let all = std::iter::successors(Some(self), |repo| repo.parent());
        let times = all.map(|repo| {
            let stat = fs::fstat(repo.dir()).map_err(Error::io("reading", repo.path()))?;
            Ok((stat.st_ino, changed(&stat)))
        });
        Ok(Touched(times.collect::<Result<_>>()?))
    }

    /// The stamp of the local refs: it stays the same as long as they do.
    pub fn refs_stamp(&self) -> Result<RefsStamp> {
        let mut stamp = RefsStamp::default();
        let noted = note(self.dir(), "refs/heads".as_ref(), 0, &mut stamp);
        noted.map_err(Error::io("reading", self.path().join("refs/heads")))?;
        stamp.folders.sort_unstable();
        Ok(stamp)
    }

    /// Whether the summary was made after the refs had become what a stamp says.
    pub fn is_summary_after(&self, stamp: &RefsStamp) -> Result<bool> {
        let stat = fs::stat(self.dir(), "summary");
        let stat = stat.map_err(Error::io("reading", self.path().join("summary")))?;
        Ok(stat.is_some_and(|stat| changed(&stat) > stamp.newest()))
    }
}

fn note(at: BorrowedFd<'_>, name: &[u8], depth: usize, stamp: &mut RefsStamp) -> io::Result<()> {
    let dir = match fs::open_dir(at, name) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            // What cannot be read has no refs that anybody could be told of.
            return Ok(());
        }
        dir => dir?,
    };
    let stat = fs::fstat(&dir)?;
    stamp.folders.push((stat.st_ino, changed(&stat)));
    if depth > MAX_DEPTH {
        return Ok(());
    }
    for (name, kind) in fs::entries_once(&dir)? {
        if kind.is_dir() || kind == FileType::Unknown {
            note(dir.as_fd(), &name, depth + 1, stamp)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oxtree_format::CommitId;

    use crate::{Mode, RefUpdate, Repo};

    #[test]
    fn stamps_change_with_refs_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None).unwrap();
        let commit: CommitId = "1".repeat(64).parse().unwrap();
        let mut last = repo.refs_stamp().unwrap();
        assert!(!last.is_settled());
        for name in ["a/b/c", "a/b/d", "e", "a/b/c"] {
            // The clock has to tick between.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let update = RefUpdate::set(name.parse().unwrap(), commit);
            repo.update_refs(&[update]).unwrap();
            let stamp = repo.refs_stamp().unwrap();
            assert_ne!(stamp, last, "{name}");
            assert_eq!(stamp, repo.refs_stamp().unwrap());
            last = stamp;
        }
        let touched = repo.touched().unwrap();
        assert_eq!(touched, repo.touched().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        repo.update_refs(&[RefUpdate::set("e".parse().unwrap(), commit)])
            .unwrap();
        assert_ne!(touched, repo.touched().unwrap());
        last = repo.refs_stamp().unwrap();
        assert!(!repo.is_summary_after(&last).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(dir.path().join("repo/summary"), "").unwrap();
        assert!(repo.is_summary_after(&last).unwrap());
    }
}
