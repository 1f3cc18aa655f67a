// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories with one damaged file each: whatever is damaged and however, nothing panics, hangs
//! or runs out of memory, and a checkout that differs from what was committed is one of which fsck
//! says that it is damaged. `OXTREE_MUTANTS` is their number in each mode.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use oxtree_format::{Checksum, Commit, Hasher, Summary};
use oxtree_repo::checkout::{self, checkout};
use oxtree_repo::fsck::{self, Fsck};
use oxtree_repo::prune::{Keep, Policy};
use oxtree_repo::tree::Node;
use oxtree_repo::{Repo, prune};
use oxtree_testkit::{Dice, Tmpfs, Tool, is_root, temp_dir};

/// Mutants in each mode.
const MUTANTS: usize = 5000;

/// Of so many, one is also looked at by the real tool, one is mended and pruned.
const EVERY: usize = 100;

/// What is looked at, each in its turn.
const REVS: [&str; 3] = ["main", "main^", "side/other"];

/// No command may take longer on so small a repository, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// A small repository with every kind of file in it.
struct Store {
    dir: PathBuf,
    _disk: Result<Tmpfs, tempfile::TempDir>,
    /// Paths below the repository, sorted.
    files: Vec<String>,
    /// The trees that were committed.
    trees: BTreeSet<Checksum>,
}

impl Store {
    fn new(mode: &str) -> Self {
        let disk = match is_root() {
            true => Ok(Tmpfs::mount(64 << 20)),
            false => Err(temp_dir()),
        };
        let dir = match &disk {
            Ok(disk) => disk.path().to_owned(),
            Err(dir) => dir.path().to_owned(),
        };
        let (tree, path) = (dir.join("tree"), dir.join("repo"));
        fs::create_dir_all(tree.join("sub/deep")).unwrap();
        let repo = Tool::ostree().repo(&path).init(mode).without_fsync();
        fs::write(tree.join("a"), "hello\n").unwrap();
        fs::write(tree.join("sub/empty"), "").unwrap();
        fs::write(tree.join("sub/deep/b"), vec![b'b'; 5000]).unwrap();
        symlink("a", tree.join("sub/link")).unwrap();
        let flags = [
            "--canonical-permissions",
            "--generate-sizes",
            "--add-metadata-string=version=1",
            "--add-detached-metadata-string=note=hello",
        ];
        let first = repo.commit("main", &tree, &flags);
        fs::write(tree.join("a"), "world\n").unwrap();
        repo.commit("main", &tree, &flags);
        repo.commit("side/other", tree.join("sub"), &flags[..1]);
        let mirror = "--create=org.example.Other:app";
        repo.ok("refs", ["--collections", mirror, &first]);
        repo.ok("static-delta", ["generate", "main"]);
        repo.ok("summary", ["-u"]);
        fs::write(
            path.join(format!("state/{}.commitpartial", "0".repeat(64))),
            "",
        )
        .unwrap();
        let mut store = Self {
            dir,
            _disk: disk,
            files: Vec::new(),
            trees: BTreeSet::new(),
        };
        store.files = files_below(&path);
        for rev in REVS {
            let tree = store.check_out(&Repo::open(&path).unwrap(), rev).unwrap();
            store.trees.insert(tree);
        }
        assert_eq!(store.trees.len(), 3);
        store
    }

    fn repo(&self) -> PathBuf {
        self.dir.join("repo")
    }

    /// Checks a rev out; the checksum of all that came out.
    fn check_out(&self, repo: &Repo, rev: &str) -> oxtree_repo::Result<Checksum> {
        let to = self.dir.join("out");
        drop(fs::remove_dir_all(&to));
        let root = repo.tree(repo.resolve_rev(rev)?)?.root();
        let options = checkout::Options {
            user: true,
            ..checkout::Options::default()
        };
        checkout(repo, &root, &to, &options)?;
        let mut hasher = Hasher::new();
        for name in files_below(&to) {
            let path = to.join(&name);
            let meta = path.symlink_metadata().unwrap();
            hasher.update(format!("{name} {:o}\n", meta.permissions().mode()).as_bytes());
            hasher.update(&match meta.is_symlink() {
                true => path
                    .read_link()
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes(),
                false => fs::read(&path).unwrap(),
            });
        }
        Ok(hasher.finish())
    }

