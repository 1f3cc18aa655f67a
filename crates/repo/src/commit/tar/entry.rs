// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a member of a tar stream is.

use oxtree_format::Xattrs;
use oxtree_format::dirmeta::{S_IFDIR, S_IFLNK, S_IFREG};
use tar::EntryType;

use super::super::modifier::Attributes;
use super::super::walk::{escaped, utf8_name};
use super::sparse::Sparse;
use super::stream::RawMember;
use crate::mtree::MAX_DEPTH;

/// A member that matters.
pub(super) struct Member {
    /// The names on the way to it, itself last; empty for the root.
    pub(super) path: Vec<String>,
    pub(super) attributes: Attributes,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    File(Sparse),
    Dir,
    Symlink(String),
    /// A hard link to the file at this path.
    Link(Vec<String>),
}

/// What extended headers say that matters here.
#[derive(Default)]
struct Extended {
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Vec<(String, String)>,
}

impl Member {
    /// Understands a member.
    pub(super) fn new(raw: RawMember) -> Result<Self, String> {
        let Extended { xattrs, sparse } = extended(raw.records)?;
        let (sparse, name) = match raw.sparse {
            Some((size, pieces)) => (Sparse::pieces(size, pieces), None),
            None => Sparse::new(&sparse, raw.size)?,
        };
        let name = name.map_or(raw.name, String::into_bytes);
        let path = clean(&name)?;
        let kind = raw.header.entry_type();
        // Archives of before 1988 have no directories but this.
        let is_dir = kind.is_dir() || (kind.is_file() && name.ends_with(b"/"));
        let target =
            || utf8(&raw.link).ok_or_else(|| format!("{}: no valid link target", escaped(&name)));
        let (bits, kind) = match kind {
            _ if is_dir => (S_IFDIR, Kind::Dir),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                (S_IFREG, Kind::File(sparse))
            }
            EntryType::Symlink => (S_IFLNK, Kind::Symlink(target()?)),
            EntryType::Link => (S_IFREG, Kind::Link(clean(&raw.link)?)),
            _ => {
                let path = path.join("/");
                return Err(format!("Unsupported file type for path \"{path}\""));
            }
        };
        let id =
            |id: u64| u32::try_from(id).map_err(|_| format!("{}: {id} is nobody", escaped(&name)));
        let attributes = Attributes {
            uid: id(raw.uid)?,
            gid: id(raw.gid)?,
            mode: bits | (raw.mode & 0o7777),
            xattrs: Xattrs::new(xattrs).map_err(|error| error.to_string())?,
        };
        Ok(Self {
            path,
            attributes,
            kind,
        })
    }
}

fn extended(records: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Extended, String> {
    let mut extended = Extended::default();
    for (key, value) in records {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            extended.xattrs.push((name.to_vec(), value));
        } else if key == b"RHT.security.selinux" {
            extended.xattrs.push((b"security.selinux".to_vec(), value));
        } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            let text = |bytes: &[u8]| {
                utf8(bytes).ok_or_else(|| "a sparse file's header is not text".to_owned())
            };
            extended.sparse.push((text(key)?, text(&value)?));
        }
    }
    // The same attribute twice: the last one counts.
    extended.xattrs.reverse();
    extended.xattrs.sort_by(|a, b| a.0.cmp(&b.0));
    extended.xattrs.dedup_by(|a, b| a.0 == b.0);
    Ok(extended)
}

fn utf8(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

/// The names in a path, relative to the root whether it begins with a slash or not. It must not
/// lead upwards.
fn clean(path: &[u8]) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                let path = escaped(path);
                return Err(format!("Invalid uplink '..' in path {path}"));
            }
            name => names.push(utf8_name(name.to_vec()).map_err(|error| error.to_string())?),
        }
    }
    match names.len() > MAX_DEPTH {
        true => Err(format!(
            "more than {MAX_DEPTH} directories inside of each other"
        )),
        false => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean(b"./a//b/./c/").unwrap(), ["a", "b", "c"]);
        assert_eq!(clean(b"/etc/x").unwrap(), ["etc", "x"]);
        assert_eq!(clean(b".").unwrap(), [""; 0]);
        assert_eq!(clean(b"..a/b..").unwrap(), ["..a", "b.."]);
        for bad in [&b"../a"[..], b"a/../b", b"/..", b"a/..", b"a\xff"] {
            assert!(clean(bad).is_err(), "{bad:?}");
        }
        assert!(clean(&b"a/".repeat(MAX_DEPTH + 1)).is_err());
    }
}
