// SPDX-License-Identifier: MIT OR Apache-2.0
//! Input trees: small ones, odd ones, and one with every kind of thing that OSTree can store.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};

/// Entries in the wide directory of [`everything`].
pub const WIDTH: usize = 10_000;
/// Nested directories in the deep one of [`everything`].
pub const DEPTH: usize = 200;

const MIB: u64 = 1 << 20;

/// A repeatable source of incompressible bytes (xorshift64*).
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// A source that gives the same bytes for the same `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Fills the existing directory `dir` with a handful of files, a directory and a link, which
/// differ with `seed`; one of the files is the same for each seed.
///
/// # Panics
/// When something cannot be written.
pub fn small(dir: &Path, seed: u64) {
    let mut noise = Noise::new(seed);
    file(&dir.join("seed"), format!("{seed}\n").as_bytes(), 0o644);
    file(&dir.join("same"), b"the same in every small tree\n", 0o644);
    file(&dir.join("program"), b"#!/bin/sh\nexit 0\n", 0o755);
    directory(&dir.join("sub"), 0o755);
    file(&dir.join("sub/noise"), &noise.bytes(20_000), 0o600);
    file(&dir.join("sub/empty"), b"", 0o644);
    link(b"../seed", &dir.join("sub/link"));
}

/// Fills the existing directory `dir` with `count` small files in directories of 100, all with
/// different content that depends on `seed`.
///
/// # Panics
/// When something cannot be written.
pub fn many(dir: &Path, count: usize, seed: u64) {
    let mut noise = Noise::new(seed);
    for n in 0..count {
        let parent = dir.join(format!("{:03}", n / 100));
        if n % 100 == 0 {
            directory(&parent, 0o755);
        }
        let text = format!("file {n} of seed {seed}: {:016x}\n", noise.number());
        file(
            &parent.join(format!("{:02}", n % 100)),
            text.as_bytes(),
            0o644,
        );
    }
}

/// Writes `len` incompressible bytes to `path`; the same for the same `seed`.
///
/// # Panics
/// When it cannot be written.
pub fn incompressible(path: &Path, len: u64, seed: u64) {
    let mut noise = Noise::new(seed);
    let mut out = BufWriter::with_capacity(1 << 18, File::create(path).expect("create a file"));
    let mut left = len;
    while left > 0 {
        let step = left.min(1 << 16);
        out.write_all(&noise.bytes(usize::try_from(step).expect("a small step")))
            .expect("write noise");
        left -= step;
    }
    out.flush().expect("write noise");
}

/// Writes a file of `len` bytes to `path` that is a hole but for a few bytes at both ends and in
/// the middle.
///
/// # Panics
/// When it cannot be written.
pub fn sparse(path: &Path, len: u64) {
    let mut out = File::create(path).expect("create a file");
    for (at, mark) in [
        (0, b"head"),
        (len / 2, b"half"),
        (len.saturating_sub(4), b"tail"),
    ] {
        out.seek(SeekFrom::Start(at)).expect("seek");
        out.write_all(mark).expect("write a mark");
    }
}

/// Fills the existing directory `dir` with every kind of thing that a commit may hold: empty,
/// tiny, sparse and incompressible files (the last two of `big` bytes each), odd modes and names,
/// dangling, absolute and longest symlinks, xattrs, hardlinks, a directory of [`WIDTH`] entries
/// and one of depth [`DEPTH`]; and, when root makes it, several owners, a file capability and files
/// that only root can read.
///
/// # Panics
/// When something cannot be written.
pub fn everything(dir: &Path, big: u64) {
    every_kind(dir, big);
    wide(&dir.join("wide"));
}

/// [`everything`] without the wide directory, for tests that need many such trees.
///
/// # Panics
/// When something cannot be written.
pub fn every_kind(dir: &Path, big: u64) {
    regular_files(&dir.join("files"), big);
    symlinks(&dir.join("links"));
    xattrs(&dir.join("xattrs"));
    odd_names(&dir.join("names"));
    deep(&dir.join("deep"));
    modes(&dir.join("modes"));
    if crate::is_root() {
        owners(&dir.join("owners"));
    }
}

