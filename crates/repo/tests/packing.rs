// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files too large for memory, packed in blocks on all cores: the real tool has to read them.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use oxtree_format::{CommitId, FileId, FilezHeader, ObjectId, ObjectKind, file};
use oxtree_repo::commit::{CommitBuilder, CommitModifier, tree_from_dir};
use oxtree_repo::{Error, Mode, RefUpdate, Repo, Transaction, traverse};
use oxtree_testkit::{Tool, temp_dir, trees};

const MIB: usize = 1 << 20;

/// Text, noise and zeros, alone and after each other, above and below what is packed in one go.
fn large_files(dir: &Path) {
    let text = |len| -> Vec<u8> {
        let mut number = 0u32;
        let mut text = Vec::with_capacity(len + 64);
        while text.len() < len {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.extend(format!("{} took {} ms\n", number % 977, number >> 20).into_bytes());
        }
        text.truncate(len);
        text
    };
    let noise = |len| trees::Noise::new(3).bytes(len);
    let zeros = |len| vec![0; len];
    fs::create_dir(dir).unwrap();
    for (name, content) in [
        ("text", text(9 * MIB + 1)),
        ("noise", noise(9 * MIB)),
        ("zeros", zeros(33 * MIB + 17)),
        (
            "mixed",
            [text(3 * MIB), noise(4 * MIB + 5), zeros(5 * MIB), text(7)].concat(),
        ),
        ("small", [text(MIB), noise(MIB), zeros(MIB)].concat()),
    ] {
        fs::write(dir.join(name), content).unwrap();
    }
}

fn commit(repo: &Repo, tree: &Path) -> CommitId {
    let transaction = Transaction::begin(repo).unwrap();
    let tree = tree_from_dir(tree, &CommitModifier::default(), &transaction).unwrap();
    let root = tree.write(&transaction).unwrap();
    let id = CommitBuilder::default().write(root, &transaction).unwrap();
    let refs = [RefUpdate::set("main".parse().unwrap(), id)];
    transaction.commit(&refs).unwrap();
    id
}

#[test]
fn the_real_tool_reads_large_files() {
    let dir = temp_dir();
    let at = |name: &str| dir.path().join(name);
    large_files(&at("tree"));
    let repo = Repo::create(&at("repo"), Mode::Archive, None).unwrap();
    let id = commit(&repo, &at("tree"));
    let real = Tool::ostree().repo(at("repo"));
    real.fsck();
    real.checkout("main", at("checkout"), &["-U"]);
    let other = Tool::ostree().repo(at("other")).init("archive");
    assert_eq!(
        other
            .commit("main", at("tree"), &["--timestamp=1970-01-01T00:00:00Z"])
            .len(),
        id.to_string().len()
    );
    for file in fs::read_dir(at("tree")).unwrap() {
        let name = file.unwrap().file_name();
        let read = |tree: &str| fs::read(at(tree).join(&name)).unwrap();
        assert!(read("tree") == read("checkout"), "{name:?} differs");
    }
    let bare = Tool::ostree().repo(at("bare")).init("bare-user");
    bare.ok("pull-local", [at("repo").as_os_str(), "main".as_ref()]);
    bare.fsck();
    // Not more than a little larger than what the real tool makes of it.
    let size = |repo: &str| -> u64 {
        let folders = fs::read_dir(at(repo).join("objects")).unwrap();
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    assert!(size("repo") < size("other") / 100 * 102);
}

#[test]
fn large_packed_files_are_kept_as_they_come() {
    let dir = temp_dir();
    let at = |name: &str| dir.path().join(name);
    large_files(&at("tree"));
    let from = Repo::create(&at("from"), Mode::Archive, None).unwrap();
    let id = commit(&from, &at("tree"));
    let to = Repo::create(&at("to"), Mode::Archive, None).unwrap();
    let transaction = Transaction::quarantine(&to).unwrap();
    for object in traverse::all_objects(&from, id).unwrap() {
        let path = from.path().join("objects").join(object.loose_path(true));
        let bytes = fs::read(path).unwrap();
        if object.kind != ObjectKind::File {
            transaction
                .write_metadata(object.kind, &bytes, Some(object.checksum))
                .unwrap();
            continue;
        }
        let file = FileId(object.checksum);
        let write = |bytes: &[u8]| {
            transaction.write_filez(file, &mut Cursor::new(bytes), &|_: &FilezHeader| Ok(()))
        };
        // Cut off, lengthened, or one bit flipped in the midst of the content.
        let head = file::split_header(&bytes).unwrap().0.len();
        let mut flipped = bytes.clone();
        flipped[head + (bytes.len() - head) / 2] ^= 1;
        for bad in [
            &bytes[..bytes.len() - 1],
            &[&bytes[..], b"x"].concat(),
            &flipped,
        ] {
            let refused = write(bad);
            assert!(
                matches!(
                    refused,
                    Err(Error::Corrupt { .. } | Error::ChecksumMismatch { .. })
                ),
                "{object}: {refused:?}"
            );
            assert!(
                !transaction
                    .has_staged(&ObjectId::new(ObjectKind::File, file.0))
                    .unwrap()
            );
        }
        write(&bytes).unwrap();
    }
    let refs = [RefUpdate::set("main".parse().unwrap(), id)];
    transaction.commit(&refs).unwrap();
    let real = Tool::ostree().repo(at("to"));
    real.fsck();
    real.checkout("main", at("checkout"), &["-U"]);
}
