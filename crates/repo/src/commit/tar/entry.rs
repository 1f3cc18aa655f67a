// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a member of a tar stream is.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
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
        let target =
            || utf8(&raw.link).ok_or_else(|| format!("{}: no valid link target", escaped(&name)));
        let (bits, kind) = match raw.kind {
            EntryType::Directory => (S_IFDIR, Kind::Dir),
            EntryType::Regular | EntryType::GNUSparse => (S_IFREG, Kind::File(sparse)),
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
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let name = percent_decoded(name);
            let bad = || format!("the extended attribute {} is not in base64", escaped(&name));
            let value = base64_decoded(&value).ok_or_else(bad)?;
            extended.xattrs.push((name, value));
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

/// The bytes for which `%XX` stands; a percent sign before anything else is itself.
fn percent_decoded(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let digits = rest.first_chunk::<2>().filter(|_| *first == b'%');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| !digits.starts_with('+'))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        text = if code.is_some() { &rest[2..] } else { rest };
        bytes.push(code.unwrap_or(*first));
    }
    bytes
}

/// libarchive leaves out the padding, others do not.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    engine.decode(text.trim_ascii()).ok()
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

    #[test]
    fn attributes_as_libarchive_writes_them() {
        assert_eq!(percent_decoded(b"user.%41%2fb%zz%"), b"user.A/b%zz%");
        assert_eq!(percent_decoded(b"%+1%1"), b"%+1%1");
        for text in ["AQID", "AQID\n"] {
            assert_eq!(base64_decoded(text.as_bytes()).unwrap(), [1, 2, 3]);
        }
        for text in ["AQ", "AQ==", "AR"] {
            assert_eq!(base64_decoded(text.as_bytes()).unwrap(), [1], "{text}");
        }
        assert_eq!(base64_decoded(b"").unwrap(), b"");
        assert!(base64_decoded(b"A?Q=").is_none());
        let record = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        let both = vec![
            record("LIBARCHIVE.xattr.user.a", "eA"),
            record("SCHILY.xattr.user.a", "x"),
        ];
        let extended = extended(both).unwrap();
        assert_eq!(extended.xattrs, [(b"user.a".to_vec(), b"x".to_vec())]);
        assert!(super::extended(vec![record("LIBARCHIVE.xattr.user.a", "!")]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn base64_of_any_bytes(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&bytes);
            proptest::prop_assert_eq!(base64_decoded(text.as_bytes()).unwrap(), bytes.clone());
            let _ = (percent_decoded(&bytes), base64_decoded(&bytes));
        }
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