    /// Does everything to the damaged repository that only reads.
    fn exercise(&self, which: usize, about: &str) -> bool {
        let begun = Instant::now();
        let Ok(repo) = Repo::open(self.repo()) else {
            return true;
        };
        let found = !is_whole(&repo);
        if which.is_multiple_of(8) {
            // Some of the commits are not where they are bound to.
            let strict = fsck::Options {
                verify_bindings: true,
                verify_back_refs: true,
                ..fsck::Options::default()
            };
            drop(check(&repo, strict));
        }
        let options = prune::Options {
            refs_only: true,
            policy: Policy::same(Keep::depth(0)),
            dry_run: true,
            by_ref: true,
            ..prune::Options::default()
        };
        drop(repo.plan_prune(&options));
        drop(
            repo.read_summary()
                .map(|bytes| bytes.map(|bytes| Summary::parse(&bytes).is_ok())),
        );
        let rev = REVS[which % REVS.len()];
        drop(list(&repo, rev));
        let out = self.check_out(&repo, rev);
        let wrong = out.is_ok_and(|tree| !self.trees.contains(&tree));
        assert!(found || !wrong, "{about}: fsck has not found it");
        assert!(begun.elapsed() < PATIENCE, "{about}: {:?}", begun.elapsed());
        found
    }

    /// Deletes what is damaged and then what nobody needs, in a copy. What is not damaged stays.
    fn mend(&self, damaged: &str, about: &str) {
        let copy = self.dir.join("copy");
        Tool::new("/bin/cp").ok([Path::new("-a"), &self.repo(), &copy]);
        if let Ok(repo) = Repo::open(&copy) {
            let options = fsck::Options {
                keep_going: true,
                delete: true,
                ..fsck::Options::default()
            };
            drop(check(&repo, options));
            let plan = repo.plan_prune(&prune::Options::default());
            drop(plan.and_then(|plan| plan.execute(&())));
            // A commit that was damaged is none any more, and nobody needs what it had.
            if !damaged.ends_with(".commit") && damaged.starts_with("objects/") {
                let left: BTreeSet<String> = files_below(&copy).into_iter().collect();
                for name in self.files.iter().filter(|name| name.ends_with(".commit")) {
                    assert!(left.contains(name), "{about}: {name} is gone");
                }
            }
        }
        fs::remove_dir_all(copy).unwrap();
    }

    /// What the real one marks or ours marks is no damage for the next mutant.
    fn forget_marks(&self) {
        let state = self.repo().join("state");
        for name in files_below(&state) {
            if !self.files.contains(&format!("state/{name}")) {
                fs::remove_file(state.join(name)).unwrap();
            }
        }
    }
}

