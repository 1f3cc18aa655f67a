// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository with every kind of file, copies of it with one file damaged, and what is expected of commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oxtree_testkit::Output;

/// The binary under test.
pub(crate) const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Empty,
    Truncated,
    Noise,
}

impl Damage {
    pub(crate) const ALL: [Self; 3] = [Self::Empty, Self::Truncated, Self::Noise];

    fn apply(self, path: &Path) {
        let old = fs::read(path).unwrap_or_default();
        let new = match self {
            Self::Empty => Vec::new(),
            Self::Truncated => old[..old.len() / 2].to_vec(),
            Self::Noise => noise(old.len().max(100)),
        };
        // A new file: the old one may be linked elsewhere.
        fs::remove_file(path).ok();
        fs::write(path, new).expect("write the damaged file");
    }
}

/// Bytes without a pattern, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// What a command does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    /// It does all that was asked for.
    Goes,
    /// It does the rest, says this of what it could not do, and ends with 1.
    Incomplete(&'static str),
    /// It fails with these words.
    Fails(&'static str),
}

/// A file that a repository keeps.
pub(crate) struct Kept {
    /// Its path, or what it is in braces.
    pub(crate) path: &'static str,
    /// Damages that are none to this file.
    pub(crate) but: &'static [Damage],
    /// Commands, and what they do when the file is damaged.
    pub(crate) commands: &'static [(&'static str, Does)],
}

/// A copy of the template.
pub(crate) struct Copy {
    dir: tempfile::TempDir,
}

impl Copy {
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("repo")
    }
}

/// The repository that copies are made of.
pub(crate) struct Template {
    pub(crate) dir: tempfile::TempDir,
}

impl Template {
    pub(crate) fn new() -> Self {
        let template = Self {
            dir: oxtree_testkit::temp_dir(),
        };
        let at = |name: &str| template.dir.path().join(name).display().to_string();
        let ok = |line: &str| {
            let output = words(line, &[]).output();
            assert_eq!(output.code, Some(0), "{line}: {output:?}");
            output.stdout().trim().to_owned()
        };
        for name in ["main", "other"] {
            let tree = template.dir.path().join(name);
            fs::create_dir_all(tree.join("sub")).expect("mkdir");
            fs::write(tree.join("sub/file"), format!("{name}\n").repeat(100)).expect("write");
        }
        let repo = at("repo");
        ok(&format!("init --repo={repo} --mode=archive"));
        for name in ["main", "other"] {
            let tree = at(name);
            ok(&format!(
                "commit --repo={repo} -b {name} {tree} --add-detached-metadata-string=a.note=text"
            ));
        }
        ok(&format!("refs --repo={repo} --create=origin:main main"));
        ok(&format!(
            "refs --repo={repo} --collections --create=org.example.M:m main"
        ));
        ok(&format!("static-delta generate --repo={repo} --empty main"));
        ok(&format!("summary --repo={repo} -u"));
        ok(&format!(
            "remote add --repo={repo} --no-gpg-verify origin http://127.0.0.1:1/"
        ));
        ok(&format!(
            "remote add-cookie --repo={repo} origin example.org / name value"
        ));
        let cached = template.dir.path().join("repo/tmp/cache/summaries");
        fs::create_dir_all(&cached).expect("mkdir");
        fs::write(cached.join("origin"), "summary").expect("write");
        template
    }

    /// A copy to be damaged, with the whole one as `{source}` beside it.
    pub(crate) fn copy(&self) -> Copy {
        let dir = oxtree_testkit::temp_dir();
        let cp = Command::new("cp")
            .arg("-a")
            .arg(self.dir.path().join("repo"))
            .arg(dir.path().join("repo"))
            .status();
        assert!(cp.expect("cp").success());
        Copy { dir }
    }

    /// The path of what is in braces.
    pub(crate) fn path(&self, copy: &Copy, what: &str) -> PathBuf {
        let repo = copy.path();
        let Some(what) = what
            .strip_prefix('{')
            .and_then(|what| what.strip_suffix('}'))
        else {
            return repo.join(what);
        };
        let (kind, rev) = what.split_once(' ').unwrap_or((what, "main"));
        let object = |checksum: &str, kind: &str| {
            repo.join(format!(
                "objects/{}/{}.{kind}",
                &checksum[..2],
                &checksum[2..]
            ))
        };
        let column = |path: &str, column: usize| {
            let line = self.run(copy, &format!("ls -d -C {rev} {path}")).stdout();
            line.split_whitespace()
                .nth(column)
                .expect("a column")
                .to_owned()
        };
        match kind {
            "commit" | "commitmeta" => {
                let commit = self.run(copy, &format!("rev-parse {rev}")).stdout();
                object(commit.trim(), kind)
            }
            "dirtree" => object(&column("/sub", 4), "dirtree"),
            "file" => object(&column("/sub/file", 4), "filez"),
            "superblock" => find(&repo.join("deltas"), "superblock"),
            "part" => find(&repo.join("deltas"), "0"),
            "index" => find(&repo.join("delta-indexes"), "index"),
            kind => panic!("{kind}?"),
        }
    }

