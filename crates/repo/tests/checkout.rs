// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our checkouts against those of the real `ostree`, from repositories that it wrote.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oxtree_format::file::split_header;
use oxtree_format::gvariant::to_bytes;
use oxtree_format::{
    Checksum, DirId, DirMeta, DirMetaId, DirTreeId, FileId, FilezHeader, ObjectId, ObjectKind,
    Xattrs,
};
use oxtree_repo::checkout::{Links, Options, Stats, Union, checkout};
use oxtree_repo::tree::{Node, Tree};
use oxtree_repo::{Repo, Result};
use oxtree_testkit::{Compare, Tool, trees};

const MODES: [&str; 4] = ["bare", "bare-user", "bare-user-only", "archive"];

/// A directory for everything, and a repository of the real tool in it with a commit of
/// `everything` as `main`.
struct Bench {
    dir: tempfile::TempDir,
    mode: &'static str,
}

impl Bench {
    fn new(mode: &'static str, fill: impl Fn(&Path)) -> Self {
        let bench = Self {
            dir: oxtree_testkit::temp_dir(),
            mode,
        };
        fs::create_dir(bench.at("tree")).unwrap();
        fill(&bench.at("tree"));
        let repo = bench.real().init(mode);
        repo.ok("config", ["set", "core.fsync", "false"]);
        repo.commit("main", bench.at("tree"), &[]);
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn real(&self) -> oxtree_testkit::Repo {
        Tool::ostree().repo(self.at("repo"))
    }

    fn ours(&self, to: &Path, path: &str, options: &Options) -> Result<Stats> {
        let repo = Repo::open(self.at("repo"))?;
        let source = repo.tree(repo.resolve_rev("main")?)?.lookup(path)?;
        checkout(&repo, &source, to, options)
    }

    /// Checks out with both and compares everything.
    fn compare(&self, flags: &[&str], options: &Options) {
        let (real, ours) = (self.at("real-out"), self.at("our-out"));
        let context = format!("{} {flags:?}", self.mode);
        self.real().checkout("main", &real, flags);
        let stats = self.ours(&ours, "/", options).expect(&context);
        assert_eq!(differences(&real, &ours), Vec::<String>::new(), "{context}");
        assert_eq!(
            (stats.linked > 0, links(&ours)),
            (links(&real) > 0, links(&real)),
            "{context}"
        );
        assert_eq!(zero_times(&ours), zero_times(&real), "{context}");
        for out in [real, ours] {
            fs::remove_dir_all(out).unwrap();
        }
    }
}

fn differences(a: &Path, b: &Path) -> Vec<String> {
    Compare::default().run(a, b)
}

/// Everything below a directory, in no particular order.
fn walk(dir: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let mut found = vec![(dir.to_owned(), fs::symlink_metadata(dir).unwrap())];
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        match meta.is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push((entry.path(), meta)),
        }
    }
    found
}

/// How many files are hard links.
fn links(dir: &Path) -> usize {
    let linked = |meta: &fs::Metadata| !meta.is_dir() && meta.nlink() > 1;
    walk(dir).iter().filter(|(_, meta)| linked(meta)).count()
}

/// What has the time 0: libostree gives it to objects and to directories of checkouts.
fn zero_times(dir: &Path) -> Vec<PathBuf> {
    let mut zero: Vec<PathBuf> = walk(dir)
        .into_iter()
        .filter(|(_, meta)| meta.mtime() == 0)
        .map(|(path, _)| path.strip_prefix(dir).unwrap().to_owned())
        .collect();
    zero.sort();
    zero
}

