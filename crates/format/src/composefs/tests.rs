// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::layout::{BLOCK, DIRENT};
use super::*;
use crate::FsVerity;

fn inode(kind: Kind, mode: u32, xattrs: &[(&str, &[u8])]) -> Inode {
    let pairs = xattrs.iter();
    let pairs = pairs.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
    Inode {
        uid: 0,
        gid: 0,
        mode,
        xattrs: Arc::new(Xattrs::new(pairs.collect()).unwrap()),
        kind,
    }
}

fn file(size: u64, content: &str) -> Kind {
    Kind::File {
        size,
        object: FileId(Checksum::of(content.as_bytes())),
        digest: Some(FsVerity::of(content.as_bytes())),
    }
}

fn symlink(target: impl Into<String>) -> Kind {
    let target = target.into();
    Kind::Symlink { target }
}

fn bytes_of(image: Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.layout().unwrap().write(&mut bytes).unwrap();
    bytes
}

/// Something of everything.
fn sampler() -> Image {
    let label: &[(&str, &[u8])] = &[("security.selinux", b"label\0")];
    let mut image = Image::new(inode(Kind::Directory, 0o755, label));
    let mut add = |parent, name: &str, inode| image.add(parent, name.to_owned(), inode).unwrap();
    let escaped: &[(&str, &[u8])] = &[
        ("trusted.overlay.opaque", b"y"),
        ("user.x", b"1"),
        ("lustre.q", b""),
    ];
    let mut dir = inode(Kind::Directory, 0o2750, escaped);
    (dir.uid, dir.gid) = (70_000, 5);
    let dir = add(InodeId::ROOT, "d", dir);
    add(dir, "large", inode(file(5 << 30, "large"), 0o644, label));
    add(dir, "copy", inode(file(5 << 30, "large"), 0o4755, label));
    add(dir, "other", inode(file(4097, "other"), 0o600, &[]));
    add(dir, "empty", inode(file(0, ""), 0, &[]));
    add(dir, "-link", inode(symlink("l".repeat(3000)), 0o777, &[]));
    add(
        dir,
        &"z".repeat(255),
        inode(symlink("z"), 0o777, &[("user.x", b"2")]),
    );
    let acl: &[(&str, &[u8])] = &[("system.posix_acl_access", b"\x02\0\0\0")];
    add(InodeId::ROOT, "00", inode(file(1, "1"), 0o644, acl));
    let many = add(InodeId::ROOT, "many", inode(Kind::Directory, 0o755, &[]));
    for number in 0..400 {
        let dir = inode(Kind::Directory, 0o755, &[]);
        add(many, &format!("{number:03}"), dir);
    }
    image.ensure_root_directory("etc").unwrap();
    image.ensure_root_directory("d").unwrap();
    image
}

#[test]
fn images_are_those_of_libcomposefs() {
    // That of mkcomposefs 1.0.8, given the same inodes as text.
    let expected = "13784e8e99837a91c8a5b1d3e0a97810715db1d9ecafc8ef3a5fac0ed55e3cd7";
    let bytes = bytes_of(sampler());
    assert_eq!(FsVerity::of(&bytes).to_hex(), expected);
}

#[test]
fn what_does_not_fit_is_refused() {
    let with = |name: &str, kind, xattrs: &[(&str, &[u8])]| {
        let mut image = Image::new(inode(Kind::Directory, 0o755, &[]));
        image.add(InodeId::ROOT, name.to_owned(), inode(kind, 0o644, xattrs))?;
        image.layout().map(|_| ())
    };
    let value = [0; 32767 - 12 - 7 - 6];
    assert_eq!(with("a", file(0, ""), &[("user.x", &value)]), Ok(()));
    let value = [0; 32767 - 12 - 7 - 5];
    assert!(with("a", file(0, ""), &[("user.x", &value)]).is_err());
    assert_eq!(with("a", file(MAX_FILE_SIZE, ""), &[]), Ok(()));
    assert!(with("a", file(MAX_FILE_SIZE + 1, ""), &[]).is_err());
    assert_eq!(with("a", symlink("t".repeat(4095)), &[]), Ok(()));
    assert!(with("a", symlink("t".repeat(4096)), &[]).is_err());
    for name in ["", "a/b", "a\0", &"a".repeat(256)] {
        assert!(with(name, file(0, ""), &[]).is_err(), "{name:?}");
    }
    let mut twice = Image::new(inode(Kind::Directory, 0o755, &[]));
    for _ in 0..2 {
        let file = inode(file(0, ""), 0o644, &[]);
        twice.add(InodeId::ROOT, "a".to_owned(), file).unwrap();
    }
    assert!(twice.layout().is_err());
}

/// Reads images, as the kernel does.
struct Reader<'i>(&'i [u8]);

