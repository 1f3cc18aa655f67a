// SPDX-License-Identifier: MIT OR Apache-2.0
//! One repository and the tool that works on it: the real `ostree`, or our binary, which takes
//! the same options.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::{Output, Tool};

/// A repository as one tool sees it. The same path may be given to two tools.
#[derive(Clone, Debug)]
pub struct Repo {
    tool: Tool,
    path: PathBuf,
}

impl Repo {
    pub(crate) fn new(tool: Tool, path: &Path) -> Repo {
        Repo {
            tool,
            path: path.to_owned(),
        }
    }

    /// Where the repository is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the loose object with this hexadecimal checksum and extension (`commit`, …).
    #[must_use]
    pub fn object(&self, checksum: &str, extension: &str) -> PathBuf {
        let (first, rest) = checksum.split_at(2);
        self.path
            .join("objects")
            .join(first)
            .join(format!("{rest}.{extension}"))
    }

    /// Runs `COMMAND --repo=PATH ARGS…`, whatever its exit code.
    #[must_use = "the exit code is not looked at"]
    pub fn run<S: AsRef<OsStr>>(&self, command: &str, args: impl IntoIterator<Item = S>) -> Output {
        self.tool.run(self.words(command, args))
    }

    /// Runs `COMMAND --repo=PATH ARGS…` and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok<S: AsRef<OsStr>>(&self, command: &str, args: impl IntoIterator<Item = S>) -> String {
        self.run(command, args).expect_ok().stdout()
    }

    fn words<S: AsRef<OsStr>>(
        &self,
        command: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Vec<OsString> {
        let mut option = OsString::from("--repo=");
        option.push(&self.path);
        let mut words = vec![OsString::from(command), option];
        words.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        words
    }

    /// Creates the repository in `mode` (`archive`, `bare`, `bare-user`, `bare-user-only`) and
    /// returns it. The parent directory must exist.
    ///
    /// # Panics
    /// When the tool fails.
    #[must_use]
    pub fn init(self, mode: &str) -> Repo {
        self.ok("init", [format!("--mode={mode}")]);
        self
    }

    /// Turns fsync off for this repository and returns it: much faster where the disk is busy, for
    /// tests in which the machine does not lose power.
    ///
    /// # Panics
    /// When the tool fails.
    #[must_use]
    pub fn without_fsync(self) -> Repo {
        self.ok("config", ["set", "core.fsync", "false"]);
        self
    }

    /// Commits directory `tree` to `branch` with a fixed timestamp and subject, and returns the
    /// commit's checksum.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn commit(&self, branch: &str, tree: impl AsRef<Path>, args: &[&str]) -> String {
        let branch = format!("--branch={branch}");
        let mut words: Vec<&OsStr> = [
            branch.as_str(),
            "--subject=test",
            "--timestamp=2026-01-02T03:04:05Z",
        ]
        .map(OsStr::new)
        .to_vec();
        words.extend(args.iter().map(OsStr::new));
        words.push(tree.as_ref().as_os_str());
        self.ok("commit", words).trim().to_owned()
    }

    /// The checksum that `rev` resolves to.
    ///
    /// # Panics
    /// When the tool fails.
    #[must_use]
    pub fn rev_parse(&self, rev: &str) -> String {
        self.ok("rev-parse", [rev]).trim().to_owned()
    }

    /// All refs, sorted.
    ///
    /// # Panics
    /// When the tool fails.
    #[must_use]
    pub fn refs(&self) -> Vec<String> {
        let mut refs: Vec<String> = self
            .ok("refs", [""; 0])
            .lines()
            .map(str::to_owned)
            .collect();
        refs.sort();
        refs
    }

    /// Checks every object.
    ///
    /// # Panics
    /// When the tool finds fault with one.
    pub fn fsck(&self) {
        self.ok("fsck", ["--quiet"]);
    }

    /// Checks `rev` out into `to`, which must not exist.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn checkout(&self, rev: &str, to: impl AsRef<Path>, args: &[&str]) {
        let mut words: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        words.extend([OsStr::new(rev), to.as_ref().as_os_str()]);
        self.ok("checkout", words);
    }

    /// Pulls `refs` (all when none is named) from the repository at `url`, as remote `origin`
    /// without signatures.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn pull(&self, url: &str, refs: &[&str]) {
        self.ok(
            "remote",
            ["add", "--if-not-exists", "--no-gpg-verify", "origin", url],
        );
        let mut words = vec!["--mirror", "origin"];
        words.extend(refs);
        self.ok("pull", words);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Compare, Tool, WebServer, trees};

    #[test]
    fn commit_serve_pull_check_out() {
        let dir = crate::temp_dir();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("tree")).expect("mkdir");
        trees::small(&at("tree"), 1);
        let source = Tool::ostree()
            .repo(at("source"))
            .init("archive")
            .without_fsync();
        let commit = source.commit("main", at("tree"), &[]);
        assert_eq!(source.refs(), ["main"]);
        assert!(source.object(&commit, "commit").is_file());

        let web = WebServer::serve(source.path());
        let client = Tool::ostree()
            .repo(at("client"))
            .init("bare-user")
            .without_fsync();
        client.pull(&web.url(), &["main"]);
        assert_eq!(client.rev_parse("main"), commit);
        client.fsck();
        client.checkout("main", at("out"), &["-U"]);
        let differences = Compare::default()
            .owners(false)
            .xattrs(false)
            .run(&at("tree"), &at("out"));
        assert_eq!(differences, Vec::<String>::new());
    }

    #[test]
    #[should_panic(expected = "error: ")]
    fn fsck_panics_on_a_damaged_object() {
        let dir = crate::temp_dir();
        std::fs::create_dir(dir.path().join("tree")).expect("mkdir");
        let repo = Tool::ostree().repo(dir.path().join("repo")).init("archive");
        let commit = repo.commit("main", dir.path().join("tree"), &[]);
        std::fs::write(repo.object(&commit, "commit"), "nonsense").expect("damage the commit");
        repo.fsck();
    }
}
