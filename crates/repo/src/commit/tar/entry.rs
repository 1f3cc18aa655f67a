// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a member of a tar stream is.

use oxtree_format::Xattrs;
use oxtree_format::dirmeta::{S_IFDIR, S_IFLNK, S_IFREG};
use tar::EntryType;

use super::super::modifier::Attributes;
use super::super::walk::{escaped, utf8_name};
use super::PathFilter;
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
    /// Understands a member, its name rewritten by `filter`.
    pub(super) fn new(raw: RawMember, filter: Option<&PathFilter>) -> Result<Self, String> {
        let Extended { xattrs, sparse } = extended(raw.records)?;
        let (sparse, name) = match raw.sparse {
            Some((size, pieces)) => (Sparse::pieces(size, pieces), None),
            None => Sparse::new(&sparse, raw.size)?,
        };
        let name = name.map_or(raw.name, String::into_bytes);
        let path = renamed(&name, filter)?;
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
            EntryType::Link => (S_IFREG, Kind::Link(renamed(&raw.link, filter)?)),
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

/// The names in a path that `filter` has rewritten. It sees the path from the root on, without a
/// slash or `.` at its beginning.
fn renamed(path: &[u8], filter: Option<&PathFilter>) -> Result<Vec<String>, String> {
    let names = clean(path)?;
    let Some(filter) = filter else {
        return Ok(names);
    };
    let mut path = str::from_utf8(path).map_err(|error| error.to_string())?;
    while let Some(rest) = path.strip_prefix('/').or_else(|| path.strip_prefix("./")) {
        path = rest;
    }
    if path == "." {
        path = "";
    }
    clean(filter.apply(path).as_bytes())
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

    /// An archive with extended headers, and where its headers are.
    fn sample() -> (Vec<u8>, Vec<usize>) {
        let mut builder = tar::Builder::new(Vec::new());
        let records = [
            ("path", &b"dir/name"[..]),
            ("SCHILY.xattr.user.a", b"1"),
            ("GNU.sparse.map", b"0,2,9,1"),
            ("GNU.sparse.size", b"10"),
        ];
        builder.append_pax_extensions(records).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        builder
            .append_data(&mut header, "file", &b"abc"[..])
            .unwrap();
        header.set_entry_type(EntryType::Link);
        header.set_size(0);
        builder.append_link(&mut header, "a", "b").unwrap();
        (builder.into_inner().unwrap(), vec![0, 1024, 2048])
    }

    proptest::proptest! {
        #[test]
        fn hostile_members_do_not_panic(
            changes in proptest::collection::vec((0..2560_usize, proptest::prelude::any::<u8>()), 0..16)
        ) {
            let (mut bytes, headers) = sample();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            for at in headers {
                let block = &mut bytes[at..at + 512];
                let mut header = tar::Header::new_old();
                header.as_mut_bytes().copy_from_slice(block);
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
            let filter = PathFilter::parse(r"^dir(.*),\1/x").unwrap();
            let mut stream = super::super::stream::Stream::new(&bytes[..]);
            while let Ok(Some(raw)) = stream.next() {
                let size = raw.size;
                if let Ok(member) = Member::new(raw, Some(&filter))
                    && let Kind::File(sparse) = member.kind
                    && let Ok(mut content) = sparse.reader(&mut stream.content(size))
                {
                    let some = &mut std::io::Read::take(&mut content, 1 << 20);
                    let _ = std::io::copy(some, &mut std::io::sink());
                }
            }
        }
    }
}
