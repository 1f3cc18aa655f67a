// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our checkouts against those of the real `ostree`, from repositories that it wrote.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oxtree_repo::checkout::{Links, Options, Stats, Union, checkout};
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
            trees::everything(dir, trees::QUICK);
            // Wide enough for several tasks, narrow enough for a dozen checkouts.
            fs::remove_dir_all(dir.join("wide")).unwrap();
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
