// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects that are right, and all kinds of wrong ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use oxtree_format::Checksum;
use oxtree_gvariant::text;

use crate::conversation::{COMMIT, DIRMETA, DIRTREE, FILE, FILEZ, Object, PLAIN};

/// The bytes of a value in GVariant's text format.
pub(crate) fn gvariant(value: &str) -> Vec<u8> {
    let value = text::parse(value).unwrap_or_else(|error| panic!("{value}: {error}"));
    value.data
}

/// A checksum in that format.
pub(crate) fn bytes(checksum: &Checksum) -> String {
    let bytes: Vec<String> = checksum
        .as_bytes()
        .iter()
        .map(ToString::to_string)
        .collect();
    format!("@ay [{}]", bytes.join(","))
}

/// A directory of an owner that no directory of the receiver has.
pub(crate) fn dirmeta(mode: u32) -> Object {
    let (mode, owner) = (mode.to_be(), 666_u32.to_be());
    let value = format!("@(uuua(ayay)) ({owner}, {owner}, {mode}, [])");
    Object::metadata(DIRMETA, gvariant(&value))
}

/// A directory of these files and folders, in just this order.
pub(crate) fn dirtree(files: &[(&str, Checksum)], dirs: &[(&str, Checksum, Checksum)]) -> Object {
    let files: Vec<String> = files
        .iter()
        .map(|(name, file)| format!("('{name}', {})", bytes(file)))
        .collect();
    let dirs: Vec<String> = dirs
        .iter()
        .map(|(name, tree, meta)| format!("('{name}', {}, {})", bytes(tree), bytes(meta)))
        .collect();
    let value = format!(
        "@(a(say)a(sayay)) ([{}], [{}])",
        files.join(","),
        dirs.join(",")
    );
    Object::metadata(DIRTREE, gvariant(&value))
}

pub(crate) fn commit(tree: &Checksum, meta: &Checksum) -> Object {
    commit_after(None, tree, meta)
}

pub(crate) fn commit_after(parent: Option<&Checksum>, tree: &Checksum, meta: &Checksum) -> Object {
    let parent = parent.map_or_else(|| "@ay []".to_owned(), bytes);
    let value = format!(
        "@(a{{sv}}aya(say)sstayay) ({{}}, {parent}, [], 'evil', '', {}, {}, {})",
        1_700_000_000_u64.to_be(),
        bytes(tree),
        bytes(meta)
    );
    Object::metadata(COMMIT, gvariant(&value))
}

/// What a file object says besides its content.
#[derive(Clone, Copy)]
pub(crate) struct Header<'h> {
    pub(crate) mode: u32,
    pub(crate) device: u32,
    pub(crate) target: &'h str,
    pub(crate) xattrs: &'h str,
}

impl Default for Header<'_> {
    fn default() -> Self {
        let (mode, device, target, xattrs) = (0o100_644, 0, "", "[]");
        Self {
            mode,
            device,
            target,
            xattrs,
        }
    }
}

impl Header<'_> {
    /// The header with its prefix; with a size in front as in a `.filez`, or without.
    pub(crate) fn bytes(self, size: Option<u64>) -> Vec<u8> {
        let (mode, device) = (self.mode.to_be(), self.device.to_be());
        let fields = format!("0, 0, {mode}, {device}, '{}', {}", self.target, self.xattrs);
        let header = match size {
            None => gvariant(&format!("@(uuuusa(ayay)) ({fields})")),
            Some(size) => gvariant(&format!("@(tuuuusa(ayay)) ({}, {fields})", size.to_be())),
        };
        let length = u32::try_from(header.len()).expect("a short header");
        [&length.to_be_bytes()[..], &[0; 4], &header].concat()
    }

    /// What a file with this content is called.
    pub(crate) fn name(self, content: &[u8]) -> Checksum {
        Checksum::of(&[&self.bytes(None), content].concat())
    }

    /// The file in its plain form.
    pub(crate) fn plain(self, content: &[u8]) -> Object {
        let bytes = [&self.bytes(None), content].concat();
        let (kind, form, name) = (FILE, PLAIN, Checksum::of(&bytes));
        Object {
            kind,
            form,
            name,
            bytes,
        }
    }

    /// The file as a `.filez` whose header says `size`, right or not.
    pub(crate) fn filez(self, content: &[u8], size: u64) -> Object {
        let bytes = [self.bytes(Some(size)), deflated(content)].concat();
        let (kind, form, name) = (FILE, FILEZ, self.name(content));
        Object {
            kind,
            form,
            name,
            bytes,
        }
    }
}

pub(crate) fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).expect("deflate");
    encoder.finish().expect("deflate")
}

/// An ordinary file.
pub(crate) fn file(content: &[u8]) -> Object {
    Header::default().filez(content, content.len() as u64)
}

/// A commit of a directory with these files, all that belongs to it before it.
pub(crate) fn commit_of(files: &[(&str, &Object)]) -> Vec<Object> {
    let named: Vec<(&str, Checksum)> = files.iter().map(|(n, file)| (*n, file.name)).collect();
    with_root(
        files.iter().map(|(_, file)| (*file).clone()).collect(),
        dirtree(&named, &[]),
    )
}

/// A commit of a directory, after what is in it.
pub(crate) fn with_root(mut inside: Vec<Object>, root: Object) -> Vec<Object> {
    let meta = dirmeta(0o40_755);
    let commit = commit(&root.name, &meta.name);
    inside.extend([meta, root, commit]);
    inside
}
