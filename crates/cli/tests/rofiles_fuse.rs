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
    assert!(said.contains("supported are allow_other"), "{said}");
    let said = run(&["-o", "entry_timeout=soon", "a", "a"]).stderr();
    assert!(
        said.contains("entry_timeout needs a number of seconds, not \"soon\""),
        "{said}"
    );
}

#[test]
fn options_of_libfuse() {
    // As flatpak-builder calls it, and with most others in all the ways to write them.
    let options = [
        "-okernel_cache,entry_timeout=60,attr_timeout=60",
        "-o",
        "negative_timeout=60,auto_cache,ac_attr_timeout=60,noforget,remember=9,clone_fd",
        "-o",
        "fsname=a name,subtype=rofiles,max_read=65536,default_permissions,nosuid,nodev,noatime,rw",
        "-s",
        "-o",
        "allow_other,umask=022,uid=12,gid=34",
    ];
    let Some(mounted) = Mounted::new(&options) else {
        return;
    };
    assert_eq!(fs::read_to_string(mounted.path("file")).unwrap(), "linked");
    let refused = write(&mounted.path("file"), "other").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    write(&mounted.path("new"), "new").unwrap();
    let shown = fs::metadata(mounted.path("new")).unwrap();
    assert_eq!((shown.uid(), shown.gid()), (12, 34));
    assert_eq!(shown.mode() & 0o7777, 0o755);
    // Names are believed for a minute, those that are there and those that are not.
    assert!(!mounted.path("later").exists());
    write(&mounted.lower("later"), "x").unwrap();
    assert!(!mounted.path("later").exists());
    assert!(mounted.path("link").symlink_metadata().is_ok());
    fs::rename(mounted.lower("link"), mounted.lower("moved")).unwrap();
    assert!(mounted.path("link").symlink_metadata().is_ok());
    fs::rename(mounted.lower("moved"), mounted.lower("link")).unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let name = mounts.lines().find(|line| line.starts_with("a\\040name "));
    assert!(
        name.is_some_and(|line| line.contains("max_read=65536")),
        "{mounts}"
    );
    mounted.check_repo();
}

/// By default, names and contents are asked for again.
#[test]
fn nothing_is_believed_for_long() {
    let Some(mounted) = Mounted::new(&["-o", "entry_timeout=0,attr_timeout=0"]) else {
        return;
    };
    assert!(!mounted.path("later").exists());
    write(&mounted.lower("later"), "x").unwrap();
    assert_eq!(fs::read_to_string(mounted.path("later")).unwrap(), "x");
    write(&mounted.lower("later"), "longer").unwrap();
    assert_eq!(fs::read_to_string(mounted.path("later")).unwrap(), "longer");
}

#[test]
fn a_killed_one_is_unmounted() {
    if !Path::new("/dev/fuse").exists() {
        return;
    }
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("lower")).unwrap();
    fs::create_dir(path("mnt")).unwrap();
    fs::write(path("lower/file"), "x").unwrap();
    let names = BinDir::linked(EXE, &["rofiles-fuse"]);
    let until = |done: &dyn Fn() -> bool| {
        while !done() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    for (options, signal) in [
        (&["-f", "-o", "auto_unmount"][..], "-KILL"),
        (&["-f"], "-TERM"),
        (&["-d"], "-INT"),
    ] {
        // As libfuse does, it leaves signals ignored that its caller ignores, as a shell does for
        // programs in the background.
        let mut command = Command::new("env");
        command.args([
            "--default-signal=INT,TERM".into(),
            names.path().join("rofiles-fuse"),
        ]);
        command.args(options).args([path("lower"), path("mnt")]);
        let mut child = command.spawn().unwrap();
        until(&|| path("mnt/file").exists());
        Output::of(Command::new("kill").args([signal, &child.id().to_string()])).expect_ok();
        child.wait().unwrap();
        // The entries of a mount that nobody serves would be an error.
        until(&|| fs::read_dir(path("mnt")).is_ok_and(|mut entries| entries.next().is_none()));
    }
}

#[test]
fn help_and_version() {
    let names = BinDir::linked(EXE, &["rofiles-fuse"]);
    let program = names.path().join("rofiles-fuse");
    for (flag, word) in [
        ("-h", "BASEPATH"),
        ("--help", "kernel_cache"),
        ("-V", "oxtree "),
        ("--version", "oxtree "),
    ] {
        let said = Output::of(Command::new(&program).arg(flag)).expect_ok();
        assert!(said.stdout().contains(word), "{flag}: {said:?}");
    }
}

/// One that ends late unmounts nothing but its own: another may be at that place by then.
#[test]
fn the_next_one_stays() {
    if !Path::new("/dev/fuse").exists() {
        return;
    }
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("lower")).unwrap();
    fs::create_dir(path("mnt")).unwrap();
    fs::write(path("lower/file"), "x").unwrap();
    let names = BinDir::linked(EXE, &["rofiles-fuse"]);
    let start = || {
        let mut command = Command::new(names.path().join("rofiles-fuse"));
        command.arg("-f").args([path("lower"), path("mnt")]);
        let child = command.spawn().unwrap();
        while !path("mnt/file").exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        child
    };
    let signal = |child: &std::process::Child, name: &str| {
        let pid = child.id().to_string();
        Output::of(Command::new("kill").args([name, &pid])).expect_ok();
    };
    // The program umount would wait for the one that has stopped.
    let umount = || {
        let call =
            "import ctypes, sys; sys.exit(ctypes.CDLL(None).umount2(sys.argv[1].encode(), 0))";
        Output::of(Command::new("python3").args(["-c", call]).arg(path("mnt"))).expect_ok();
    };
    let mut first = start();
    signal(&first, "-STOP");
    umount();
    let mut second = start();
    signal(&first, "-CONT");
    assert!(first.wait().unwrap().success());
    assert!(path("mnt/file").exists());
    umount();
    assert!(second.wait().unwrap().success());
}
