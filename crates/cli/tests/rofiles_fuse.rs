// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rofiles-fuse`: hard-linked files stay as they are, whatever is done in the mount.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use oxtree_testkit::{BinDir, Output, Tool, temp_dir};

const EXE: &str = env!("CARGO_BIN_EXE_oxtree");

/// A checkout by hard links, mounted.
struct Mounted {
    dir: tempfile::TempDir,
}

impl Mounted {
    #[expect(
        clippy::print_stderr,
        reason = "who reads the tests' output has to know"
    )]
    /// [`None`], said aloud, where the kernel has no FUSE.
    fn new(options: &[&str]) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            eprintln!("skipped: this kernel has no /dev/fuse");
            return None;
        }
        let dir = temp_dir();
        let path = |name: &str| dir.path().join(name);
        let tree = path("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("file"), "linked").unwrap();
        fs::write(tree.join("sub/big"), vec![7; 3 << 20]).unwrap();
        symlink("file", tree.join("link")).unwrap();
        xattr(&["-n", "user.mark", "-v", "here"], &tree.join("file")).expect_ok();
        let repo = Tool::ostree().repo(path("repo")).init("bare");
        repo.commit("main", &tree, &[]);
        repo.checkout("main", path("lower"), &["-H"]);
        fs::create_dir(path("mnt")).unwrap();
        let names = BinDir::linked(EXE, &["rofiles-fuse"]);
        let mounted = Self { dir };
        let mut command = Command::new(names.path().join("rofiles-fuse"));
        command.args(options);
        command.args([mounted.lower(""), mounted.path("")]);
        Output::of(&mut command).expect_ok();
        Some(mounted)
    }

    /// As the mount shows it.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("mnt").join(name)
    }

    /// Where it is.
    fn lower(&self, name: &str) -> PathBuf {
        self.dir.path().join("lower").join(name)
    }

    /// The repository has not changed.
    fn check_repo(&self) {
        Tool::ostree().repo(self.dir.path().join("repo")).fsck();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Output::of(Command::new("umount").arg(self.path(""))).expect_ok();
    }
}

fn xattr(args: &[&str], path: &Path) -> Output {
    Output::of(Command::new("setfattr").args(args).arg(path))
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    fs::write(path, content)
}

