// SPDX-License-Identifier: MIT OR Apache-2.0
//! What something on a disk would be called in a commit.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use oxtree_format::{Checksum, DirMeta, FileHeader, Xattrs};
use rustix::fs::{AtFlags, CWD, FileType, Stat};

use crate::fs::{self, xattr};
use crate::object::verify::BUFFER;
use crate::{Error, Result};

/// How things on a disk are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskView {
    /// They have no extended attributes.
    pub ignore_xattrs: bool,
    /// Everything belongs to this user.
    pub owner_uid: Option<u32>,
    /// Everything belongs to this group.
    pub owner_gid: Option<u32>,
}

/// The name that the object of what is at `path` would have: of a file, a symbolic link (which is
/// not followed), or of the metadata of a directory.
///
/// ```
/// use oxtree_repo::{DiskView, checksum_path};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("greeting");
/// std::fs::write(&path, "hello\n")?;
/// let view = DiskView { owner_uid: Some(0), owner_gid: Some(0), ignore_xattrs: true };
/// # use std::os::unix::fs::PermissionsExt;
/// # std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644))?;
/// assert_eq!(
///     checksum_path(&path, &view)?.to_string(),
///     "44f778e59f0a4748d6b0c90a47347212a231c4ad1e8f7ea5c5dffc7749153a6b"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn checksum_path(path: &Path, view: &DiskView) -> Result<Checksum> {
    use std::os::unix::ffi::OsStrExt;
    checksum_at(CWD, path.as_os_str().as_bytes(), path, view)
}

/// [`checksum_path`] of `name` in an open directory; `path` says the same to people.
pub(crate) fn checksum_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    path: &Path,
    view: &DiskView,
) -> Result<Checksum> {
    let io = |action| Error::io(action, path);
    let mut stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Error::io("reading", path))?;
    let attributes_of_fd = |fd: BorrowedFd<'_>| match view.ignore_xattrs {
        true => Ok(Xattrs::NONE),
        false => xattr::of_fd(fd).map_err(io("reading extended attributes of")),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let fd = fs::open_dir(dir, name).map_err(io("opening"))?;
            stat = fs::fstat(&fd).map_err(io("reading"))?;
            Ok(view.dirmeta(&stat, attributes_of_fd(fd.as_fd())?))
        }
        FileType::RegularFile => {
            let mut file = fs::open_file(dir, name).map_err(io("opening"))?;
            stat = fs::fstat(&file).map_err(io("reading"))?;
            let header = view.header(&stat, attributes_of_fd(file.as_fd())?, None);
            checksum_content(&header, &mut file).map_err(io("reading"))
        }
        kind => {
            let xattrs = match view.ignore_xattrs {
                true => Xattrs::NONE,
                false => {
                    xattr::of_link(dir, name, path).map_err(io("reading extended attributes of"))?
                }
            };
            let target = match kind {
                FileType::Symlink => Some(link_target(dir, name, path)?),
                // In no commit, but libostree has a name for it.
                _ => None,
            };
            Ok(view.header(&stat, xattrs, target).id_with(&[]).0)
        }
    }
}

fn link_target(dir: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<String> {
    let target = fs::read_link(dir, name).map_err(Error::io("reading", path))?;
    String::from_utf8(target).map_err(|_| {
        let path = path.display();
        Error::Invalid(format!("{path}: a symbolic link's target is not UTF-8"))
    })
}

/// The name of a file with this header and all that can be read.
pub(crate) fn checksum_content(
    header: &FileHeader,
    content: &mut impl Read,
) -> std::io::Result<Checksum> {
    let mut hasher = header.hasher();
    let mut buffer = vec![0; BUFFER];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(len) => hasher.update(&buffer[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl DiskView {
    fn owner(&self, stat: &Stat) -> (u32, u32) {
        let uid = self.owner_uid.unwrap_or(stat.st_uid);
        (uid, self.owner_gid.unwrap_or(stat.st_gid))
    }

    fn header(&self, stat: &Stat, xattrs: Xattrs, symlink: Option<String>) -> FileHeader {
        let (uid, gid) = self.owner(stat);
        FileHeader {
            uid,
            gid,
            mode: stat.st_mode,
            symlink,
            xattrs,
        }
    }

    fn dirmeta(&self, stat: &Stat, xattrs: Xattrs) -> Checksum {
        let (uid, gid) = self.owner(stat);
        let mode = stat.st_mode;
        let meta = DirMeta {
            uid,
            gid,
            mode,
            xattrs,
        };
        meta.id().0
    }
}
