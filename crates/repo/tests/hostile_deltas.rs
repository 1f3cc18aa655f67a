// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deltas with damaged superblocks, parts and operations: nothing panics, and what gets into a repository is
//! what its name says. `OXTREE_MUTANTS` is their number.

use std::fs;
use std::path::Path;

use oxtree_format::delta::part::{FileMode, Layout, modes_to_vec, xattrs_to_vec};
use oxtree_format::delta::{DeltaName, NewOperations, NewPart, NewSuperblock, Superblock};
use oxtree_format::{Checksum, CommitId, FileId, ObjectKind, Xattrs};
use oxtree_repo::commit::{CommitBuilder, CommitModifier, tree_from_dir};
use oxtree_repo::delta::DeltaFiles;
use oxtree_repo::delta::generate::Options;
use oxtree_repo::{Mode, RefUpdate, Repo, Transaction};
use oxtree_testkit::{Dice, temp_dir};

fn open(path: &Path) -> Repo {
    Repo::create(path, Mode::BareUserOnly, None).unwrap()
}

fn commit(repo: &Repo, tree: &Path) -> CommitId {
    let transaction = Transaction::begin(repo).unwrap();
    let modifier = CommitModifier {
        canonical_permissions: true,
        ..Default::default()
    };
    let root = tree_from_dir(tree, &modifier, &transaction).unwrap();
    let root = root.write(&transaction).unwrap();
    let commit = CommitBuilder::default().write(root, &transaction).unwrap();
    transaction
        .commit(&[RefUpdate::set("main".parse().unwrap(), commit)])
        .unwrap();
    commit
}

/// All objects are what their names say.
fn verify(repo: &Repo) -> usize {
    let objects = repo.list_objects().unwrap();
    let mut buffer = vec![0; 64 << 10];
    for object in &objects {
        repo.verify_object(object, &mut buffer).unwrap();
    }
    objects.len()
}

/// Two commits of each other's kind, and a delta between them that patches, copies and sends whole.
struct Case {
    dir: tempfile::TempDir,
    name: DeltaName,
}

impl Case {
    fn new(options: &Options) -> Self {
        let dir = temp_dir();
        let (tree, repo) = (dir.path().join("tree"), open(&dir.path().join("source")));
        let noise = |seed: u32, len: u32| -> Vec<u8> {
            let word = |n: u32| (n ^ seed).wrapping_mul(2_654_435_761).to_le_bytes();
            (0..len).flat_map(word).collect()
        };
        fs::create_dir_all(tree.join("sub")).unwrap();
        let (mut patched, mut copied) = (noise(1, 4_000), noise(2, 40_000));
        fs::write(tree.join("patched"), &patched).unwrap();
        fs::write(tree.join("sub/copied"), &copied).unwrap();
        let from = commit(&repo, &tree);
        patched.iter_mut().step_by(700).for_each(|byte| *byte ^= 1);
        copied.splice(70_000..70_000, *b"inserted");
        fs::write(tree.join("patched"), &patched).unwrap();
        fs::write(tree.join("sub/copied"), &copied).unwrap();
        fs::write(tree.join("whole"), noise(3, 500)).unwrap();
        std::os::unix::fs::symlink("whole", tree.join("link")).unwrap();
        let to = commit(&repo, &tree);
        let from = Some(from);
        let name = DeltaName { from, to };
        let report = repo
            .generate_static_delta(&name, options, &[], &())
            .unwrap();
        assert_eq!(
            (report.patched, report.copied, report.fallbacks.len()),
            (1, 1, 0)
        );
        Self { dir, name }
    }

    /// A repository that has the first commit only.
    fn target(&self, name: &str) -> Repo {
        let (old, repo) = (
            self.dir.path().join("old"),
            open(&self.dir.path().join(name)),
        );
        if !old.exists() {
            let source = Repo::open(self.dir.path().join("source")).unwrap();
            let tree = source.tree(self.name.from.unwrap()).unwrap();
            let options = oxtree_repo::checkout::Options {
                user: true,
                ..Default::default()
            };
            oxtree_repo::checkout::checkout(&source, &tree.root(), &old, &options).unwrap();
        }
        assert_eq!(Some(commit(&repo, &old)), self.name.from);
        repo
    }

    fn delta(&self) -> std::path::PathBuf {
        self.dir.path().join("source").join(self.name.folder())
    }
}

fn mutants() -> u64 {
    let number = std::env::var("OXTREE_MUTANTS").ok();
    number.map_or(400, |number| number.parse().unwrap())
}

#[test]
fn damaged_files_are_refused_or_harmless() {
    let options = Options {
        inline: true,
        ..Options::default()
    };
    let case = Case::new(&options);
    let good = fs::read(case.delta().join("superblock")).unwrap();
    let mut repo = case.target("target");
    let before = verify(&repo);
    let file = case.dir.path().join("damaged");
    let mut dice = Dice::new();
    for mutant in 0..mutants() {
        let mut bytes = good.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len() as u64) as usize;
            match dice.below(8) {
                0 => bytes.truncate(at + 1),
                1 => bytes.insert(at, dice.below(256) as u8),
                _ => bytes[at] = dice.below(256) as u8,
            }
        }
        fs::write(&file, &bytes).unwrap();
        let files = DeltaFiles::open(&file).unwrap();
        match files.apply(&repo) {
            // Damaged where it does not matter: the time, say.
            Ok(_) => {
                assert!(verify(&repo) > before);
                repo = case.target(&format!("target-{mutant}"));
            }
            Err(_) => assert_eq!(repo.list_objects().unwrap().len(), before),
        }
        if let Ok(superblock) = files.superblock() {
            let parts = superblock.part_count().min(3);
            (0..parts).for_each(|part| drop(files.describe_part(&superblock, part)));
        }
    }
    verify(&repo);
    // Nothing of it is in the way of the real one.
    DeltaFiles::open(&case.delta())
        .unwrap()
        .apply(&repo)
        .unwrap();
    assert!(verify(&repo) > before);
    let left = fs::read_dir(repo.path().join("tmp")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["cache"]);
}