fn regular_files(dir: &Path, big: u64) {
    directory(dir, 0o755);
    file(&dir.join("0"), b"", 0o644);
    file(&dir.join("1"), b"x", 0o644);
    file(&dir.join("4096"), &Noise::new(1).bytes(4096), 0o644);
    file(
        &dir.join("text"),
        "compressible text, line by line\n".repeat(5000).as_bytes(),
        0o644,
    );
    sparse(&dir.join("sparse"), big);
    incompressible(&dir.join("noise"), big, 2);
    // One content under several names, by hardlink and by copy.
    file(&dir.join("first"), b"linked\n", 0o640);
    fs::hard_link(dir.join("first"), dir.join("second")).expect("hardlink");
    fs::hard_link(dir.join("first"), dir.join("third")).expect("hardlink");
    file(&dir.join("copy"), b"linked\n", 0o640);
}

fn symlinks(dir: &Path) {
    directory(dir, 0o755);
    link(b"nowhere", &dir.join("dangling"));
    link(b"/usr/bin/env", &dir.join("absolute"));
    link(b"../files/1", &dir.join("relative"));
    link(b"..", &dir.join("parent"));
    link(b"itself", &dir.join("itself"));
    link("näme with späces".as_bytes(), &dir.join("utf-8"));
    // The longest that Linux allows: PATH_MAX less the final NUL.
    link(
        &"long/".repeat(819).into_bytes()[..4095],
        &dir.join("longest"),
    );
}

fn xattrs(dir: &Path) {
    directory(dir, 0o755);
    let plain = dir.join("several");
    file(&plain, b"several attributes\n", 0o644);
    // Set in an order that is not the sorted one.
    for (name, value) in [
        ("user.zebra", &b"z"[..]),
        ("user.empty", b""),
        ("user.mid", b"m"),
        ("user.a", b"a"),
    ] {
        xattr(&plain, name, value);
    }
    file(&dir.join("binary"), b"", 0o644);
    xattr(
        &dir.join("binary"),
        "user.binary",
        &[0, 1, 2, 0xff, 0, b'\n'],
    );
    file(&dir.join("large"), b"a large attribute\n", 0o644);
    xattr(&dir.join("large"), "user.large", &Noise::new(3).bytes(1500));
    directory(&dir.join("directory"), 0o755);
    xattr(&dir.join("directory"), "user.on-a-directory", b"yes");
    if crate::is_root() {
        file(&dir.join("capability"), b"#!/bin/sh\n", 0o755);
        // VFS_CAP_REVISION_2 with the effective bit, permitted: CAP_NET_RAW (bit 13).
        let mut value = 0x0200_0001_u32.to_le_bytes().to_vec();
        value.extend((1_u32 << 13).to_le_bytes());
        value.extend([0; 12]);
        xattr(&dir.join("capability"), "security.capability", &value);
        link(b"capability", &dir.join("trusted-link"));
        xattr(&dir.join("trusted-link"), "trusted.on-a-link", b"yes");
    }
}

fn odd_names(dir: &Path) {
    directory(dir, 0o755);
    let longest = "x".repeat(255);
    let names = [
        "with space",
        " leading",
        "trailing ",
        "new\nline",
        "tab\tbed",
        "back\\slash",
        "quote\"d",
        "it's",
        "-dash",
        "--repo=x",
        ".hidden",
        "..dots",
        "...",
        "*",
        "$(id)",
        "smörgås",
        "日本語",
        "e\u{301}",
        "\u{e9}",
        "🦀",
        "\u{7f}",
        "\u{1}",
        "A",
        "a",
        "B",
        "%41",
        "file.filez",
        ".wh",
        &longest,
    ];
    for name in names {
        file(&dir.join(name), name.as_bytes(), 0o644);
    }
    directory(&dir.join("dir with\nnewline"), 0o755);
    // Sorted byte by byte, "sub" comes before "sub-" and "sub.", but "sub/x" after both.
    for name in ["sub-", "sub.", "sub0"] {
        file(&dir.join(name), b"", 0o644);
    }
    directory(&dir.join("sub"), 0o755);
    file(&dir.join("sub/x"), b"", 0o644);
}

