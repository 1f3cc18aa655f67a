// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few things we need of the file system beyond `rustix`, all relative to directory handles.

pub(crate) mod lock;
pub(crate) mod share;
pub(crate) mod tmpfile;
pub(crate) mod xattr;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

/// Opens a directory without following a link at its end.
pub(crate) fn open_dir(at: impl AsFd, path: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

/// Opens a directory given by the user, links followed.
pub(crate) fn open_dir_follow(path: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens a file for reading without following a link at its end.
pub(crate) fn open_file(at: impl AsFd, path: impl Arg) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?.into())
}

/// Reads a whole file of at most `max` bytes; [`None`] if it does not exist.
pub(crate) fn read_file(at: impl AsFd, path: impl Arg, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut file = match open_file(at, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    // Most are small, and a read that does not fill the buffer has come to the end.
    let mut small = [0; 1024];
    let len = file.read(&mut small)?;
    if len < small.len() && len as u64 <= max {
        return Ok(Some(small[..len].to_vec()));
    }
    let size = file.metadata()?.len();
    if size > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{size} bytes are more than the {max} allowed"),
        ));
    }
    let size = usize::try_from(size).unwrap_or(0);
    // One more than there should be: a file that does not fill it has been read to its end.
    let mut bytes = vec![0; (size + 1).max(len)];
    bytes[..len].copy_from_slice(&small[..len]);
    let len = len + (&file).read(&mut bytes[len..])?;
    bytes.truncate(len);
    if len != size {
        file.take(max.saturating_sub(len as u64))
            .read_to_end(&mut bytes)?;
    }
    Ok(Some(bytes))
}

/// `fstatat` without following links; [`None`] if nothing is there.
pub(crate) fn stat(at: impl AsFd, path: impl Arg) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(at, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What an open file or directory is.
pub(crate) fn fstat(fd: impl AsFd) -> io::Result<Stat> {
    Ok(rustix::fs::fstat(fd)?)
}

/// The target of a symbolic link.
pub(crate) fn read_link(at: impl AsFd, path: impl Arg) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(at, path, Vec::new())?.into_bytes())
}

/// Makes a directory (0777 less the umask); it may be there already.
pub(crate) fn ensure_dir(at: impl AsFd, path: impl Arg) -> io::Result<()> {
    match rustix::fs::mkdirat(at, path, Mode::from_raw_mode(0o777)) {
        Err(Errno::EXIST) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a directory and those above it. Symbolic links are not followed, so nothing is made elsewhere.
pub(crate) fn ensure_dirs(at: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let mut dir: Option<OwnedFd> = None;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let here = dir.as_ref().map_or(at, |dir| dir.as_fd());
        let next = match open_dir(here, part) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ensure_dir(here, part)?;
                open_dir(here, part)?
            }
            opened => opened?,
        };
        dir = Some(next);
    }
    Ok(())
}

/// The names in a directory, without `.` and `..`, with what the file system says of their type.
pub(crate) fn entries(dir: impl AsFd) -> io::Result<Vec<(Vec<u8>, rustix::fs::FileType)>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(names)
}

/// The same for a handle that was not read from before, and is not to be read from again: one call
/// less or two for each directory.
pub(crate) fn entries_once(dir: &OwnedFd) -> io::Result<Vec<(Vec<u8>, rustix::fs::FileType)>> {
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut entries = rustix::fs::RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Deletes a file or a whole directory below `at`; it may be gone already.
pub(crate) fn remove_all(at: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(at, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let dir = match open_dir(at, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        dir => dir?,
    };
    for (name, _) in entries_once(&dir)? {
        remove_all(dir.as_fd(), &name)?;
    }
    match rustix::fs::unlinkat(at, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A name that nobody else uses: `prefix` and six random letters.
pub(crate) fn random_name(prefix: &str) -> String {
    use std::hash::{BuildHasher, Hasher};
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    // Seeded by the system for each state; collisions are seen by the exclusive creation after it.
    let mut bits = std::hash::RandomState::new().build_hasher().finish();
    let mut name = prefix.to_owned();
    for _ in 0..6 {
        name.push(char::from(LETTERS[(bits % 62) as usize]));
        bits /= 62;
    }
    name
}
