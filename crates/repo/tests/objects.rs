// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each kind of object in each mode: as the real tool writes it, and refused where it is hostile.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oxtree_format::{
    Checksum, CommitId, FileHeader, FileId, FilezHeader, ObjectId, ObjectKind, Xattrs,
};
use oxtree_repo::{Error, Mode, Repo, Transaction, traverse};
use oxtree_testkit::{Tool, is_root, trees};

/// What there is of a loose object besides its time of change.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    kind: u32,
    mode: u32,
    owner: (u32, u32),
    mtime: Option<i64>,
    content: Vec<u8>,
    xattr: Vec<u8>,
}

fn stored(path: &Path, archive: bool) -> Stored {
    let stat = path.symlink_metadata().unwrap();
    let link = stat.is_symlink();
    let content = match link {
        true => fs::read_link(path)
            .unwrap()
            .into_os_string()
            .into_encoded_bytes(),
        false => fs::read(path).unwrap(),
    };
    let is = |suffix| path.extension().is_some_and(|e| e == suffix);
    let mut xattr = vec![0; 4096];
    let len = rustix::fs::lgetxattr(path, "user.ostreemeta", &mut xattr[..]).unwrap_or(0);
    xattr.truncate(len);
    Stored {
        kind: stat.mode() & 0o170_000,
        mode: stat.mode() & 0o7777,
        owner: (stat.uid(), stat.gid()),
        // Only files that checkouts link to have a time of their own.
        mtime: (is("file") && !link).then(|| stat.mtime()),
        content: match archive && is("filez") {
            true => inflated(&content),
            false => content,
        },
        xattr,
    }
}

/// The header as it is, and the content, which may be deflated in more ways than one.
fn inflated(filez: &[u8]) -> Vec<u8> {
    let (header, rest) = oxtree_format::file::split_header(filez).unwrap();
    let mut out = header.to_vec();
    let link = FilezHeader::parse(header).unwrap().file.is_symlink();
    assert_eq!(
        link,
        rest.is_empty(),
        "a link has no content, all else has some"
    );
    if link {
        return out;
    }
    let mut decoder = flate2::bufread::DeflateDecoder::new(rest);
    let read = decoder.read_to_end(&mut out);
    read.unwrap_or_else(|error| panic!("{error}: {rest:02x?}"));
    let left = decoder.into_inner();
    assert!(left.is_empty(), "{} bytes after the content", left.len());
    out
}

fn objects_of(repo: &Path, archive: bool) -> BTreeMap<PathBuf, Stored> {
    let mut found = BTreeMap::new();
    for folder in fs::read_dir(repo.join("objects")).unwrap() {
        for object in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = object.unwrap().path();
            let name = path.strip_prefix(repo).unwrap().to_owned();
            found.insert(name, stored(&path, archive));
        }
    }
    found
}

/// Writes all of a commit of `from` into `to`.
fn copy_commit(from: &Repo, to: &Repo, commit: CommitId) {
    let transaction = Transaction::begin(to).unwrap();
    for object in traverse::all_objects(from, commit).unwrap() {
        if object.kind == ObjectKind::File {
            let id = FileId(object.checksum);
            let mut file = from.open_file(id).unwrap();
            let written =
                transaction.write_file(&file.header, file.size, &mut file.content, Some(id));
            assert_eq!(written.unwrap(), id);
        } else {
            let bytes = from.load_metadata(&object).unwrap();
            let expected = Some(object.checksum);
            transaction
                .write_metadata(object.kind, &bytes, expected)
                .unwrap();
        }
    }
    transaction.commit(&[]).unwrap();
}

#[test]
fn every_mode_as_the_real_tool_writes_it() {
    assert!(is_root(), "needs root");
    let dir = oxtree_testkit::temp_dir();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    // Content just above and below what is held in memory.
    trees::everything(&at("tree"), (8 << 20) + 1);
    for mode in [
        Mode::Archive,
        Mode::Bare,
        Mode::BareUser,
        Mode::BareUserOnly,
    ] {
        let name = mode.as_str();
        let real = Tool::ostree().repo(at(&format!("real-{name}"))).init(name);
        // Modes that cannot store everything get what they can.
        let args: &[&str] = match mode {
            Mode::BareUserOnly => &["--canonical-permissions"],
            _ => &[],
        };
        let commit = CommitId(real.commit("main", at("tree"), args).parse().unwrap());
        let source = Repo::open(real.path()).unwrap();
        let ours = at(&format!("ours-{name}"));
        let target = Repo::create(&ours, mode, None).unwrap();
        copy_commit(&source, &target, commit);
        let archive = mode.is_archive();
        let (real, written) = (objects_of(real.path(), archive), objects_of(&ours, archive));
        assert_eq!(
            written.keys().collect::<Vec<_>>(),
            real.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (path, expected) in &real {
            let actual = &written[path];
            let small = expected.content.len() < 2000;
            assert!(
                actual == expected,
                "{name}: {}: {}",
                path.display(),
                match small {
                    true => format!("{actual:?} instead of {expected:?}"),
                    false => "differs".to_owned(),
                }
            );
        }
        let left = fs::read_dir(ours.join("tmp")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["cache"], "{name}");
        Tool::ostree().repo(&ours).fsck();
        // And out again into an archive, as a push does it.
        if mode == Mode::BareUser {
            let middle = Repo::create(&at("middle"), Mode::Archive, None).unwrap();
            copy_commit(&target, &middle, commit);
            Tool::ostree().repo(middle.path()).fsck();
        }
    }
}

fn header() -> FileHeader {
    FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink: None,
        xattrs: Xattrs::NONE,
    }
}

