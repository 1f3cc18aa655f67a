// SPDX-License-Identifier: MIT OR Apache-2.0
//! What clients have to push, and the form in which it is sent.

use std::collections::BTreeSet;
use std::path::Path;

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, FileId, ObjectId, ObjectKind};
use oxtree_repo::commit::{CommitBuilder, CommitModifier, tree_from_dir};
use oxtree_repo::{Mode, RefUpdate, Repo, Transaction, traverse};
use oxtree_transfer::protocol::frame::{self, FrameKind};
use oxtree_transfer::protocol::stream::{Form, Record, pack};

/// A commit on top of another, with what is new in it.
pub(crate) struct Version {
    pub(crate) commit: CommitId,
    pub(crate) objects: Vec<(Record, Vec<u8>)>,
}

/// What each client has to push: two commits, one after the other, with a file that all have.
pub(crate) struct Client {
    pub(crate) name: RefName,
    pub(crate) versions: [Version; 2],
}

/// One with a repository of its own below `dir`.
pub(crate) fn client(dir: &Path, number: usize) -> Client {
    let repo = Repo::create(&dir.join(format!("source-{number}")), Mode::Archive, None).unwrap();
    let name: RefName = format!("os/client-{number}").parse().unwrap();
    let mut parent = None;
    let mut seen = BTreeSet::new();
    let versions = [1, 2].map(|version| {
        let tree = dir.join(format!("tree-{number}-{version}"));
        std::fs::create_dir_all(tree.join("dir")).unwrap();
        std::fs::write(tree.join("same"), "the same for all").unwrap();
        std::fs::write(tree.join("dir/own"), format!("{number} {version}")).unwrap();
        let transaction = Transaction::begin(&repo).unwrap();
        let modifier = CommitModifier {
            canonical_permissions: true,
            ..CommitModifier::default()
        };
        let root = tree_from_dir(&tree, &modifier, &transaction).unwrap();
        let root = root.write(&transaction).unwrap();
        let builder = CommitBuilder {
            timestamp: version,
            parent,
            ..CommitBuilder::default()
        };
        let commit = builder.write(root, &transaction).unwrap();
        let update = RefUpdate::set(name.clone().into(), commit);
        transaction.commit(&[update]).unwrap();
        parent = Some(commit);
        let ids = traverse::all_objects(&repo, commit).unwrap();
        let new = ids.into_iter().filter(|id| seen.insert(*id));
        let objects = new.map(|id| stored(&repo, id)).collect();
        Version { commit, objects }
    });
    Client { name, versions }
}

fn stored(repo: &Repo, object: ObjectId) -> (Record, Vec<u8>) {
    let (form, bytes) = match object.kind {
        ObjectKind::File => {
            let (mut file, _) = repo.open_filez(FileId(object.checksum)).unwrap().unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            (Form::Filez, bytes)
        }
        _ => (Form::Metadata, repo.load_metadata(&object).unwrap()),
    };
    let len = bytes.len() as u64;
    (Record { object, form, len }, bytes)
}

/// Objects as the body of a request.
pub(crate) fn stream<'o>(objects: impl IntoIterator<Item = &'o (Record, Vec<u8>)>) -> Vec<u8> {
    let mut records = Vec::new();
    for (record, bytes) in objects {
        record.put(&mut records);
        records.extend_from_slice(bytes);
    }
    let mut frames = Vec::new();
    for piece in records.chunks(500) {
        frame::write(&mut frames, FrameKind::Data, &pack(piece, Some(1))).unwrap();
    }
    frames
}
