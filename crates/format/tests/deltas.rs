// SPDX-License-Identifier: MIT OR Apache-2.0
//! Static deltas: those of the real `ostree`, taken apart, and arbitrary ones.

use std::fs;

use oxtree_format::delta::part::{self, FileMode, Layout, Made, Piece, TAIL};
use oxtree_format::delta::patch::Step;
use oxtree_format::delta::{
    self, ByteOrder, DeltaName, Fallback, NewOperations, NewPart, NewSuperblock, Objects, Signed,
    Superblock, index,
};
use oxtree_format::{Checksum, CommitId, NewDetached, ObjectId, ObjectKind, Xattrs};
use oxtree_testkit::{Tool, temp_dir, trees};
use proptest::collection::vec;
use proptest::prelude::*;

/// Each way in which the real one writes them is read, and what we would write is the same to the
/// byte.
#[test]
fn superblocks_of_the_real_ostree_come_back() {
    let dir = temp_dir();
    let tool = Tool::ostree().env("OSTREE_DUMMY_SIGN_ENABLED", "1");
    let repo = tool.repo(dir.path().join("repo")).init("archive");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    trees::small(&tree, 1);
    repo.commit(
        "main",
        &tree,
        &["--add-detached-metadata-string=note=hello"],
    );
    fs::write(tree.join("new"), vec![7; 2_000_000]).unwrap();
    repo.commit(
        "main",
        &tree,
        &["--add-detached-metadata-string=note=hello"],
    );
    let small = "--min-fallback-size=1";
    for (options, order) in [
        (&["main", small][..], ByteOrder::Little),
        (&["main", "--inline", "--swap-endianness"], ByteOrder::Big),
        (
            &["main", "--empty", small, "--swap-endianness"],
            ByteOrder::Big,
        ),
        (
            &["main", "--sign-type=dummy", "--sign=key"],
            ByteOrder::Little,
        ),
    ] {
        let words = ["generate"].iter().chain(options);
        repo.ok("static-delta", words);
        let from = repo.rev_parse("main^").parse().ok();
        let name = DeltaName {
            from: from.filter(|_| !options.contains(&"--empty")),
            to: repo.rev_parse("main").parse().unwrap(),
        };
        let bytes = fs::read(repo.path().join(name.folder()).join("superblock")).unwrap();
        let signed = Signed::parse(&bytes).unwrap();
        assert_eq!(signed.is_some(), options.contains(&"--sign=key"));
        let inner = signed.map_or(&bytes[..], |signed| signed.superblock);
        let read = Superblock::parse(inner).unwrap();
        assert_eq!((read.name, read.byte_order()), (name, Some((order, false))));
        assert_eq!(
            read.fallbacks().count(),
            usize::from(options.contains(&small))
        );
        let parts = read.parts().enumerate().map(|(index, part)| NewPart {
            checksum: part.checksum,
            size: part.size,
            content_size: part.content_size,
            objects: part.objects.iter().collect(),
            inline: read.inline_part(index).map(<[u8]>::to_vec),
        });
        let again = NewSuperblock {
            name,
            commit: read.commit,
            detached: read.detached_metadata(),
            timestamp: read.timestamp,
            order,
            parts: parts.collect(),
            fallbacks: read.fallbacks().collect(),
        };
        assert!(again.detached.is_some());
        let again = again.into_bytes();
        assert_eq!(again, inner, "{options:?}");
        if let Some(signed) = signed {
            let signatures = NewDetached::from(signed.signatures);
            assert_eq!(delta::sign(&again, &signatures).unwrap(), bytes);
        }
        repo.ok("summary", ["-u"]);
        let listed = index::parse(&fs::read(repo.path().join(index::path(name.to))).unwrap());
        let listed: std::collections::BTreeMap<_, _> = listed.unwrap().into_iter().collect();
        assert_eq!(listed[&name], Checksum::of(&bytes));
    }
}

/// A commit that is one, with its name.
fn commit() -> (CommitId, Vec<u8>) {
    let root = Checksum::of(b"tree");
    let bytes = oxtree_format::commit::NewCommit {
        metadata: Vec::new(),
        parent: None,
        subject: "s",
        body: "",
        timestamp: 1,
        root: oxtree_format::DirId {
            tree: oxtree_format::DirTreeId(root),
            meta: oxtree_format::DirMetaId(root),
        },
    };
    let bytes = bytes.to_bytes().unwrap();
    (CommitId(Checksum::of(&bytes)), bytes)
}

fn object(n: u8) -> ObjectId {
    let kinds = [ObjectKind::File, ObjectKind::DirTree, ObjectKind::DirMeta];
    ObjectId::new(kinds[usize::from(n) % 3], Checksum::of(&[n]))
}

fn records(objects: &[ObjectId]) -> Vec<u8> {
    let record =
        |object: &ObjectId| [&[object.kind as u8], &object.checksum.as_bytes()[..]].concat();
    objects.iter().flat_map(record).collect()
}

