// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the real `ostree` writes, parsed and written again, is the same bytes, and has the
//! checksum that it is named by.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use oxtree_format::commit::{self, NewCommit};
use oxtree_format::gvariant::{Entry, type_string};
use oxtree_format::{
    Checksum, Commit, CommitId, Detached, DirMeta, DirTree, FileHeader, FilezHeader, NewDetached,
    ObjectId, ObjectKind, detached, dirtree, file, refs, sizes, tombstone,
};
use oxtree_testkit::{Repo, Tool, temp_dir, trees};

fn ostree() -> Tool {
    Tool::ostree().env("OSTREE_DUMMY_SIGN_ENABLED", "1")
}

/// Adds some hundred files to `tree`, one of them with attributes and odd mode bits.
fn add_files(tree: &Path) {
    let many = tree.join("many");
    trees::directory(&many, 0o755);
    trees::many(&many, 300, 1);
    let odd = many.join("odd");
    trees::file(&odd, b"set-user-id and attributes\n", 0o4751);
    trees::xattr(&odd, "user.zebra", b"z");
    trees::xattr(&odd, "user.a", b"\0\xff");
    trees::xattr(&many, "user.on-a-directory", b"");
}

/// Metadata of many types, for the command line of `ostree commit`.
const METADATA: [&str; 12] = [
    "--add-metadata-string=version=1.0",
    "--add-metadata=a.byte=byte 0x07",
    "--add-metadata=a.bool=true",
    "--add-metadata=a.u16=uint16 258",
    "--add-metadata=a.i64=int64 -5",
    "--add-metadata=a.double=1.5",
    "--add-metadata=a.list=['x', '', 'yy']",
    "--add-metadata=a.dict={'k': <uint32 7>, 'l': <[byte 1, 2]>}",
    "--add-metadata=a.tuple=('s', byte 1, uint64 2, [(byte 1, 'a')])",
    "--add-metadata=a.maybe=[just 'a', nothing]",
    "--add-metadata=a.variant=<<(1, <'deep'>)>>",
    "--add-metadata=a.empty=()",
];

/// Two commits on one branch: the first of only a part of `tree`, the second with signatures.
/// Returns the second.
fn commits(repo: &Repo, tree: &Path) -> CommitId {
    // Nothing is to survive a crash here.
    repo.ok("config", ["set", "core.fsync", "false"]);
    add_files(tree);
    let mut words = METADATA.to_vec();
    words.push("--body=a body\nof lines");
    if repo
        .ok("config", ["get", "core.mode"])
        .starts_with("archive")
    {
        words.push("--generate-sizes");
    }
    repo.commit("main", tree.join("many"), &words);
    words.extend([
        "--add-detached-metadata-string=note=a note",
        "--sign-type=dummy",
        "--sign=first",
        "--sign=second",
    ]);
    repo.commit("main", tree, &words).parse().unwrap()
}

/// Each loose object with its path.
fn objects(repo: &Repo, archive: bool) -> Vec<(ObjectId, PathBuf)> {
    let mut found = Vec::new();
    for dir in fs::read_dir(repo.path().join("objects")).unwrap() {
        let dir = dir.unwrap();
        for file in fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            let (dir, name) = (dir.file_name(), file.file_name());
            let names = (dir.to_str().unwrap(), name.to_str().unwrap());
            let id = ObjectId::from_loose(names.0, names.1, archive);
            found.push((id.expect("only objects below objects/"), file.path()));
        }
    }
    found
}

fn commit_again(bytes: &[u8]) -> Vec<u8> {
    let parsed = Commit::parse(bytes).unwrap();
    let new = NewCommit {
        metadata: parsed.metadata.iter().map(|Entry(k, v)| (k, v)).collect(),
        parent: parsed.parent,
        subject: parsed.subject,
        body: parsed.body,
        timestamp: parsed.timestamp,
        root: parsed.root,
    };
    assert_eq!(parsed.to_bytes(), bytes);
    new.to_bytes().unwrap()
}

