// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small build system for an operating system, on top of `oxtree-repo`.
//!
//! Each package is a branch. An image is put together from packages: they are checked out over
//! each other, as hard links, so that nothing is copied; then a trigger runs, as `ldconfig` would;
//! and the result is committed, reading only the files that the trigger made. A second
//! build after a change of one package costs about as much as that package.
//!
//! ```text
//! cargo run -p oxtree-repo --example build_system -- /tmp/image
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use oxtree_format::{CommitId, Refspec};
use oxtree_repo::checkout::{self, Union, checkout};
use oxtree_repo::commit::{CommitBuilder, CommitModifier, DevInoCache, tree_from_dir};
use oxtree_repo::{Mode, RefUpdate, Repo, Transaction};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The branch of the finished image.
const IMAGE: &str = "image/standard";

fn main() -> Result<()> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = dir.ok_or("usage: build_system DIRECTORY")?;
    fs::create_dir_all(&dir)?;
    let system = BuildSystem::new(&dir)?;
    for (package, version) in [("shell", "1.0"), ("init", "7"), ("shell", "1.1")] {
        println!("{package} {version}: {}", system.package(package, version)?);
        println!("image: {}", system.image(&["shell", "init"])?);
    }
    Ok(())
}

struct BuildSystem {
    /// In mode `bare-user` files in checkouts are links to their objects, and owners are kept
    /// though nobody needs to be root.
    repo: Repo,
    work: PathBuf,
}

impl BuildSystem {
    fn new(dir: &Path) -> Result<Self> {
        Ok(Self {
            repo: Repo::create(&dir.join("repo"), Mode::BareUser, None)?,
            work: dir.join("work"),
        })
    }

    /// Builds a package: a program of its name that says its version.
    fn package(&self, name: &str, version: &str) -> Result<CommitId> {
        self.empty_work()?;
        let bin = self.work.join("usr/bin");
        fs::create_dir_all(&bin)?;
        fs::write(bin.join(name), format!("{name} {version}\n"))?;
        self.commit(&branch_of(name), version, &self.root_owned())
    }

    /// Puts the packages that there are together.
    fn image(&self, packages: &[&str]) -> Result<CommitId> {
        self.empty_work()?;
        for package in packages {
            let Some(commit) = self.repo.try_resolve_rev(&branch_of(package))? else {
                continue;
            };
            let options = checkout::Options {
                user: true,
                union: Union::Files,
                ..Default::default()
            };
            let root = self.repo.tree(commit)?.root();
            checkout(&self.repo, &root, &self.work, &options)?;
        }
        self.trigger()?;
        let modifier = CommitModifier {
            // A link to an object is that object, and need not be read.
            devino: Some(DevInoCache::scan(&self.repo)?),
            devino_canonical: true,
            ..self.root_owned()
        };
        self.commit(IMAGE, "a new image", &modifier)
    }

    /// Lists all programs in a file. Files are replaced and never written to: their links in the
    /// repository would change with them.
    fn trigger(&self) -> Result<()> {
        let mut programs = Vec::new();
        for entry in fs::read_dir(self.work.join("usr/bin"))? {
            programs.push(entry?.file_name().to_string_lossy().into_owned());
        }
        programs.sort();
        let lib = self.work.join("usr/lib");
        fs::create_dir_all(&lib)?;
        fs::write(lib.join("programs.new"), programs.join("\n"))?;
        fs::rename(lib.join("programs.new"), lib.join("programs"))?;
        Ok(())
    }

    /// Commits what is in the work directory to a branch, on top of its current commit.
    fn commit(&self, branch: &str, subject: &str, modifier: &CommitModifier) -> Result<CommitId> {
        let transaction = Transaction::begin(&self.repo)?;
        let tree = tree_from_dir(&self.work, modifier, &transaction)?;
        let root = tree.write(&transaction)?;
        let mut builder = CommitBuilder {
            subject: subject.to_owned(),
            parent: self.repo.try_resolve_rev(branch)?,
            timestamp: 1_700_000_000,
            ..CommitBuilder::default()
        };
        builder.bind(&[branch], None);
        let commit = builder.write(root, &transaction)?;
        let refspec: Refspec = branch.parse()?;
        transaction.commit(&[RefUpdate::set(refspec, commit)])?;
        Ok(commit)
    }

    fn root_owned(&self) -> CommitModifier {
        CommitModifier {
            owner_uid: Some(0),
            owner_gid: Some(0),
            no_xattrs: true,
            ..CommitModifier::default()
        }
    }

    fn empty_work(&self) -> Result<()> {
        match fs::remove_dir_all(&self.work) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn branch_of(package: &str) -> String {
    format!("package/{package}")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use oxtree_repo::diff::{Source, diff};
    use oxtree_testkit::Tool;

    use super::*;

    fn content(system: &BuildSystem, commit: CommitId, path: &str) -> String {
        let tree = system.repo.tree(commit).unwrap();
        let mut text = String::new();
        let mut file = tree.open(path).unwrap();
        file.content.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn an_image_is_put_together_twice() {
        let dir = oxtree_testkit::temp_dir();
        let system = BuildSystem::new(dir.path()).unwrap();
        system.package("shell", "1.0").unwrap();
        system.package("init", "7").unwrap();
        let first = system.image(&["shell", "init", "not-there"]).unwrap();
        assert_eq!(content(&system, first, "/usr/bin/shell"), "shell 1.0\n");
        assert_eq!(content(&system, first, "/usr/lib/programs"), "init\nshell");

        system.package("shell", "1.1").unwrap();
        let second = system.image(&["shell", "init"]).unwrap();
        let [a, b] = [first, second].map(|commit| system.repo.tree(commit).unwrap());
        let changes = diff(Source::Tree(a), Source::Tree(b), Default::default()).unwrap();
        assert_eq!(changes.modified, [Path::new("usr/bin/shell")]);
        assert!(changes.removed.is_empty() && changes.added.is_empty());
        assert_eq!(content(&system, first, "/usr/bin/shell"), "shell 1.0\n");

        let real = Tool::ostree().repo(dir.path().join("repo"));
        real.fsck();
        assert_eq!(real.rev_parse(IMAGE), second.to_string());
        assert_eq!(real.rev_parse(&format!("{IMAGE}^")), first.to_string());
    }
}