/// Old deltas do not say in which order their bytes are.
#[test]
fn an_order_that_makes_no_sense_is_the_other_one() {
    let (to, commit) = commit();
    let new = |order, size| {
        let part = NewPart {
            checksum: to.0,
            size,
            content_size: 3_000,
            objects: vec![object(0)],
            inline: None,
        };
        let (detached, timestamp, fallbacks) = (None, 0, Vec::new());
        let (name, parts, commit) = (DeltaName { from: None, to }, vec![part], &commit[..]);
        let bytes = NewSuperblock {
            name,
            commit,
            detached,
            timestamp,
            order,
            parts,
            fallbacks,
        }
        .into_bytes();
        // As long, but not known.
        let key = delta::keys::ENDIANNESS.as_bytes();
        let at = bytes
            .windows(key.len())
            .position(|window| window == key)
            .unwrap();
        let mut old = bytes.clone();
        old[at..at + 6].copy_from_slice(b"native");
        let read = Superblock::parse(&old).unwrap();
        (read.byte_order(), read.part(0).unwrap().size)
    };
    assert_eq!(new(ByteOrder::Little, 2_000), (None, 2_000));
    assert_eq!(
        new(ByteOrder::Big, 2_000),
        (Some((ByteOrder::Big, true)), 2_000)
    );
    // What is said counts.
    assert_eq!(new(ByteOrder::Big, 100).0, Some((ByteOrder::Big, true)));
}

#[test]
fn operations_that_make_no_sense_are_refused() {
    let file = records(&[object(0)]);
    let read = |operations: &[u8], objects: &[u8]| {
        part::recipes(operations, Objects::parse(objects).unwrap(), 40).is_ok()
    };
    // A file of the first 3 bytes; of a copy; of a patch.
    assert!(read(b"S\0\0\x03\0", &file));
    assert!(read(b"o\0\0\x05w\x03\0r\x01w\x02\0c", &file));
    assert!(read(b"r\0o\0\0\x05B\x20\x08cR", &file));
    for (operations, what) in [
        (&b""[..], "fewer objects"),
        (b"S\0\0\x03\0S\0\0\x03\0", "more objects"),
        (b"S\0\0\x29\0", "beyond the blob"),
        (
            b"S\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02",
            "overflow",
        ),
        (
            b"S\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\0",
            "a number above 2^64",
        ),
        (b"o\0\0\x05", "no end"),
        (b"o\0\0\x05o\0\0\x05cc", "one within another"),
        (b"o\0\0\x05B\0\x08c", "a patch of nothing"),
        (b"r\x09S\0\0\0\0", "a source beyond the blob"),
        (b"w\0\0", "a piece of nothing"),
        (b"c", "the end of nothing"),
        (b"S\0\0", "cut off"),
        (b"X", "unknown"),
    ] {
        assert!(!read(operations, &file), "{what}");
    }
    assert!(
        !read(b"o\0\0\x05c", &records(&[object(1)])),
        "metadata in pieces"
    );
    assert!(Objects::parse(&file[1..]).is_err());
    let meta = ObjectId::new(ObjectKind::CommitMeta, Checksum::of(b""));
    assert!(
        Objects::parse(&records(&[meta])).is_err(),
        "no checksum of its content"
    );
}

