// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree that is deeper than what a process may have open directories. On its own, because it uses
//! up what the whole process may have.

use oxtree_format::gvariant::to_bytes;
use oxtree_format::{DirId, DirMeta, DirMetaId, DirTreeId, ObjectKind, Xattrs};
use oxtree_repo::checkout::{Options, checkout};
use oxtree_repo::tree::Tree;
use oxtree_repo::{Mode, Repo, Transaction};
use rustix::process::{Resource, Rlimit, setrlimit};

const LIMIT: u64 = 300;
const DEPTH: usize = 5000;

#[test]
fn a_bottomless_tree_is_an_error_and_no_crash() {
    let dir = oxtree_testkit::temp_dir();
    let mut repo = Repo::create(&dir.path().join("repo"), Mode::BareUser, None).unwrap();
    repo.config_mut().fsync = false;
    let transaction = Transaction::begin(&repo).unwrap();
    let write = |kind, bytes: &[u8]| transaction.write_metadata(kind, bytes, None).unwrap();
    let meta = DirMeta {
        uid: 0,
        gid: 0,
        mode: 0o040_755,
        xattrs: Xattrs::NONE,
    };
    let meta = DirMetaId(write(ObjectKind::DirMeta, &meta.to_bytes()));
    let files: Vec<(&str, &[u8])> = Vec::new();
    let mut dirs: Vec<(&str, &[u8], &[u8])> = Vec::new();
    let mut roots = vec![write(ObjectKind::DirTree, &to_bytes(&(&files, &dirs)))];
    for depth in 0..DEPTH {
        let below = roots[depth];
        dirs = vec![("d", below.as_bytes(), meta.as_bytes())];
        roots.push(write(ObjectKind::DirTree, &to_bytes(&(&files, &dirs))));
        dirs.clear();
    }
    transaction.commit(&[]).unwrap();

    let check_out = |depth: usize, name: &str| {
        let root = DirId {
            tree: DirTreeId(roots[depth]),
            meta,
        };
        let source = Tree::new(&repo, root).root();
        let options = Options {
            user: true,
            ..Options::default()
        };
        checkout(&repo, &source, &dir.path().join(name), &options)
    };
    let limit = Rlimit {
        current: Some(LIMIT),
        maximum: Some(LIMIT),
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let error = check_out(DEPTH, "deep").unwrap_err();
    assert!(error.to_string().contains("Too many open files"), "{error}");
    assert_eq!(check_out(200, "less-deep").unwrap().directories, 201);
}