fn deflated(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn filez(size: u64, content: &[u8]) -> Vec<u8> {
    let head = FilezHeader {
        size,
        file: header(),
    };
    [head.stored_bytes(), deflated(content)].concat()
}

/// Nothing is in the repository, and nothing stays behind in `tmp/`.
fn assert_clean(repo: &Repo) {
    assert!(repo.list_objects().unwrap().is_empty());
    let left = fs::read_dir(repo.path().join("tmp")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["cache"]);
}

#[test]
fn a_filez_that_lies_is_refused() {
    let small = b"some content".to_vec();
    let large = trees::Noise::new(1).bytes(3 << 20);
    for mode in [Mode::Archive, Mode::BareUserOnly] {
        let dir = oxtree_testkit::temp_dir();
        let repo = Repo::create(&dir.path().join("repo"), mode, None).unwrap();
        for content in [&small, &large] {
            let id = header().id_with(content);
            let len = content.len() as u64;
            let good = filez(len, content);
            let mut flipped = good.clone();
            let middle = good.len() - 4;
            flipped[middle] ^= 0x55;
            let bad: Vec<(&str, Vec<u8>)> = vec![
                ("empty", Vec::new()),
                ("prefix cut", good[..7].to_vec()),
                ("header cut", good[..20].to_vec()),
                ("content cut", good[..good.len() - 1].to_vec()),
                ("trailing", [&good[..], b"x"].concat()),
                ("too small a size", filez(len - 1, content)),
                ("too large a size", filez(len + 1, content)),
                ("huge size", filez(u64::MAX, content)),
                ("other content", filez(len, &vec![9; content.len()])),
                ("flipped", flipped),
                (
                    "huge header",
                    [&[0xff; 4][..], &[0; 4], &good[8..]].concat(),
                ),
            ];
            for (what, bytes) in bad {
                let transaction = Transaction::begin(&repo).unwrap();
                let result = transaction.write_filez(id, &mut Cursor::new(&bytes), &|_| Ok(()));
                assert!(result.is_err(), "{mode}: {what} of {len}");
                // What goes before the trailing bytes is whole, and may stay in the staging area.
                let staged = transaction.has_staged(&id.object()).unwrap();
                assert!(!staged || what == "trailing", "{mode}: {what} of {len}");
                drop(transaction);
                assert_clean(&repo);
            }
            let transaction = Transaction::begin(&repo).unwrap();
            let mut good = Cursor::new(good);
            transaction.write_filez(id, &mut good, &|_| Ok(())).unwrap();
            assert!(transaction.has_staged(&id.object()).unwrap());
            drop(transaction);
            assert_clean(&repo);
        }
    }
}

#[test]
fn a_bomb_is_stopped_at_the_size_it_claims() {
    let dir = oxtree_testkit::temp_dir();
    let zeros = deflated(&vec![0; 64 << 20]);
    assert!(zeros.len() < 1 << 20);
    for mode in [Mode::Archive, Mode::BareUserOnly] {
        let repo = Repo::create(&dir.path().join(mode.as_str()), mode, None).unwrap();
        let head = FilezHeader {
            size: 10,
            file: header(),
        };
        let bomb = [head.stored_bytes(), zeros.clone()].concat();
        let transaction = Transaction::begin(&repo).unwrap();
        let id = FileId(Checksum::of(b"whatever"));
        let refused = transaction.write_filez(id, &mut Cursor::new(bomb), &|_| Ok(()));
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
        drop(transaction);
        assert_clean(&repo);
    }
}

#[test]
fn metadata_that_lies_is_refused() {
    let dir = oxtree_testkit::temp_dir();
    let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None).unwrap();
    let transaction = Transaction::begin(&repo).unwrap();
    let other = Some(Checksum::of(b"other"));
    for kind in [ObjectKind::Commit, ObjectKind::DirTree, ObjectKind::DirMeta] {
        assert!(
            transaction.write_metadata(kind, b"nonsense", None).is_err(),
            "{kind:?}"
        );
    }
    // An empty dirtree is good, but not under another name.
    let refused = transaction.write_metadata(ObjectKind::DirTree, &[0], other);
    assert!(
        matches!(refused, Err(Error::ChecksumMismatch { .. })),
        "{refused:?}"
    );
    let nothing = CommitId(Checksum::of(b"nothing"));
    assert!(
        transaction
            .write_detached_metadata(nothing, b"nonsense")
            .is_err()
    );
    transaction.commit(&[]).unwrap();
    assert_clean(&repo);
}

#[test]
fn verification_sees_what_reading_does_not() {
    let dir = oxtree_testkit::temp_dir();
    let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None).unwrap();
    let content = b"some content";
    let id = header().id_with(content);
    let mut buffer = vec![0; 16];
    let mut verify = |bytes: &[u8]| {
        let path = repo
            .path()
            .join("objects")
            .join(id.object().loose_path(true));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        repo.verify_object(&id.object(), &mut buffer)
    };
    let len = content.len() as u64;
    verify(&filez(len, content)).unwrap();
    for bad in [
        filez(len + 1, content),
        filez(len - 1, content),
        filez(len, b"other contents"),
        [&filez(len, content)[..], b"x"].concat(),
        Vec::new(),
    ] {
        let error = verify(&bad).unwrap_err();
        let expected = matches!(
            error,
            Error::Corrupt { .. } | Error::ChecksumMismatch { .. }
        );
        assert!(expected, "{error}");
    }
    let missing = ObjectId::new(ObjectKind::DirTree, id.0);
    assert!(
        repo.verify_object(&missing, &mut buffer)
            .unwrap_err()
            .is_missing_object()
    );
}
