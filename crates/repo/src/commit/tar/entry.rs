// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a member of a tar stream is.

use std::io::Read;

use oxtree_format::Xattrs;
use oxtree_format::dirmeta::{S_IFDIR, S_IFLNK, S_IFREG};
use tar::{Entry, EntryType};

use super::super::modifier::Attributes;
use super::super::walk::{escaped, utf8_name};
use super::sparse::Sparse;
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

/// What the extended header says that we use.
#[derive(Default)]
struct Extended {
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Vec<(String, String)>,
}

impl Member {
    /// Understands a member; [`None`] for one that says nothing about a file.
    pub(super) fn read(entry: &mut Entry<'_, impl Read>) -> Result<Option<Self>, String> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(None);
        }
        let Extended { xattrs, sparse } = extended(entry)?;
        let size = entry.header().size().map_err(|error| error.to_string())?;
        let size = if kind.is_gnu_sparse() {
            size
        } else {
            entry.size()
        };
        let (sparse, name) = Sparse::new(&sparse, size)?;
        let name = name.map_or_else(|| entry.path_bytes().into_owned(), String::into_bytes);
        let path = clean(&name)?;
        // Archives of before 1988 have no directories but this.
        let is_dir = kind.is_dir() || (kind.is_file() && name.ends_with(b"/"));
        let target = || {
            let target = entry.link_name_bytes().unwrap_or_default();
            utf8(&target).ok_or_else(|| format!("{}: no valid link target", escaped(&name)))
        };
        let (bits, kind) = match kind {
            _ if is_dir => (S_IFDIR, Kind::Dir),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                (S_IFREG, Kind::File(sparse))
            }
            EntryType::Symlink => (S_IFLNK, Kind::Symlink(target()?)),
            EntryType::Link => (S_IFREG, Kind::Link(clean(target()?.as_bytes())?)),
            _ => {
                let path = path.join("/");
                return Err(format!("Unsupported file type for path \"{path}\""));
            }
        };
        let attributes = attributes(entry, bits, xattrs)
            .map_err(|error| format!("{}: {error}", escaped(&name)))?;
        Ok(Some(Self {
            path,
            attributes,
            kind,
        }))
    }
}

fn attributes(
    entry: &Entry<'_, impl Read>,
    bits: u32,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<Attributes, String> {
    let header = entry.header();
    let id = |id: std::io::Result<u64>| {
        let id = id.map_err(|error| error.to_string())?;
        u32::try_from(id).map_err(|_| format!("{id} is no user or group"))
    };
    let mode = header.mode().map_err(|error| error.to_string())?;
    Ok(Attributes {
        uid: id(header.uid())?,
        gid: id(header.gid())?,
        mode: bits | (mode & 0o7777),
        xattrs: Xattrs::new(xattrs).map_err(|error| error.to_string())?,
    })
}

fn extended(entry: &mut Entry<'_, impl Read>) -> Result<Extended, String> {
    let mut extended = Extended::default();
    let records = entry.pax_extensions().map_err(|error| error.to_string())?;
    for record in records.into_iter().flatten() {
        let record = record.map_err(|error| error.to_string())?;
        let (key, value) = (record.key_bytes(), record.value_bytes());
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            extended.xattrs.push((name.to_vec(), value.to_vec()));
        } else if key == b"RHT.security.selinux" {
            let name = b"security.selinux".to_vec();
            extended.xattrs.push((name, value.to_vec()));
        } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            let text = |bytes: &[u8]| {
                utf8(bytes).ok_or_else(|| "a sparse file's header is not text".to_owned())
            };
            extended.sparse.push((text(key)?, text(value)?));
        }
    }
    // The same attribute twice: the last one counts, as everywhere in extended headers.
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
