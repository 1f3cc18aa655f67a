// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of a repository clients may fetch by its path, as any web server would hand it out: objects,
//! refs, deltas, the summary and its index, the config. Never what is in `tmp/` or `state/`, or outside.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use oxtree_format::refs::parse_ref_file;
use oxtree_format::{ObjectId, ObjectKind};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Error, Repo, Result, fs};

/// A file that clients may fetch.
#[derive(Debug)]
pub struct PublicFile {
    /// The file, open for reading.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// How long what it holds is true.
    pub lasts: Lasts,
}

/// How long what a file holds is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// For ever: it is named after what it holds.
    Forever,
    /// Until somebody makes it anew, which is seldom.
    Long,
    /// Until the next push.
    Short,
}

/// Files beside the folders: of libostree, and flatpak's index of the summaries for parts of the refs.
const ROOT: [&str; 5] = [
    "config",
    "summary",
    "summary.sig",
    "summary.idx",
    "summary.idx.sig",
];

/// The deepest path that is looked for.
const MAX_DEPTH: usize = 64;

impl Repo {
    /// Opens the file at a path relative to the repository; [`None`] if there is none, or none that
    /// clients may have. Links are followed among refs only, where they are aliases.
    pub fn open_public(&self, path: &str) -> Result<Option<PublicFile>> {
        let Some((below, rest, lasts)) = self.classify(path) else {
            return Ok(None);
        };
        let io = || Error::io("opening", self.path().join(path));
        let opened = match below {
            None => open_beneath(self.dir(), rest, false),
            Some("objects") => open_beneath(self.objects(), rest, false),
            Some(folder) => match fs::open_dir(self.dir(), folder) {
                Ok(dir) => open_beneath(dir.as_fd(), rest, folder == "refs"),
                Err(error) => Err(error),
            },
        };
        let file = match opened {
            Ok(file) => File::from(file),
            Err(error) if is_none(&error) => return Ok(None),
            Err(error) => return Err(io()(error)),
        };
        let stat = fs::fstat(&file).map_err(io())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        if below == Some("refs") && !is_ref(&file) {
            return Ok(None);
        }
        Ok(Some(PublicFile {
            file,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            lasts,
        }))
    }

    /// The folder that a path begins with, the rest of it, and what is known of such files.
    fn classify<'p>(&self, path: &'p str) -> Option<(Option<&'static str>, &'p str, Lasts)> {
        if path.split('/').count() > MAX_DEPTH || path.split('/').any(is_special) {
            return None;
        }
        if ROOT.contains(&path) || is_flatpak_file(path) {
            return Some((None, path, Lasts::Short));
        }
        let (folder, rest) = path.split_once('/')?;
        Some(match folder {
            "objects" => {
                let (fanout, name) = rest.split_once('/')?;
                let object = ObjectId::from_loose(fanout, name, true)?;
                (Some("objects"), rest, lasts(object.kind)?)
            }
            "refs" => (Some("refs"), rest, Lasts::Short),
            "deltas" => (Some("deltas"), rest, Lasts::Long),
            "delta-indexes" => (Some("delta-indexes"), rest, Lasts::Short),
            "summaries" => (Some("summaries"), rest, Lasts::Short),
            "extensions" => (Some("extensions"), rest, Lasts::Short),
            _ => return None,
        })
    }
}

fn lasts(kind: ObjectKind) -> Option<Lasts> {
    use ObjectKind::{Commit, CommitMeta, DirMeta, DirTree, File, TombstoneCommit};
    match kind {
        File | DirTree | DirMeta | Commit => Some(Lasts::Forever),
        // Signatures are added to it, or the commit comes back.
        CommitMeta | TombstoneCommit => Some(Lasts::Short),
        _ => None,
    }
}

/// Whether this is what publishers lay beside `config` for flatpak's users: a description of the repository, or
/// of one ref. Tools write no file of such a name.
pub fn is_flatpak_file(path: &str) -> bool {
    let suffixes = [".flatpakrepo", ".flatpakref"];
    let stem = suffixes.iter().find_map(|suffix| path.strip_suffix(suffix));
    stem.is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.') && !path.contains('/'))
}

/// What is not a name of something in a folder.
fn is_special(name: &str) -> bool {
    name.is_empty() || name == "." || name == ".." || name.contains('\0')
}

/// Whether an error means that there is no such file, or none to be had.
fn is_none(error: &io::Error) -> bool {
    let of_path = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::LOOP,
        Errno::XDEV,
        Errno::NAMETOOLONG,
        Errno::ACCESS,
        Errno::NXIO,
    ];
    of_path
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Nothing that is opened is waited for, be it a pipe.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Opens what is below a folder, and nothing else, whatever links are there.
fn open_beneath(dir: BorrowedFd<'_>, path: &str, links: bool) -> io::Result<OwnedFd> {
    let resolve = match links {
        true => ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS),
        false => ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS),
    };
    match rustix::fs::openat2(dir, path, FLAGS, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that do not know it.
        Err(Errno::NOSYS | Errno::PERM) => open_by_steps(dir, path),
        opened => Ok(opened?),
    }
}

