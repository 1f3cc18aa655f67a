// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparing two directory trees, down to owners and extended attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr};

/// Which properties count as a difference. Content, types, modes and symlink targets always do.
#[derive(Clone, Copy, Debug)]
pub struct Compare {
    owners: bool,
    xattrs: bool,
    mtimes: bool,
    modes: bool,
}

impl Default for Compare {
    /// Everything but modification times.
    fn default() -> Compare {
        Compare {
            owners: true,
            xattrs: true,
            mtimes: false,
            modes: true,
        }
    }
}

impl Compare {
    /// Whether owner and group count.
    #[must_use]
    pub fn owners(mut self, yes: bool) -> Compare {
        self.owners = yes;
        self
    }

    /// Whether extended attributes count.
    #[must_use]
    pub fn xattrs(mut self, yes: bool) -> Compare {
        self.xattrs = yes;
        self
    }

    /// Whether modification times count, for files and links (never for directories, whose time
    /// says when the copy was made).
    #[must_use]
    pub fn mtimes(mut self, yes: bool) -> Compare {
        self.mtimes = yes;
        self
    }

    /// Whether permission bits count.
    #[must_use]
    pub fn modes(mut self, yes: bool) -> Compare {
        self.modes = yes;
        self
    }

    /// Lists how tree `b` differs from tree `a`, one line a difference; empty when it does not.
    ///
    /// # Panics
    /// When something cannot be read.
    #[must_use]
    pub fn run(&self, a: &Path, b: &Path) -> Vec<String> {
        let mut differences = Vec::new();
        let mut pending = vec![OsString::from(".")];
        while let Some(inside) = pending.pop() {
            let (a, b) = (a.join(&inside), b.join(&inside));
            let name = Path::new(&inside).display().to_string();
            let (meta_a, meta_b) = (metadata(&a), metadata(&b));
            let mut say = |what: String| differences.push(format!("{name}: {what}"));
            self.metadata(&meta_a, &meta_b, &mut say);
            if self.xattrs {
                xattr_differences(&a, &b, &mut say);
            }
            if meta_a.file_type() != meta_b.file_type() {
                continue;
            }
            if meta_a.is_symlink() {
                let (to_a, to_b) = (target(&a), target(&b));
                if to_a != to_b {
                    say(format!("link to {} and {}", to_a.display(), to_b.display()));
                }
            } else if meta_a.is_dir() {
                entry_differences(&a, &b, &mut say, |entry| {
                    let mut path = inside.clone();
                    path.push("/");
                    path.push(entry);
                    pending.push(path);
                });
            } else if meta_a.is_file() && (meta_a.len() != meta_b.len() || !same_content(&a, &b)) {
                say(format!(
                    "different content, {} and {} bytes",
                    meta_a.len(),
                    meta_b.len()
                ));
            }
        }
        differences.sort();
        differences
    }

    fn metadata(&self, a: &Metadata, b: &Metadata, say: &mut impl FnMut(String)) {
        if a.file_type() != b.file_type() {
            say(format!("type {:?} and {:?}", a.file_type(), b.file_type()));
            return;
        }
        if self.modes && a.mode() != b.mode() {
            say(format!(
                "mode {:o} and {:o}",
                a.mode() & 0o7777,
                b.mode() & 0o7777
            ));
        }
        if self.owners && (a.uid(), a.gid()) != (b.uid(), b.gid()) {
            say(format!(
                "owner {}:{} and {}:{}",
                a.uid(),
                a.gid(),
                b.uid(),
                b.gid()
            ));
        }
        if self.mtimes && !a.is_dir() && (a.mtime(), a.mtime_nsec()) != (b.mtime(), b.mtime_nsec())
        {
            say(format!(
                "mtime {}.{:09} and {}.{:09}",
                a.mtime(),
                a.mtime_nsec(),
                b.mtime(),
                b.mtime_nsec()
            ));
        }
    }
}

/// Lists how tree `b` differs from tree `a` in anything but modification times.
///
/// # Panics
/// When something cannot be read.
#[must_use]
pub fn compare_trees(a: impl AsRef<Path>, b: impl AsRef<Path>) -> Vec<String> {
    Compare::default().run(a.as_ref(), b.as_ref())
}

fn metadata(path: &Path) -> Metadata {
    fs::symlink_metadata(path).unwrap_or_else(|e| panic!("stat {}: {e}", path.display()))
}

fn target(path: &Path) -> std::path::PathBuf {
    fs::read_link(path).unwrap_or_else(|e| panic!("read link {}: {e}", path.display()))
}

/// Reports names that only one side has; calls `both` with those that both have.
fn entry_differences(
    a: &Path,
    b: &Path,
    say: &mut impl FnMut(String),
    mut both: impl FnMut(&OsStr),
) {
    let (in_a, in_b) = (entries(a), entries(b));
    for name in in_a.union(&in_b) {
        match (in_a.contains(name), in_b.contains(name)) {
            (true, true) => both(name),
            (true, false) => say(format!("{name:?} is missing")),
            _ => say(format!("{name:?} is extra")),
        }
    }
}

fn entries(dir: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("list {}: {e}", dir.display()));
    entries
        .map(|e| {
            e.unwrap_or_else(|e| panic!("list {}: {e}", dir.display()))
                .file_name()
        })
        .collect()
}