#[test]
fn every_mode_and_every_way() {
    for mode in MODES {
        let bench = Bench::new(mode, |dir| {
            trees::every_kind(dir, trees::QUICK);
            // Wide enough for several tasks, narrow enough for a dozen checkouts.
            let wide = dir.join("wide");
            fs::create_dir(&wide).unwrap();
            for n in 0..300 {
                trees::file(
                    &wide.join(format!("{n}")),
                    format!("{n}\n").as_bytes(),
                    0o644,
                );
            }
        });
        let user = Options {
            user: true,
            ..Options::default()
        };
        let copy = |options: &Options| Options {
            links: Links::Never,
            ..options.clone()
        };
        let require = |options: &Options| Options {
            links: Links::Require,
            ..options.clone()
        };
        bench.compare(&["--disable-cache"], &Options::default());
        bench.compare(&["-U", "--disable-cache"], &user);
        if mode == "archive" {
            let cache = Options {
                cache: true,
                ..user.clone()
            };
            bench.compare(&["-U"], &cache);
            bench.compare(&["-U"], &cache);
        }
        bench.compare(&["-C"], &copy(&Options::default()));
        bench.compare(&["-U", "-C"], &copy(&user));
        let plain_dirs = Options {
            plain_dirs: true,
            ..user.clone()
        };
        bench.compare(&["-U", "-M"], &plain_dirs);
        match mode {
            "bare" => bench.compare(&["-H"], &require(&Options::default())),
            "archive" => {}
            _ => bench.compare(&["-U", "-H"], &require(&user)),
        }
    }
}

#[test]
fn joining_trees_replaces_or_keeps() {
    for mode in MODES {
        let bench = Bench::new(mode, |dir| trees::small(dir, 1));
        for (flag, union) in [("--union", Union::Files), ("--union-add", Union::Add)] {
            for (out, links) in [("a", Links::Allow), ("b", Links::Never)] {
                let (real, ours) = (bench.at(&format!("real-{out}")), bench.at(out));
                for to in [&real, &ours] {
                    fs::create_dir(to).unwrap();
                    trees::directory(&to.join("sub"), 0o700);
                    trees::file(&to.join("sub/other"), b"kept", 0o600);
                    trees::file(&to.join("seed"), b"in the way", 0o600);
                    trees::file(&to.join("sub/link"), b"in the way", 0o600);
                    trees::file(&to.join("same"), b"the same in every small tree\n", 0o644);
                    trees::file(&to.join("sub/empty"), b"not empty", 0o600);
                }
                let mut flags = vec![flag, "-U", "--disable-cache"];
                flags.extend((links == Links::Never).then_some("-C"));
                bench.real().checkout("main", &real, &flags);
                let options = Options {
                    user: true,
                    union,
                    links,
                    ..Options::default()
                };
                bench.ours(&ours, "/", &options).unwrap();
                let none = Vec::<String>::new();
                assert_eq!(differences(&real, &ours), none, "{mode} {flags:?}");
                assert_eq!(zero_times(&real), zero_times(&ours), "{mode} {flags:?}");
                for out in [real, ours] {
                    fs::remove_dir_all(out).unwrap();
                }
            }
        }
    }
}

/// Turns a `bare` repository into a `bare-split-xattrs` one. libostree 2022.7 can read those, but
/// writes neither the attributes nor symbolic links of them.
fn split_xattrs(path: &Path) {
    let repo = Repo::open(path).unwrap();
    for object in repo.list_objects().unwrap() {
        if object.kind != ObjectKind::File {
            continue;
        }
        let header = repo.open_file(FileId(object.checksum)).unwrap().header;
        let file = path.join("objects").join(object.loose_path(false));
        for (name, _) in header.xattrs.iter() {
            rustix::fs::lremovexattr(&file, name).unwrap();
        }
        let bytes = header.xattrs.to_bytes();
        let id = ObjectId::new(ObjectKind::FileXattrs, Checksum::of(&bytes));
        let xattrs = path.join("objects").join(id.loose_path(false));
        fs::create_dir_all(xattrs.parent().unwrap()).unwrap();
        fs::write(&xattrs, bytes).unwrap();
        fs::hard_link(xattrs, file.with_extension("file-xattrs-link")).unwrap();
    }
    let config = fs::read_to_string(path.join("config")).unwrap();
    fs::write(
        path.join("config"),
        config.replace("mode=bare\n", "mode=bare-split-xattrs\n"),
    )
    .unwrap();
}

#[test]
fn split_xattrs_are_read() {
    let mut bench = Bench::new("bare", |dir| {
        trees::every_kind(dir, 1000);
    });
    split_xattrs(&bench.at("repo"));
    bench.mode = "bare-split-xattrs";
    let xattrs = bench.real().ok("ls", ["-X", "main", "/xattrs/binary"]);
    assert!(xattrs.contains("user.binary"), "{xattrs}");
    bench.compare(&[], &Options::default());
    bench.compare(
        &["-U"],
        &Options {
            user: true,
            ..Options::default()
        },
    );
}