fn wide(dir: &Path) {
    directory(dir, 0o755);
    for n in 0..WIDTH {
        let path = dir.join(format!("entry-{n:05}"));
        match n % 100 {
            0 => directory(&path, 0o755),
            1 => link(b"entry-00002", &path),
            // Content that recurs, so that the directory is wide without many objects.
            rest => file(&path, format!("{rest}\n").as_bytes(), 0o644),
        }
    }
}

fn deep(dir: &Path) {
    let mut path = dir.to_owned();
    directory(&path, 0o755);
    for _ in 0..DEPTH {
        path.push("d");
        directory(&path, 0o755);
    }
    file(&path.join("bottom"), b"the bottom\n", 0o644);
}

fn modes(dir: &Path) {
    directory(dir, 0o755);
    let files = [
        0o400, 0o444, 0o600, 0o640, 0o664, 0o666, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1644,
    ];
    // Only root can read, and so commit, what nobody may read.
    let unreadable = [0o000, 0o200].into_iter().filter(|_| crate::is_root());
    for mode in files.into_iter().chain(unreadable) {
        file(&dir.join(format!("file-{mode:04o}")), b"mode\n", mode);
    }
    for mode in [0o700, 0o711, 0o755, 0o1777, 0o2775, 0o2750] {
        directory(&dir.join(format!("dir-{mode:04o}")), mode);
    }
}

fn owners(dir: &Path) {
    directory(dir, 0o755);
    for (uid, gid) in [
        (0, 42),
        (33, 33),
        (1000, 1000),
        (65534, 65534),
        (4_000_000_000, 4_000_000_001),
    ] {
        let path = dir.join(format!("{uid}-{gid}"));
        directory(&path, 0o755);
        file(&path.join("file"), b"owned\n", 0o644);
        link(b"file", &path.join("link"));
        for owned in [path.join("file"), path.join("link"), path] {
            lchown(&owned, Some(uid), Some(gid)).expect("chown");
        }
    }
    // Changing the owner clears these bits, so the mode comes last.
    let setuid = dir.join("setuid");
    file(&setuid, b"setuid\n", 0o755);
    lchown(&setuid, Some(33), Some(33)).expect("chown");
    fs::set_permissions(&setuid, Permissions::from_mode(0o6755)).expect("chmod");
}

/// Fills the existing directory `dir` with a file whose name is not UTF-8, which OSTree refuses.
///
/// # Panics
/// When it cannot be written.
pub fn with_non_utf8_name(dir: &Path) {
    file(&dir.join("good"), b"good\n", 0o644);
    file(
        &dir.join(OsStr::from_bytes(b"bad-\xff-name")),
        b"bad\n",
        0o644,
    );
}