fn same_content(a: &Path, b: &Path) -> bool {
    let open =
        |path: &Path| File::open(path).unwrap_or_else(|e| panic!("open {}: {e}", path.display()));
    let (mut a, mut b) = (open(a), open(b));
    let (mut chunk_a, mut chunk_b) = (vec![0; 1 << 17], vec![0; 1 << 17]);
    loop {
        let got = a.read(&mut chunk_a).expect("read a file");
        if got == 0 {
            return b.read(&mut chunk_b).expect("read a file") == 0;
        }
        if b.read_exact(&mut chunk_b[..got]).is_err() || chunk_a[..got] != chunk_b[..got] {
            return false;
        }
    }
}

fn xattr_differences(a: &Path, b: &Path, say: &mut impl FnMut(String)) {
    let (in_a, in_b) = (xattrs(a), xattrs(b));
    let names: BTreeSet<_> = in_a.keys().chain(in_b.keys()).collect();
    for name in names {
        let (value_a, value_b) = (in_a.get(name), in_b.get(name));
        if value_a != value_b {
            let show = |value: Option<&Vec<u8>>| {
                value.map_or("none".into(), |v| format!("\"{}\"", v.escape_ascii()))
            };
            say(format!(
                "xattr {} = {} and {}",
                name.display(),
                show(value_a),
                show(value_b)
            ));
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let fail = |e| panic!("read the xattrs of {}: {e}", path.display());
    // Linux allows 64 KiB for the list and for each value.
    let mut list = vec![0; 1 << 16];
    let len = llistxattr(path, &mut list[..]).unwrap_or_else(fail);
    let names = list[..len]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty());
    let mut found = BTreeMap::new();
    let mut value = vec![0; 1 << 16];
    for name in names {
        let len = lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap_or_else(fail);
        found.insert(OsString::from_vec(name.to_vec()), value[..len].to_vec());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    /// Two equal trees, the second changed by `change`; the differences found.
    fn differences(compare: Compare, change: impl Fn(&Path)) -> Vec<String> {
        let (a, b) = (crate::temp_dir(), crate::temp_dir());
        trees::small(a.path(), 1);
        trees::small(b.path(), 1);
        change(b.path());
        compare.run(a.path(), b.path())
    }

    #[test]
    fn each_kind_of_difference_is_seen() {
        type Change = fn(&Path);
        let cases: [(&str, Change); 8] = [
            ("./seed: different content", |d| {
                fs::write(d.join("seed"), "x\n").expect("write");
            }),
            ("./sub/empty: different content", |d| {
                fs::write(d.join("sub/empty"), "x").expect("write");
            }),
            ("./program: mode 755 and 700", |d| {
                fs::set_permissions(d.join("program"), PermissionsExt::from_mode(0o700))
                    .expect("chmod");
            }),
            ("./sub: \"extra\" is extra", |d| {
                fs::write(d.join("sub/extra"), "").expect("write");
            }),
            (".: \"seed\" is missing", |d| {
                fs::remove_file(d.join("seed")).expect("rm");
            }),
            ("./sub/link: link to ../seed and ../same", |d| {
                fs::remove_file(d.join("sub/link")).expect("rm");
                symlink("../same", d.join("sub/link")).expect("symlink");
            }),
            ("./seed: type ", |d| {
                fs::remove_file(d.join("seed")).expect("rm");
                fs::create_dir(d.join("seed")).expect("mkdir");
            }),
            ("./sub/empty: xattr user.x = none and \"\\x00y\"", |d| {
                trees::xattr(&d.join("sub/empty"), "user.x", b"\0y");
            }),
        ];
        for (expected, change) in cases {
            let found = differences(Compare::default(), change);
            assert!(
                found.len() == 1 && found[0].starts_with(expected),
                "{expected}: {found:?}"
            );
        }
    }

    #[test]
    fn what_does_not_count_is_not_reported() {
        let change = |d: &Path| {
            trees::xattr(&d.join("seed"), "user.x", b"y");
            fs::set_permissions(d.join("seed"), PermissionsExt::from_mode(0o600)).expect("chmod");
            if crate::is_root() {
                lchown(d.join("sub/link"), Some(1), Some(2)).expect("chown");
            }
        };
        let lax = Compare::default().owners(false).xattrs(false).modes(false);
        assert_eq!(differences(lax, change), Vec::<String>::new());
        let strict = differences(Compare::default(), change);
        assert_eq!(
            strict.len(),
            if crate::is_root() { 3 } else { 2 },
            "{strict:?}"
        );
    }

    #[test]
    fn times_count_when_asked() {
        let change = |d: &Path| {
            let file = File::open(d.join("seed")).expect("open");
            file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                .expect("set the time");
        };
        assert_eq!(
            differences(Compare::default(), change),
            Vec::<String>::new()
        );
        let found = differences(Compare::default().mtimes(true), change);
        assert!(
            found.iter().any(|d| d.starts_with("./seed: mtime ")),
            "{found:?}"
        );
    }

    #[test]
    fn content_is_compared_past_the_first_chunk() {
        let dir = crate::temp_dir();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        trees::incompressible(&a, 500_000, 1);
        let mut bytes = fs::read(&a).expect("read");
        fs::write(&b, &bytes).expect("write");
        assert!(same_content(&a, &b));
        bytes[499_999] ^= 1;
        fs::write(&b, &bytes).expect("write");
        assert!(!same_content(&a, &b));
    }
}