/// Parses a metadata object and writes it again.
fn again(kind: ObjectKind, bytes: &[u8]) -> Vec<u8> {
    match kind {
        ObjectKind::Commit => commit_again(bytes),
        ObjectKind::DirMeta => DirMeta::parse(bytes).unwrap().to_bytes(),
        ObjectKind::DirTree => {
            let tree = DirTree::parse(bytes).unwrap();
            dirtree::write(tree.files(), tree.dirs()).unwrap()
        }
        ObjectKind::CommitMeta => {
            let parsed = Detached::parse(bytes).unwrap();
            assert_eq!(parsed.to_bytes(), bytes);
            NewDetached::from(parsed).to_bytes()
        }
        ObjectKind::TombstoneCommit => tombstone::write(tombstone::parse(bytes).unwrap()),
        kind => panic!("no metadata: {kind:?}"),
    }
}

/// Checks each object: metadata here, files with `check_file`. Returns how many of each kind.
fn check_all(
    repo: &Repo,
    archive: bool,
    check_file: impl Fn(ObjectId, &Path),
) -> BTreeMap<ObjectKind, usize> {
    let mut counts = BTreeMap::new();
    for (id, path) in objects(repo, archive) {
        *counts.entry(id.kind).or_default() += 1;
        if id.kind == ObjectKind::File {
            check_file(id, &path);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        assert_eq!(again(id.kind, &bytes), bytes, "{id}");
        if id.kind.is_content_addressed() {
            assert_eq!(Checksum::of(&bytes), id.checksum, "{id}");
        }
    }
    counts
}

fn check_filez(id: ObjectId, path: &Path) {
    let bytes = fs::read(path).unwrap();
    let (header, deflated) = file::split_header(&bytes).unwrap();
    let header = FilezHeader::parse(header).unwrap();
    let stored = header.stored_bytes();
    assert_eq!(&bytes[..stored.len()], stored, "{id}");
    assert_eq!(stored.len() + deflated.len(), bytes.len(), "{id}");
    assert_eq!(header.file.is_symlink(), deflated.is_empty(), "{id}");

    let mut content = Vec::new();
    if !header.file.is_symlink() {
        let mut inflate = flate2::read::DeflateDecoder::new(deflated);
        inflate.read_to_end(&mut content).unwrap();
    }
    assert_eq!(content.len() as u64, header.size, "{id}");
    assert_eq!(header.file.id_with(&content).object(), id);
    let hashed = header.file.to_bytes();
    assert_eq!(FileHeader::parse(&hashed).unwrap(), header.file);
}

fn check_bare_user_file(id: ObjectId, path: &Path) {
    let mut attribute = vec![0; 1 << 16];
    let len = rustix::fs::getxattr(path, "user.ostreemeta", &mut attribute).unwrap();
    attribute.truncate(len);
    let meta = DirMeta::parse_any_mode(&attribute).unwrap();
    assert_eq!(meta.to_bytes(), attribute, "{id}");

    let mut content = fs::read(path).unwrap();
    let symlink = (meta.mode & 0o170_000 == 0o120_000).then(|| {
        let target = std::mem::take(&mut content);
        String::from_utf8(target)
            .unwrap()
            .trim_end_matches('\0')
            .to_owned()
    });
    let header = FileHeader {
        uid: meta.uid,
        gid: meta.gid,
        mode: meta.mode,
        symlink,
        xattrs: meta.xattrs,
    };
    assert_eq!(header.id_with(&content).object(), id);
}

#[test]
fn archive_repository() {
    let dir = temp_dir();
    let repo = ostree().repo(dir.path().join("repo")).init("archive");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    trees::everything(&tree, 200_000);
    let tip = commits(&repo, &tree);
    let old = repo.rev_parse("main^");
    check_sizes(&repo, tip);

    repo.ok("config", ["set", "core.tombstone-commits", "true"]);
    repo.ok("prune", [format!("--delete-commit={old}")]);
    let counts = check_all(&repo, true, check_filez);
    assert_eq!(counts[&ObjectKind::Commit], 1);
    assert_eq!(counts[&ObjectKind::CommitMeta], 1);
    assert_eq!(counts[&ObjectKind::TombstoneCommit], 1);
    assert!(counts[&ObjectKind::File] > 300, "{counts:?}");
    assert!(counts[&ObjectKind::DirTree] > 200, "{counts:?}");
    assert!(counts[&ObjectKind::DirMeta] > 3, "{counts:?}");

    let tombstone = fs::read(repo.object(&old, "tombstone-commit")).unwrap();
    assert_eq!(tombstone::parse(&tombstone).unwrap().to_string(), old);
}

#[test]
fn bare_user_repository() {
    let dir = temp_dir();
    let repo = ostree().repo(dir.path().join("repo")).init("bare-user");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    trees::small(&tree, 1);
    let tip = commits(&repo, &tree);

    let counts = check_all(&repo, false, check_bare_user_file);
    assert_eq!(counts[&ObjectKind::Commit], 2);
    assert!(counts[&ObjectKind::File] > 300, "{counts:?}");

    let ref_file = fs::read(repo.path().join("refs/heads/main")).unwrap();
    assert_eq!(refs::parse_ref_file(&ref_file), Ok(tip));
    assert_eq!(refs::write_ref_file(tip).into_bytes(), ref_file);
    check_detached(&repo, tip);
    check_metadata(&repo, tip);
}

fn check_sizes(repo: &Repo, tip: CommitId) {
    let bytes = fs::read(repo.object(&tip.to_string(), "commit")).unwrap();
    let commit = Commit::parse(&bytes).unwrap();
    let value = commit.metadata_value(commit::keys::SIZES).unwrap();
    let mut entries = sizes::parse(&value).unwrap();
    assert!(entries.len() > 300, "{}", entries.len());
    assert_eq!(sizes::write(&mut entries).as_ref(), value);
    for entry in entries {
        let path = repo
            .path()
            .join("objects")
            .join(entry.object().loose_path(true));
        let len = fs::metadata(path).unwrap().len();
        assert_eq!(entry.archived, len, "{}", entry.object());
        if entry.object().kind.is_metadata() {
            assert_eq!(entry.unpacked, len, "{}", entry.object());
        }
    }
}

fn check_detached(repo: &Repo, tip: CommitId) {
    let bytes = fs::read(repo.object(&tip.to_string(), "commitmeta")).unwrap();
    let parsed = Detached::parse(&bytes).unwrap();
    assert_eq!(parsed.value("note").unwrap().as_(), Ok("a note"));
    let signatures = parsed.signatures(detached::keys::DUMMY).unwrap();
    assert_eq!(signatures, [&b"first"[..], b"second"]);
}

fn check_metadata(repo: &Repo, tip: CommitId) {
    let bytes = fs::read(repo.object(&tip.to_string(), "commit")).unwrap();
    let commit = Commit::parse(&bytes).unwrap();
    let types: Vec<(&str, &str)> = commit
        .metadata
        .iter()
        .map(|Entry(key, value)| (key, value.sig))
        .collect();
    let expected = [
        ("version", "s"),
        ("a.byte", "y"),
        ("a.bool", "b"),
        ("a.u16", "q"),
        ("a.i64", "x"),
        ("a.double", "d"),
        ("a.list", "as"),
        ("a.dict", "a{sv}"),
        ("a.tuple", "(syta(ys))"),
        ("a.maybe", "ams"),
        ("a.variant", "v"),
        ("a.empty", "()"),
        (commit::keys::REF_BINDING, "as"),
    ];
    assert_eq!(types, expected);
    assert_eq!(commit.metadata_str("version"), Some("1.0"));
    assert_eq!(commit.ref_bindings(), Some(vec!["main"]));
    let value = commit.metadata_value("a.tuple").unwrap();
    type Tuple<'a> = (
        &'a str,
        u8,
        u64,
        oxtree_format::gvariant::Seq<'a, (u8, &'a str)>,
    );
    assert_eq!(type_string::<Tuple<'_>>(), value.sig);
    let (s, y, t, list) = value.as_::<Tuple<'_>>().unwrap();
    assert_eq!((s, y, t, list.get(0)), ("s", 1, 2, Some((1, "a"))));
    let parent = repo.rev_parse("main^");
    assert_eq!(commit.parent.unwrap().to_string(), parent);
    assert_eq!((commit.subject, commit.body), ("test", "a body\nof lines"));
}