/// Paths of all files below a directory, sorted; links are files.
fn files_below(dir: &Path) -> Vec<String> {
    let (mut found, mut pending) = (Vec::new(), vec![String::new()]);
    while let Some(inside) = pending.pop() {
        for entry in fs::read_dir(dir.join(&inside)).into_iter().flatten() {
            let entry = entry.unwrap();
            let path = format!("{inside}{}", entry.file_name().to_string_lossy());
            match entry.file_type().unwrap().is_dir() {
                true => pending.push(format!("{path}/")),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

fn check(repo: &Repo, options: fsck::Options) -> oxtree_repo::Result<bool> {
    let mut fsck = Fsck::new(repo, options)?;
    let mut problems = fsck.refs()?;
    problems.extend(fsck.collection_refs()?);
    problems.extend(fsck.commits()?);
    problems.extend(fsck.find_objects()?);
    problems.extend(fsck.verify(&())?);
    for problem in &problems {
        assert!(!problem.to_string().is_empty());
    }
    Ok(problems.is_empty() && fsck.counts().partial == 0)
}

fn is_whole(repo: &Repo) -> bool {
    let plain = fsck::Options {
        keep_going: true,
        ..fsck::Options::default()
    };
    check(repo, plain).unwrap_or(false)
}

/// Reads what `ls -R` and `show` read.
fn list(repo: &Repo, rev: &str) -> oxtree_repo::Result<()> {
    let id = repo.resolve_rev(rev)?;
    let bytes = repo.load_commit(id)?;
    if let Ok(commit) = Commit::parse(&bytes) {
        assert_ne!(commit.content_checksum().to_hex(), "");
        drop(commit.ref_bindings());
    }
    repo.load_detached_metadata(id)?;
    let mut pending = vec![repo.tree(id)?.root()];
    let mut seen = 0;
    while let Some(entry) = pending.pop() {
        seen += 1;
        assert!(seen < 1000, "more than was committed");
        match entry.node {
            Node::File(file) => {
                drop(repo.file_info(file));
            }
            Node::Dir(dir) => {
                drop(repo.load_dirmeta(dir.meta));
                let listing = repo.list_dir(dir.tree)?;
                for (name, id) in listing.files {
                    let (path, node) = (entry.child(&name), Node::File(id));
                    pending.push(oxtree_repo::tree::Entry { path, node });
                }
                for (name, id) in listing.dirs {
                    let (path, node) = (entry.child(&name), Node::Dir(id));
                    pending.push(oxtree_repo::tree::Entry { path, node });
                }
            }
        }
    }
    Ok(())
}

/// Damages bytes in one of many ways.
fn damage(bytes: &mut Vec<u8>, others: &[u8], dice: &mut Dice) {
    let len = bytes.len() as u64;
    let mut at = |end: u64| usize::try_from(dice.below(end.max(1))).unwrap();
    let (kind, here, there) = (at(10), at(len), at(len));
    let random = u8::try_from(at(256)).unwrap();
    match (kind, bytes.is_empty()) {
        (0 | 1, false) => bytes[here] ^= 1 << (random % 8),
        (2, false) => bytes[here] = random,
        (3, false) => bytes.truncate(here),
        (4, _) => bytes.clear(),
        (5, false) => bytes.swap(here, there),
        (6, false) => {
            let end = (here + 8).min(bytes.len());
            bytes[here..end].fill(random | 0xf0);
        }
        (7, false) => {
            let range = here.min(there)..here.max(there);
            let twice = bytes[range.clone()].to_vec();
            bytes.splice(range.start..range.start, twice);
        }
        (8, _) => {
            bytes.clear();
            bytes.extend_from_slice(others);
        }
        _ => bytes.extend(std::iter::repeat_n(random, here % 50 + 1)),
    }
}

/// A file that is damaged until it is put back.
struct Damage {
    path: PathBuf,
    aside: PathBuf,
    bytes: Option<Vec<u8>>,
}

impl Damage {
    /// Damages a file; in place, so that its attributes stay, unless it becomes something else.
    fn inflict(store: &Store, name: &str, dice: &mut Dice) -> Self {
        let mut damage = Self {
            path: store.repo().join(name),
            aside: store.dir.join("aside"),
            bytes: None,
        };
        let other = store.repo().join(dice_pick(&store.files, dice));
        let is_link = damage.path.is_symlink();
        if is_link || dice.percent(6) {
            fs::rename(&damage.path, &damage.aside).unwrap();
            match dice.below(4) {
                0 => fs::create_dir(&damage.path).unwrap(),
                1 => symlink("/etc/passwd", &damage.path).unwrap(),
                2 => symlink(&damage.path, &damage.path).unwrap(),
                _ => {}
            }
            return damage;
        }
        let original = fs::read(&damage.path).unwrap();
        let mut bytes = original.clone();
        damage_bytes(&mut bytes, &other, dice);
        fs::write(&damage.path, bytes).unwrap();
        damage.bytes = Some(original);
        damage
    }

    fn put_back(self) {
        match self.bytes {
            Some(bytes) => fs::write(&self.path, bytes).unwrap(),
            None => {
                drop(fs::remove_dir(&self.path));
                drop(fs::remove_file(&self.path));
                fs::rename(&self.aside, &self.path).unwrap();
            }
        }
    }
}

fn damage_bytes(bytes: &mut Vec<u8>, other: &Path, dice: &mut Dice) {
    let others = fs::read(other).unwrap_or_default();
    damage(bytes, &others, dice);
}

fn dice_pick<'f>(files: &'f [String], dice: &mut Dice) -> &'f String {
    &files[usize::try_from(dice.below(files.len() as u64)).unwrap()]
}

/// Whether the real tool says that something is damaged. That it dies says nothing.
fn real_finds(store: &Store) -> bool {
    let repo = format!("--repo={}", store.repo().display());
    let mut command = Command::new("timeout");
    command
        .args(["10", "ostree", "fsck", "-q", "-a", &repo])
        .env("LC_ALL", "C.UTF-8");
    oxtree_testkit::Output::of(&mut command).code == Some(1)
}

fn mutants(mode: &str) {
    let store = Store::new(mode);
    assert!(is_whole(&Repo::open(store.repo()).unwrap()));
    let mut dice = Dice::new();
    let number = std::env::var("OXTREE_MUTANTS").map_or(MUTANTS, |n| n.parse().unwrap());
    let mut found = 0;
    for n in 0..number {
        let name = dice_pick(&store.files, &mut dice).clone();
        let about = format!("{mode}, mutant {n} of {name}");
        let damage = Damage::inflict(&store, &name, &mut dice);
        let ours = store.exercise(n, &about);
        found += usize::from(ours);
        if n.is_multiple_of(EVERY) {
            let real = name.starts_with("objects/") && real_finds(&store);
            assert!(ours || !real, "{about}: only the real fsck finds it");
            store.mend(&name, &about);
        }
        damage.put_back();
        store.forget_marks();
    }
    assert!(found > number / 3, "only {found} of {number} were found");
    assert!(is_whole(&Repo::open(store.repo()).unwrap()));
    assert!(peak_memory() < 150 << 20, "{} bytes", peak_memory());
}

/// The most memory this process had, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

/// All on one thread: so small a repository is not worth waking others.
fn on_one_thread(work: impl FnOnce() + Send) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.unwrap().install(work);
}

#[test]
fn of_an_archive() {
    on_one_thread(|| mutants("archive"));
}

#[test]
fn of_a_bare_user_repository() {
    on_one_thread(|| mutants("bare-user"));
}