/// The same a folder at a time. No link is followed.
fn open_by_steps(dir: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut at: Option<OwnedFd> = None;
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let from = at.as_ref().map_or(dir, AsFd::as_fd);
        at = Some(rustix::fs::openat(from, folder, flags, Mode::empty())?);
    }
    let from = at.as_ref().map_or(dir, AsFd::as_fd);
    let flags = FLAGS | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(from, name, flags, Mode::empty())?)
}

/// Whether a file has what a ref has: clients must not see a damaged one.
fn is_ref(file: &File) -> bool {
    let mut bytes = [0; 80];
    let read = file.read_at(&mut bytes, 0);
    read.is_ok_and(|len| parse_ref_file(&bytes[..len]).is_ok())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Mode;

    #[test]
    fn only_what_is_public_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("repo");
        let repo = Repo::create(&path, Mode::Archive, None).unwrap();
        let object = format!("objects/ab/{}.filez", "c".repeat(62));
        std::fs::create_dir_all(path.join("objects/ab")).unwrap();
        std::fs::create_dir_all(path.join("refs/heads/os")).unwrap();
        std::fs::create_dir_all(path.join("state")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(path.join("tmp/secret"), "secret").unwrap();
        std::fs::write(path.join("state/secret"), "secret").unwrap();
        std::fs::write(path.join(&object), "object").unwrap();
        let commit = "a".repeat(64);
        std::fs::write(path.join("refs/heads/os/main"), &commit).unwrap();
        std::fs::write(path.join("refs/heads/os/garbled"), "commit").unwrap();
        symlink("main", path.join("refs/heads/os/alias")).unwrap();
        symlink("../../../tmp/secret", path.join("refs/heads/os/out")).unwrap();
        symlink("/etc/passwd", path.join("refs/heads/os/far")).unwrap();
        let linked = format!("objects/ab/{}.filez", "d".repeat(62));
        symlink("../../tmp/secret", path.join(&linked)).unwrap();
        let pipe = format!("objects/ab/{}.filez", "e".repeat(62));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path.join(&pipe),
            FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let read = |name: &str| {
            let found = repo.open_public(name).unwrap()?;
            let mut text = String::new();
            (&found.file).read_to_string(&mut text).unwrap();
            assert_eq!(text.len() as u64, found.size);
            Some((text, found.lasts))
        };
        assert_eq!(
            read(&object).unwrap(),
            ("object".to_owned(), Lasts::Forever)
        );
        let beside = ["summary", "summary.sig", "summary.idx", "summary.idx.sig"];
        for name in beside
            .into_iter()
            .chain(["x.flatpakrepo", "org.x.flatpakref"])
        {
            assert_eq!(read(name), None, "{name}");
            std::fs::write(path.join(name), name).unwrap();
            assert_eq!(read(name), Some((name.to_owned(), Lasts::Short)));
            std::fs::remove_file(path.join(name)).unwrap();
        }
        let commit = (commit, Lasts::Short);
        assert_eq!(read("refs/heads/os/main").unwrap(), commit);
        assert_eq!(read("refs/heads/os/alias").unwrap(), commit);
        assert!(read("config").unwrap().0.contains("[core]"));
        for name in ["o.trustedkeys.gpg", ".flatpakrepo", "tmp/x.flatpakref"] {
            std::fs::write(path.join(name), name).unwrap();
        }
        for bad in [
            "",
            "/",
            "refs/heads/os/garbled",
            "o.trustedkeys.gpg",
            ".flatpakrepo",
            "tmp/x.flatpakref",
            "tmp/secret",
            "state/secret",
            "objects/../tmp/secret",
            "refs/../tmp/secret",
            "refs/heads/os/out",
            "refs/heads/os/far",
            "refs/heads/os",
            "refs//heads/os/main",
            "refs/./heads/os/main",
            "refs/heads/os/main/",
            "../secret",
            "/etc/passwd",
            "refs//etc/passwd",
            "refs/heads/os/main\0",
            "objects",
            "objects/ab",
            ".lock",
            "summary",
            &linked,
            &pipe,
            &format!("refs/{}", "a/".repeat(5000)),
            &format!("refs/{}", "a".repeat(5000)),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        for path in ["refs/heads/os/alias", "refs/heads/os/far"] {
            assert!(open_by_steps(repo.dir(), path).is_err(), "{path}");
        }
        assert!(open_by_steps(repo.dir(), "refs/heads/os/main").is_ok());
    }
}