/// A superblock whose only part, not packed, has these operations, and its file.
fn forged(
    case: &Case,
    operations: &NewOperations,
    objects: &[FileId],
    content_size: u64,
) -> (Vec<u8>, Vec<u8>) {
    let mode = FileMode {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
    };
    let (modes, xattrs) = (modes_to_vec(&[mode]), xattrs_to_vec(&[Xattrs::NONE]));
    // The checksum of an old file, a patch that seeks and adds wildly, and some more.
    let source = Repo::open(case.dir.path().join("source")).unwrap();
    let old = oxtree_repo::traverse::all_objects(&source, case.name.from.unwrap()).unwrap();
    let old = old
        .iter()
        .find(|object| object.kind == ObjectKind::File)
        .unwrap();
    let wild = |alike, fresh, seek| {
        oxtree_format::delta::patch::Step { alike, fresh, seek }
            .to_bytes()
            .to_vec()
    };
    let blob = [
        old.checksum.0.to_vec(),
        wild(2, 1, i64::MAX),
        b"abc".to_vec(),
        wild(2, 1, i64::MIN + 1),
        b"abc".to_vec(),
        wild(u64::MAX >> 1, 0, 0),
        vec![1; 100],
    ]
    .concat();
    let head = (modes.len() + xattrs.len()) as u64;
    let blob_end = head + blob.len() as u64;
    let end = blob_end + operations.as_bytes().len() as u64;
    let tail = Layout::tail(modes.len() as u64, head, blob_end, end);
    let file = [
        &[0][..],
        &modes,
        &xattrs,
        &blob,
        operations.as_bytes(),
        &tail,
    ]
    .concat();
    let commit = source.load_commit(case.name.to).unwrap();
    let part = NewPart {
        checksum: Checksum::of(&file),
        size: file.len() as u64,
        content_size,
        objects: objects.iter().map(|id| id.object()).collect(),
        inline: None,
    };
    let superblock = NewSuperblock {
        name: case.name,
        commit: &commit,
        detached: None,
        timestamp: 0,
        order: oxtree_format::delta::ByteOrder::Little,
        parts: vec![part],
        fallbacks: Vec::new(),
    };
    (superblock.into_bytes(), file)
}

#[test]
fn forged_operations_write_nothing_wrong() {
    let case = Case::new(&Options::default());
    let repo = case.target("target");
    let before = verify(&repo);
    let nobody = [FileId(Checksum::of(b"nobody has this"))];
    let with = |size: u64, piece: &dyn Fn(&mut NewOperations)| {
        let mut operations = NewOperations::default();
        operations.open(0, 0, size);
        piece(&mut operations);
        operations.close();
        operations
    };
    type Forge<'a> = (u64, &'a dyn Fn(&mut NewOperations), &'a str);
    let forges: [Forge<'_>; 9] = [
        (3, &|o| o.write(0, 3), "actual="),
        (4, &|o| o.write(0, 3), "not of the 4 bytes"),
        (2, &|o| o.write(0, 3), "not of the 2 bytes"),
        (u64::MAX, &|o| o.write(0, 3), "more than the"),
        (
            3,
            &|o| {
                o.source(0);
                o.write(u64::MAX, 3);
            },
            "beyond the end of its source",
        ),
        (
            3,
            &|o| {
                o.source(1);
                o.write(0, 3);
            },
            "Couldn't find file object",
        ),
        (
            6,
            &|o| {
                o.source(0);
                o.patch(32..86);
            },
            "too far",
        ),
        (
            6,
            &|o| {
                o.source(0);
                o.patch(86..120);
            },
            "not of the 6 bytes",
        ),
        (
            9,
            &|o| {
                o.source(0);
                o.patch(32..40);
            },
            "cut off",
        ),
    ];
    for (size, piece, says) in forges {
        let operations = with(size, piece);
        let (superblock, file) = forged(&case, &operations, &nobody, 1 << 20);
        let superblock = Superblock::parse(&superblock).unwrap();
        let transaction = Transaction::begin(&repo).unwrap();
        let error = transaction
            .apply_delta_part(&superblock, 0, &mut &file[..])
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error} for {says}");
        // Neither less nor more than was promised is taken.
        let error = transaction.apply_delta_part(&superblock, 0, &mut &file[..file.len() - 1]);
        assert!(error.unwrap_err().to_string().contains("bytes"));
        let mut endless = std::io::Read::chain(&file[..], std::io::repeat(0));
        assert!(
            transaction
                .apply_delta_part(&superblock, 0, &mut endless)
                .is_err()
        );
        transaction.commit(&[]).unwrap();
        assert_eq!(verify(&repo), before);
    }
    // One blob cannot become any number of files.
    let mut operations = NewOperations::default();
    (0..50).for_each(|_| operations.whole(0, 0, 0..100));
    let many: Vec<_> = (0..50_u8).map(|n| FileId(Checksum::of(&[n]))).collect();
    let (superblock, file) = forged(&case, &operations, &many, 2_000);
    let superblock = Superblock::parse(&superblock).unwrap();
    let transaction = Transaction::begin(&repo).unwrap();
    let error = transaction
        .apply_delta_part(&superblock, 0, &mut &file[..])
        .unwrap_err();
    assert!(
        error.to_string().contains("more than the 2000 bytes"),
        "{error}"
    );
}