impl Reader<'_> {
    fn number(&self, at: u64, len: usize) -> u64 {
        let at = at as usize;
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&self.0[at..at + len]);
        u64::from_le_bytes(bytes)
    }

    /// The mode, the size, and the data of an inode, of a file none.
    fn inode(&self, slot: u64) -> (u32, u64, Vec<u8>) {
        let at = slot * 32;
        let form = self.number(at, 2);
        let (head, size) = match form & 1 {
            0 => (32, self.number(at + 8, 4)),
            _ => (64, self.number(at + 8, 8)),
        };
        let mode = self.number(at + 4, 2) as u32;
        let data = self.number(at + 16, 4) * BLOCK;
        let attributes = match self.number(at + 2, 2) {
            0 => 0,
            count => 12 + 4 * (count - 1),
        };
        let tail = at + head + attributes;
        let content = match form >> 1 {
            0 => self.slice(data, size),
            2 => {
                let in_blocks = size / BLOCK * BLOCK;
                let rest = size - in_blocks;
                assert_eq!(
                    tail / BLOCK,
                    (tail + rest - 1) / BLOCK,
                    "a tail in two blocks"
                );
                [self.slice(data, in_blocks), self.slice(tail, rest)].concat()
            }
            _ => {
                assert_eq!(self.number(tail, 4), 0xffff_ffff);
                Vec::new()
            }
        };
        (mode, size, content)
    }

    fn slice(&self, at: u64, len: u64) -> Vec<u8> {
        self.0[at as usize..(at + len) as usize].to_vec()
    }

    /// Every path, with mode, size and, of a symbolic link, target.
    fn paths(&self) -> BTreeMap<String, (u32, u64, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut stack = vec![(String::new(), self.number(1024 + 14, 2))];
        while let Some((path, slot)) = stack.pop() {
            let (mode, size, data) = self.inode(slot);
            if mode & 0o170_000 != S_IFDIR {
                found.insert(path, (mode, size, data));
                continue;
            }
            let mut names = Vec::new();
            for block in data.chunks(BLOCK as usize) {
                for (name, slot) in dirents(block) {
                    if name != "." && name != ".." {
                        stack.push((format!("{path}/{name}"), slot));
                    }
                    names.push(name);
                }
            }
            assert!(names.is_sorted_by_key(String::as_bytes));
            assert_eq!(
                names
                    .iter()
                    .filter(|name| matches!(name.as_str(), "." | ".."))
                    .count(),
                2
            );
            found.insert(path, (mode, 0, Vec::new()));
        }
        found
    }
}

fn dirents(block: &[u8]) -> Vec<(String, u64)> {
    let block = Reader(block);
    let count = block.number(8, 2) / DIRENT as u64;
    let start = |index| match index == count {
        true => block.0.len() as u64,
        false => block.number(index * DIRENT as u64 + 8, 2),
    };
    let entry = |index: u64| {
        let name = block.slice(start(index), start(index + 1) - start(index));
        let name = String::from_utf8(name).unwrap();
        let slot = block.number(index * DIRENT as u64, 8);
        (name.trim_end_matches('\0').to_owned(), slot)
    };
    (0..count).map(entry).collect()
}

fn any_inode() -> impl Strategy<Value = Inode> {
    let kind = prop_oneof![
        2 => Just(Kind::Directory),
        2 => (0..u64::MAX >> 21, "[ab]").prop_map(|(size, content)| file(size, &content)),
        1 => (1..4095usize).prop_map(|len| symlink("t".repeat(len))),
    ];
    let xattrs =
        prop::collection::btree_map("user\\.[a-d]", prop::collection::vec(0..3u8, 0..9), 0..4);
    (kind, xattrs, 0..80_000u32).prop_map(|(kind, xattrs, uid)| {
        let pairs = xattrs
            .into_iter()
            .map(|(name, value)| (name.into_bytes(), value));
        let xattrs = Arc::new(Xattrs::new(pairs.collect()).unwrap());
        Inode {
            uid,
            gid: 0,
            mode: 0o755,
            xattrs,
            kind,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn all_that_is_put_in_is_found(
        inodes in prop::collection::vec((any_inode(), any::<prop::sample::Index>(), 1..200usize), 0..150),
    ) {
        let mut image = Image::new(inode(Kind::Directory, 0o755, &[]));
        let mut dirs = vec![(InodeId::ROOT, String::new())];
        let mut expected = BTreeMap::new();
        for (number, (inode, parent, len)) in inodes.into_iter().enumerate() {
            let (parent, path) = parent.get(&dirs).clone();
            // None of the names that the whiteouts have.
            let name = format!("{number:->len$}-");
            let path = format!("{path}/{name}");
            let id = image.add(parent, name, inode.clone()).unwrap();
            let (size, data) = match &inode.kind {
                Kind::File { size, .. } => (*size, Vec::new()),
                Kind::Symlink { target } => (target.len() as u64, target.clone().into_bytes()),
                _ => (0, Vec::new()),
            };
            expected.insert(path.clone(), (inode.full_mode(), size, data));
            if inode.is_dir() {
                dirs.push((id, path));
            }
        }
        let bytes = bytes_of(image);
        prop_assert_eq!(bytes.len() as u64 % BLOCK, 0);
        prop_assert_eq!(Reader(&bytes).number(1024 + 36, 4) * BLOCK, bytes.len() as u64);
        let mut found = Reader(&bytes).paths();
        found.remove("");
        let whiteouts = found.extract_if(.., |_, (mode, ..)| *mode & 0o170_000 == S_IFCHR).count();
        prop_assert_eq!(whiteouts, 256);
        prop_assert_eq!(found, expected);
    }
}