proptest! {
    #[test]
    fn superblocks_come_back(
        parts in vec((any::<u64>(), any::<u64>(), vec(any::<u8>(), 0..5), any::<Option<u8>>()), 0..5),
        fallbacks in vec((any::<u8>(), any::<u64>(), any::<u64>()), 0..4),
        big in any::<bool>(),
        mutation in any::<(proptest::sample::Index, u8)>(),
    ) {
        let (to, commit) = commit();
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let parts: Vec<NewPart> = parts.into_iter().map(|(size, content_size, objects, inline)| NewPart {
            checksum: to.0,
            size,
            content_size,
            objects: objects.into_iter().map(object).collect(),
            inline: inline.map(|byte| vec![byte; 3]),
        }).collect();
        let fallbacks: Vec<Fallback> = fallbacks.into_iter().map(|(n, size, content_size)| Fallback {
            object: object(n),
            size,
            content_size,
        }).collect();
        let name = DeltaName { from: Some(CommitId(Checksum::of(b"from"))), to };
        let new = NewSuperblock { name, commit: &commit, detached: None, timestamp: 5, order, parts, fallbacks };
        let bytes = new.clone().into_bytes();
        let read = Superblock::parse(&bytes).unwrap();
        prop_assert_eq!((read.name, read.commit, read.timestamp), (name, &commit[..], 5));
        prop_assert_eq!(read.fallbacks().collect::<Vec<_>>(), new.fallbacks);
        for (index, (part, new)) in read.parts().zip(&new.parts).enumerate() {
            prop_assert_eq!((part.size, part.content_size), (new.size, new.content_size));
            prop_assert_eq!(part.objects.iter().collect::<Vec<_>>(), new.objects.clone());
            prop_assert_eq!(read.inline_part(index), new.inline.as_deref());
        }
        // Damaged, it is refused or read, and no more.
        let mut damaged = bytes;
        let (at, byte) = mutation;
        let at = at.index(damaged.len());
        damaged[at] ^= byte;
        if let Ok(read) = Superblock::parse(&damaged) {
            let _ = (read.parts().count(), read.fallbacks().count(), read.detached_metadata());
        }
        let _ = Superblock::parse(&damaged[..at]);
    }

    #[test]
    fn payloads_come_back(
        blob in 32..70_000_u64,
        modes in vec(any::<[u32; 3]>(), 0..3),
        copies in vec((0..1_000_u64, 0..32_u64, any::<bool>()), 0..9),
    ) {
        let modes: Vec<FileMode> = modes.into_iter().map(|[uid, gid, mode]| FileMode { uid, gid, mode }).collect();
        let xattrs = [Xattrs::NONE, Xattrs::new(vec![(b"user.a".to_vec(), vec![1])]).unwrap()];
        let (modes_bytes, xattrs_bytes) = (part::modes_to_vec(&modes), part::xattrs_to_vec(&xattrs));
        prop_assert_eq!(part::modes(&modes_bytes).unwrap(), modes);
        prop_assert_eq!(part::xattrs(&xattrs_bytes).unwrap(), xattrs);

        let mut operations = NewOperations::default();
        operations.metadata(1..blob);
        operations.open(1, 2, 3);
        for (offset, len, from_source) in &copies {
            match from_source {
                true => operations.source(0),
                false => operations.no_source(),
            }
            operations.write(if *from_source { *offset } else { 0 }, *len);
        }
        operations.source(blob - 32);
        operations.patch(2..3);
        operations.close();
        operations.whole(4, 5, 0..blob);
        let objects = records(&[object(1), object(0), object(3)]);
        let objects = Objects::parse(&objects).unwrap();
        let recipes = part::recipes(operations.as_bytes(), objects, blob).unwrap();
        prop_assert_eq!(&recipes[0].made, &Made::Metadata(1..blob));
        prop_assert_eq!(&recipes[2].made, &Made::Whole { mode: 4, xattrs: 5, content: 0..blob });
        let Made::Pieces { mode: 1, xattrs: 2, size: 3, pieces } = recipes[1].made.clone() else {
            panic!("{:?}", recipes[1]);
        };
        let mut wanted: Vec<Piece> = copies.iter().map(|(offset, len, from_source)| match from_source {
            true => Piece::Source { source: 0, offset: *offset, len: *len },
            false => Piece::Blob(0..*len),
        }).collect();
        wanted.push(Piece::Patch { source: blob - 32, patch: 2..3 });
        prop_assert_eq!(pieces.collect::<Vec<_>>(), wanted);

        // Where the members are is seen from the end.
        let head = (modes_bytes.len() + xattrs_bytes.len()) as u64;
        let end = head + blob + operations.as_bytes().len() as u64;
        let tail = Layout::tail(modes_bytes.len() as u64, head, head + blob, end);
        let all = [operations.as_bytes(), &tail].concat();
        let last = &all[all.len().saturating_sub(TAIL)..];
        let layout = Layout::parse(end + tail.len() as u64, last).unwrap();
        prop_assert_eq!(layout.modes, 0..modes_bytes.len() as u64);
        prop_assert_eq!((layout.blob, layout.operations), (head..head + blob, head + blob..end));
    }

    #[test]
    fn arbitrary_parts_do_no_harm(
        operations in vec(prop_oneof![Just(b'S'), Just(b'o'), Just(b'w'), Just(b'r'), Just(b'c'), Just(b'B'), 0..40_u8, any::<u8>()], 0..60),
        count in 0..4_u8,
        tail in vec(any::<u8>(), 0..30),
        step in any::<[u8; 24]>(),
    ) {
        let objects: Vec<ObjectId> = (0..count).map(object).collect();
        let objects = records(&objects);
        let objects = Objects::parse(&objects).unwrap();
        if let Ok(recipes) = part::recipes(&operations, objects, 40) {
            prop_assert_eq!(recipes.len(), objects.len());
            let pieces = recipes.into_iter().filter_map(|recipe| match recipe.made {
                Made::Pieces { pieces, .. } => Some(pieces.count()),
                _ => None,
            });
            prop_assert!(pieces.sum::<usize>() <= operations.len());
        }
        let _ = part::count(&operations, objects);
        let _ = Layout::parse(tail.len() as u64, &tail);
        if let Ok(read) = Step::parse(&step) {
            prop_assert_eq!(Step::parse(&read.to_bytes()), Ok(read));
        }
    }
}