#[test]
fn linked_files_are_read_only() {
    let Some(mounted) = Mounted::new(&[]) else {
        return;
    };
    let file = mounted.path("file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "linked");
    assert_eq!(fs::read(mounted.path("sub/big")).unwrap(), vec![7; 3 << 20]);
    let refused = |done: io::Result<()>| {
        assert_eq!(done.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    };
    for path in [&file, &mounted.path("link")] {
        refused(write(path, "other"));
        refused(OpenOptions::new().append(true).open(path).map(drop));
        refused(fs::set_permissions(path, Permissions::from_mode(0o600)));
        refused(chown(path, Some(1), Some(1)));
        let said = xattr(&["-n", "user.mark", "-v", "there"], path).expect_failure();
        assert!(said.stderr().contains("Read-only file system"), "{said:?}");
    }
    refused(std::os::unix::fs::lchown(
        mounted.path("link"),
        Some(1),
        Some(1),
    ));
    xattr(&["-x", "user.mark"], &file).expect_failure();
    assert_eq!(fs::read_to_string(&file).unwrap(), "linked");
    mounted.check_repo();
    // It is only a name that goes.
    fs::rename(&file, mounted.path("renamed")).unwrap();
    assert_eq!(
        fs::read_to_string(mounted.lower("renamed")).unwrap(),
        "linked"
    );
    fs::remove_file(mounted.path("renamed")).unwrap();
    assert!(!mounted.lower("renamed").exists());
    mounted.check_repo();
}

#[test]
fn new_files_are_as_anywhere() {
    let Some(mounted) = Mounted::new(&["-o", "noatime,nodev"]) else {
        return;
    };
    let new = mounted.path("sub/new");
    write(&new, "one").unwrap();
    OpenOptions::new()
        .append(true)
        .open(&new)
        .unwrap()
        .write_all(b" two")
        .unwrap();
    assert_eq!(
        fs::read_to_string(mounted.lower("sub/new")).unwrap(),
        "one two"
    );
    fs::set_permissions(&new, Permissions::from_mode(0o4711)).unwrap();
    chown(&new, Some(12), Some(34)).unwrap();
    xattr(&["-n", "user.new", "-v", "yes"], &new).expect_ok();
    File::options()
        .write(true)
        .open(&new)
        .unwrap()
        .set_len(3)
        .unwrap();
    let stat = fs::metadata(mounted.lower("sub/new")).unwrap();
    assert_eq!((stat.uid(), stat.gid(), stat.len()), (12, 34, 3));

    // A file that has lost its name can still be used.
    let mut open = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&new)
        .unwrap();
    fs::remove_file(&new).unwrap();
    open.seek(SeekFrom::End(0)).unwrap();
    open.write_all(b"!").unwrap();
    open.set_permissions(Permissions::from_mode(0o600)).unwrap();
    assert_eq!(open.metadata().unwrap().len(), 4);
    open.seek(SeekFrom::Start(0)).unwrap();
    let mut content = String::new();
    open.read_to_string(&mut content).unwrap();
    assert_eq!(content, "one!");

    fs::create_dir(mounted.path("dir")).unwrap();
    for number in 0..500 {
        write(&mounted.path(&format!("dir/{number}")), "x").unwrap();
    }
    assert_eq!(fs::read_dir(mounted.path("dir")).unwrap().count(), 500);
    fs::rename(mounted.path("dir"), mounted.path("moved")).unwrap();
    assert_eq!(fs::read_to_string(mounted.path("moved/499")).unwrap(), "x");
    fs::remove_dir_all(mounted.path("moved")).unwrap();
    let fifo = CString::new(mounted.path("fifo").to_str().unwrap()).unwrap();
    Output::of(Command::new("mkfifo").arg(fifo.to_str().unwrap())).expect_ok();
    assert!(!mounted.lower("fifo").metadata().unwrap().is_file());
    Output::of(Command::new("flock").arg(mounted.path("lock")).arg("true")).expect_ok();
    mounted.check_repo();
}

#[test]
fn copies_are_made_if_wanted() {
    let Some(mounted) = Mounted::new(&["--copyup"]) else {
        return;
    };
    let inode = |name: &str| fs::symlink_metadata(mounted.lower(name)).unwrap().ino();
    let before = inode("file");
    let link = inode("link");
    let reader = File::open(mounted.path("file")).unwrap();
    write(&mounted.path("link"), "written").unwrap();
    assert_ne!(inode("file"), before);
    assert_eq!(inode("link"), link);
    assert_eq!(
        fs::read_to_string(mounted.lower("file")).unwrap(),
        "written"
    );
    // Who had it open still has the old one.
    assert_eq!(reader.metadata().unwrap().len(), 7);
    let said = Output::of(
        Command::new("getfattr")
            .args(["-n", "user.mark", "--only-values"])
            .arg(mounted.path("file")),
    );
    assert_eq!(said.expect_ok().stdout(), "here");

    // Written to in the middle, all that is around it is there.
    let big = OpenOptions::new()
        .write(true)
        .custom_flags(rustix::fs::OFlags::SYNC.bits().cast_signed())
        .open(mounted.path("sub/big"))
        .unwrap();
    big.write_all_at(b"middle", 1 << 20).unwrap();
    drop(big);
    let mut expected = vec![7; 3 << 20];
    expected[1 << 20..][..6].copy_from_slice(b"middle");
    assert!(fs::read(mounted.lower("sub/big")).unwrap() == expected);

    std::os::unix::fs::lchown(mounted.path("link"), Some(1), Some(1)).unwrap();
    assert_ne!(inode("link"), link);
    assert_eq!(
        fs::read_link(mounted.lower("link")).unwrap(),
        Path::new("file")
    );
    let left = fs::read_dir(mounted.lower("")).unwrap();
    let names = left.map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 3, "nothing is left over");
    mounted.check_repo();
}

#[test]
fn what_cannot_be_mounted() {
    let dir = temp_dir();
    let names = BinDir::linked(EXE, &["rofiles-fuse"]);
    let run = |args: &[&str]| {
        let mut command = Command::new(names.path().join("rofiles-fuse"));
        Output::of(command.args(args).current_dir(dir.path())).expect_failure()
    };
    fs::create_dir(dir.path().join("a")).unwrap();
    assert!(run(&["missing", "a"]).stderr().contains("mounting missing"));
    assert!(run(&["a", "missing"]).stderr().contains("missing"));
    let said = run(&["-o", "nonsense", "a", "a"]).stderr();
    assert!(said.contains("unknown mount option \"nonsense\""), "{said}");
}