    /// Runs a command on a copy, unless the command names another repository.
    pub(crate) fn run(&self, copy: &Copy, line: &str) -> Output {
        let at = |name: &str| copy.dir.path().join(name).display().to_string();
        let dest = at("dest");
        if line.contains("{dest}") && !Path::new(&dest).exists() {
            let made = words(&format!("init --mode=archive --repo={dest}"), &[]).output();
            assert_eq!(made.code, Some(0), "{made:?}");
        }
        let source = self.dir.path().join("repo").display().to_string();
        let places = [
            ("{dest}", dest),
            ("{out}", at("out")),
            ("{repo}", at("repo")),
            ("{source}", source),
        ];
        let line = match line.contains("--repo=") {
            true => line.to_owned(),
            false => {
                let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
                let sub = ["static-delta", "remote"].contains(&command);
                match (sub, rest.split_once(' ')) {
                    (true, Some((sub, rest))) => format!("{command} {sub} --repo={{repo}} {rest}"),
                    (true, None) => format!("{command} {rest} --repo={{repo}}"),
                    (false, _) => format!("{command} --repo={{repo}} {rest}"),
                }
            }
        };
        words(&line, &places).output()
    }

    /// Damages a file, and runs its commands. Returns what they do wrong.
    pub(crate) fn check(&self, kept: &Kept, damage: Damage) -> Vec<String> {
        let mut wrong = Vec::new();
        for (line, does) in kept.commands {
            let copy = self.copy();
            damage.apply(&self.path(&copy, kept.path));
            let before = objects(copy.path());
            let output = self.run(&copy, line);
            let said = output.stderr();
            let expected = match does {
                Does::Goes => output.code == Some(0),
                Does::Incomplete(words) | Does::Fails(words) => {
                    output.code == Some(1) && said.contains(words) && said.contains("error: ")
                }
            };
            let mut faults = Vec::new();
            if !expected {
                faults.push(format!("not as expected ({does:?})"));
            }
            if said.contains("panicked") || said.contains("fill whole buffer") {
                faults.push("these are no words for users".to_owned());
            }
            let lost = before
                .iter()
                .filter(|path| !copy.path().join(path).exists());
            if lost.count() > 0 {
                faults.push("objects are gone".to_owned());
            }
            if kept.path != "config" && !line.contains("--delete main") {
                let out = copy.dir.path().join("look").display().to_string();
                let look = self.run(&copy, &format!("checkout -U main {out}"));
                if look.code != Some(0) {
                    faults.push(format!("main is lost: {}", look.stderr()));
                }
            }
            let code = output.code;
            wrong.extend(faults.iter().map(|fault| {
                format!(
                    "{} {damage:?}: {line}: {fault}: {code:?} {} {said}",
                    kept.path,
                    output.stdout()
                )
            }));
        }
        wrong
    }
}

/// A command to be run.
struct Words(Command);

impl Words {
    fn output(mut self) -> Output {
        Output::of(&mut self.0)
    }
}

/// The command of a line; words between single quotes are one.
fn words(line: &str, places: &[(&str, String)]) -> Words {
    let mut line = line.to_owned();
    for (name, place) in places {
        line = line.replace(name, place);
    }
    let mut command = Command::new(OXTREE);
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => command.args(part.split_whitespace()),
            _ => command.arg(part),
        };
    }
    Words(command)
}

/// The file whose name ends so.
fn find(dir: &Path, name: &str) -> PathBuf {
    let mut found = all(dir);
    found.retain(|path| {
        path.file_name()
            .is_some_and(|file| file.to_string_lossy().ends_with(name))
    });
    found.pop().expect("there is one")
}

/// The objects of a repository, sorted.
pub(crate) fn objects(repo: impl AsRef<Path>) -> Vec<PathBuf> {
    let repo = repo.as_ref();
    let mut objects = all(&repo.join("objects"));
    for object in &mut objects {
        *object = object.strip_prefix(repo).expect("below").to_owned();
    }
    objects.sort();
    objects
}

fn all(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("read a folder").flatten() {
        match entry.path().is_dir() {
            true => found.extend(all(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}
