// SPDX-License-Identifier: MIT OR Apache-2.0
//! Notes: small files that a server keeps with the repository it serves, in `state/oxtree-KIND/`.
//! They outlive the server, and nobody else has a use for them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::{Error, Repo, Result, fs};

/// The largest note that is read, in bytes.
const MAX_NOTE: u64 = 64 << 20;

impl Repo {
    /// The notes of a kind with their names, in the order of these.
    pub fn notes(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let mut notes = Vec::new();
        for name in self.note_names(kind)? {
            match self.note(kind, &name) {
                Ok(Some(bytes)) => notes.push((name, bytes)),
                Ok(None) => {}
                // It must not keep the others from being read.
                Err(error) if is_no_note(&error) => tracing::warn!("passed over: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(notes)
    }

    /// The names of the notes of a kind, sorted.
    pub fn note_names(&self, kind: &str) -> Result<Vec<String>> {
        let mut names = self.names_in(&folder(kind)?)?;
        names.retain(|name| is_name(name));
        names.sort_unstable();
        Ok(names)
    }

    /// A note, if it is there.
    pub fn note(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let path = path(kind, name)?;
        let io = Error::io("reading", self.path().join(&path));
        fs::read_file(self.dir(), &*path, MAX_NOTE).map_err(io)
    }

    /// When a note was written, if it is there.
    pub fn note_time(&self, kind: &str, name: &str) -> Result<Option<SystemTime>> {
        let path = path(kind, name)?;
        let io = Error::io("reading", self.path().join(&path));
        let stat = fs::stat(self.dir(), &*path).map_err(io)?;
        let seconds = stat.map(|stat| u64::try_from(stat.st_mtime).unwrap_or(0));
        Ok(seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    /// Writes a note, whole or not at all; one of that name is replaced. It may be lost when the
    /// machine stops.
    pub fn write_note(&self, kind: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let path = path(kind, name)?;
        let io = || Error::io("writing", self.path().join(&path));
        let written = self.write_file_unsynced(&path, bytes);
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::ensure_dir(self.dir(), "state").map_err(io())?;
                fs::ensure_dir(self.dir(), &*folder(kind)?).map_err(io())?;
                self.write_file_unsynced(&path, bytes).map_err(io())
            }
            written => written.map_err(io()),
        }
    }

    /// The same, which is not lost.
    pub fn write_note_durably(&self, kind: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let (folder, path) = (folder(kind)?, path(kind, name)?);
        let io = || Error::io("writing", self.path().join(&path));
        let made = fs::ensure_dir(self.dir(), "state");
        made.and_then(|()| fs::ensure_dir(self.dir(), &*folder))
            .map_err(io())?;
        self.write_file(&path, bytes).map_err(io())?;
        if !self.config().fsync {
            return Ok(());
        }
        // Its name, and that of the folder it may be the first in.
        [folder.as_str(), "state"].iter().try_for_each(|folder| {
            let dir = fs::open_dir(self.dir(), *folder).map_err(io())?;
            rustix::fs::fsync(dir).map_err(|error| io()(error.into()))
        })
    }

    /// Deletes a note, if it is there.
    pub fn delete_note(&self, kind: &str, name: &str) -> Result<()> {
        let path = path(kind, name)?;
        let io = Error::io("deleting", self.path().join(&path));
        match rustix::fs::unlinkat(self.dir(), &*path, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io(std::io::Error::from(error))),
        }
    }
}

/// Whether what has the name of a note is something else.
fn is_no_note(error: &Error) -> bool {
    let Error::Io { source, .. } = error else {
        return false;
    };
    // A symbolic link is not followed.
    let is_link = source.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    let kinds = [
        std::io::ErrorKind::FileTooLarge,
        std::io::ErrorKind::IsADirectory,
    ];
    is_link || kinds.contains(&source.kind())
}

/// Lower-case letters, digits and hyphens: no name leads anywhere else.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
}

fn folder(kind: &str) -> Result<String> {
    match is_name(kind) {
        true => Ok(format!("state/oxtree-{kind}")),
        false => Err(Error::Invalid(format!("'{kind}' is no kind of a note"))),
    }
}

fn path(kind: &str, name: &str) -> Result<String> {
    match is_name(name) {
        true => Ok(format!("{}/{name}", folder(kind)?)),
        false => Err(Error::Invalid(format!("'{name}' is no name of a note"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;

    #[test]
    fn notes_are_kept_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None).unwrap();
        assert!(repo.notes("pushes").unwrap().is_empty());
        repo.write_note("pushes", "b", b"one").unwrap();
        repo.write_note("pushes", "a", b"two").unwrap();
        repo.write_note("pushes", "b", b"three").unwrap();
        repo.write_note_durably("jobs", "c", b"four").unwrap();
        assert_eq!(repo.notes("jobs").unwrap()[0].1, b"four");
        let expected = [("a", "two"), ("b", "three")]
            .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        assert_eq!(repo.notes("pushes").unwrap(), expected);
        assert_eq!(repo.note_names("pushes").unwrap(), ["a", "b"]);
        assert_eq!(repo.note("pushes", "b").unwrap().unwrap(), b"three");
        assert!(repo.note_time("pushes", "b").unwrap().is_some());
        repo.delete_note("pushes", "a").unwrap();
        repo.delete_note("pushes", "a").unwrap();
        assert_eq!(repo.note("pushes", "a").unwrap(), None);
        assert_eq!(repo.note_time("pushes", "a").unwrap(), None);
        assert_eq!(repo.notes("pushes").unwrap().len(), 1);
        for bad in ["", ".", "..", "a/b", "../config", "A", &"x".repeat(65)] {
            assert!(repo.write_note("pushes", bad, b"").is_err(), "{bad}");
            assert!(repo.delete_note(bad, "x").is_err(), "{bad}");
        }
    }
}