/// Fills the existing directory `dir` with a named pipe, which OSTree refuses.
///
/// # Panics
/// When it cannot be made.
pub fn with_fifo(dir: &Path) {
    file(&dir.join("good"), b"good\n", 0o644);
    mknodat(
        CWD,
        dir.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .expect("make a fifo");
}

/// The size of the big files in [`everything`] for a quick test: larger than any buffer.
pub const QUICK: u64 = 3 * MIB + 17;
/// The size of the big files in [`everything`] for the full test.
pub const FULL: u64 = 300 * MIB;

/// Writes a file and gives it `mode`, whatever the umask.
///
/// # Panics
/// When it cannot be written.
pub fn file(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    fs::set_permissions(path, Permissions::from_mode(mode))
        .unwrap_or_else(|e| panic!("chmod {}: {e}", path.display()));
}

/// Makes a directory and gives it `mode`, whatever the umask.
///
/// # Panics
/// When it cannot be made.
pub fn directory(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap_or_else(|e| panic!("mkdir {}: {e}", path.display()));
    fs::set_permissions(path, Permissions::from_mode(mode))
        .unwrap_or_else(|e| panic!("chmod {}: {e}", path.display()));
}

fn link(target: &[u8], path: &Path) {
    symlink(OsStr::from_bytes(target), path)
        .unwrap_or_else(|e| panic!("symlink {}: {e}", path.display()));
}

/// Sets an extended attribute, on the link itself if `path` is one.
///
/// # Panics
/// When the file system refuses it.
pub fn xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|e| panic!("set {name} on {}: {e}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tool, compare_trees};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn everything_is_there_and_repeatable() {
        let (a, b) = (crate::temp_dir(), crate::temp_dir());
        everything(a.path(), QUICK);
        everything(b.path(), QUICK);
        assert_eq!(compare_trees(a.path(), b.path()), Vec::<String>::new());
        let at = |name: &str| a.path().join(name);
        let meta = |name: &str| fs::symlink_metadata(at(name)).expect(name);
        assert_eq!(
            fs::read_link(at("links/longest"))
                .expect("a link")
                .as_os_str()
                .len(),
            4095
        );
        assert_eq!(fs::read_dir(at("wide")).expect("wide").count(), WIDTH);
        assert!(at(&format!("deep{}/bottom", "/d".repeat(DEPTH))).is_file());
        assert_eq!(meta("files/first").nlink(), 3);
        assert_eq!(
            (meta("files/noise").len(), meta("files/sparse").len()),
            (QUICK, QUICK)
        );
        assert!(meta("files/sparse").blocks() * 512 < 100_000);
        assert_eq!(meta("modes/file-4755").mode() & 0o7777, 0o4755);
        assert_eq!(meta("modes/dir-1777").mode() & 0o7777, 0o1777);
        if crate::is_root() {
            assert_eq!(meta("owners/setuid").mode() & 0o7777, 0o6755);
            let caps = Tool::new("/sbin/getcap").run([at("xattrs/capability")]);
            if caps.code == Some(0) {
                assert!(caps.stdout().contains("cap_net_raw=ep"), "{caps:?}");
            }
        }
    }

    #[test]
    fn the_real_ostree_commits_everything_and_refuses_the_rest() {
        let dir = crate::temp_dir();
        let repo = Tool::ostree()
            .repo(dir.path().join("repo"))
            .init("bare-user")
            .without_fsync();
        let make = |name: &str, fill: &dyn Fn(&Path)| {
            let path = dir.path().join(name);
            directory(&path, 0o755);
            fill(&path);
            path
        };
        repo.commit("all", make("all", &|d| everything(d, QUICK)), &[]);
        repo.fsck();
        repo.commit("small", make("small", &|d| small(d, 5)), &[]);
        repo.commit("many", make("many", &|d| many(d, 250, 5)), &[]);
        for (name, fill) in [
            ("name", with_non_utf8_name as fn(&Path)),
            ("fifo", with_fifo),
        ] {
            let tree = make(name, &fill);
            repo.run("commit", [OsStr::new("--branch=x"), tree.as_os_str()])
                .expect_failure();
        }
        assert_eq!(repo.refs(), ["all", "many", "small"]);
    }

    #[test]
    fn noise_does_not_compress_and_repeats() {
        let dir = crate::temp_dir();
        let path = dir.path().join("noise");
        incompressible(&path, 300_001, 9);
        let first = fs::read(&path).expect("read");
        assert_eq!(first.len(), 300_001);
        incompressible(&path, 300_001, 9);
        assert_eq!(fs::read(&path).expect("read"), first);
        let packed = Tool::new("gzip")
            .run([OsStr::new("-c"), path.as_os_str()])
            .expect_ok();
        assert!(packed.stdout_bytes.len() > 300_000);
    }
}