/// Puts an object into the repository without any of the checks that writing one makes.
fn plant(bench: &Bench, kind: ObjectKind, bytes: &[u8]) -> Checksum {
    let id = ObjectId::new(kind, Checksum::of(bytes));
    let path = bench.at("repo/objects").join(id.loose_path(false));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    id.checksum
}

/// Plants a directory of these files (all of them the file `seed`) and directories.
fn plant_dir(bench: &Bench, files: &[&str], dirs: &[(&str, DirId)]) -> DirId {
    let meta = DirMeta {
        uid: 0,
        gid: 0,
        mode: 0o040_755,
        xattrs: Xattrs::NONE,
    };
    let repo = Repo::open(bench.at("repo")).unwrap();
    let tree = repo.tree(repo.resolve_rev("main").unwrap()).unwrap();
    let Node::File(seed) = tree.lookup("/seed").unwrap().node else {
        panic!("seed is a file");
    };
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|name| (*name, &seed.as_bytes()[..]))
        .collect();
    let dirs: Vec<(&str, &[u8], &[u8])> = dirs
        .iter()
        .map(|(name, id)| (*name, &id.tree.as_bytes()[..], &id.meta.as_bytes()[..]))
        .collect();
    DirId {
        tree: DirTreeId(plant(bench, ObjectKind::DirTree, &to_bytes(&(files, dirs)))),
        meta: DirMetaId(plant(bench, ObjectKind::DirMeta, &meta.to_bytes())),
    }
}

/// Checks out a planted directory.
fn check_out_planted(bench: &Bench, root: DirId, options: &Options) -> Result<Stats> {
    let repo = Repo::open(bench.at("repo")).unwrap();
    let source = Tree::new(&repo, root).root();
    checkout(&repo, &source, &bench.at("out/deep"), options)
}

#[test]
fn hostile_names_do_not_leave_the_destination() {
    let bench = Bench::new("bare-user", |dir| trees::small(dir, 1));
    fs::create_dir(bench.at("out")).unwrap();
    fs::write(bench.at("out/mine"), "mine").unwrap();
    let empty = plant_dir(&bench, &[], &[]);
    let whiteouts = Options {
        user: true,
        whiteouts: true,
        passthrough_whiteouts: true,
        ..Options::default()
    };
    for name in ["..", ".", "", "a/b", "/tmp/x", "../mine"] {
        for root in [
            plant_dir(&bench, &[name], &[]),
            plant_dir(&bench, &[], &[(name, empty)]),
        ] {
            let error = check_out_planted(&bench, root, &whiteouts).unwrap_err();
            assert!(error.to_string().starts_with("Corrupted object"), "{error}");
        }
    }
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        ".ostree-wh.",
        ".ostree-wh..",
        ".ostree-wh...",
    ] {
        let root = plant_dir(&bench, &[name], &[]);
        let _ = fs::remove_dir_all(bench.at("out/deep"));
        let error = check_out_planted(&bench, root, &whiteouts).unwrap_err();
        assert!(error.to_string().starts_with("Invalid"), "{name}: {error}");
    }
    assert_eq!(fs::read(bench.at("out/mine")).unwrap(), b"mine");
}

#[test]
fn content_of_another_size_than_promised_is_refused() {
    let bench = Bench::new("archive", |dir| {
        trees::small(dir, 1);
        fs::write(dir.join("big"), vec![0; 1 << 20]).unwrap();
    });
    let repo = Repo::open(bench.at("repo")).unwrap();
    let tree = repo.tree(repo.resolve_rev("main").unwrap()).unwrap();
    let entry = tree.lookup("/big").unwrap();
    let Node::File(id) = entry.node else {
        panic!("a file");
    };
    let path = bench.at("repo/objects").join(id.object().loose_path(true));
    let stored = fs::read(&path).unwrap();
    let (header, content) = split_header(&stored).unwrap();
    for size in [0, 1, (1 << 20) - 1, (1 << 20) + 1, u64::MAX] {
        let mut header = FilezHeader::parse(header).unwrap();
        header.size = size;
        fs::write(&path, [&header.stored_bytes(), content].concat()).unwrap();
        let options = Options::default();
        let error = checkout(&repo, &entry, &bench.at("out"), &options).unwrap_err();
        assert!(
            error.to_string().contains("content is too"),
            "{size}: {error}"
        );
        assert!(!bench.at("out/big").exists(), "{size}");
    }
}
