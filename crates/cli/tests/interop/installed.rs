// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running the tests that a Debian package installs ("installed tests" of the GNOME kind).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oxtree_testkit::{BinDir, Tool, temp_dir};

use crate::{OXTREE, source};

/// The installed tests of one package.
pub(crate) struct Installed {
    dir: PathBuf,
    bins: BinDir,
    work: tempfile::TempDir,
    served: bool,
}

impl Installed {
    /// Those below `/usr/libexec/installed-tests/NAME`, with our binary first on `PATH` under these names.
    pub(crate) fn new(name: &str, links: &[&str]) -> Self {
        let dir = Path::new("/usr/libexec/installed-tests").join(name);
        assert!(dir.exists(), "no {}: run scripts/setup", dir.display());
        Self {
            dir,
            bins: BinDir::linked(OXTREE, links),
            work: temp_dir(),
            served: false,
        }
    }

    /// The same tests with `oxtree serve` in the place of their web server.
    pub(crate) fn served(mut self) -> Self {
        let copy = self.work.path().join("tests");
        fs::create_dir(&copy).expect("mkdir");
        for entry in fs::read_dir(&self.dir).expect("list the tests").flatten() {
            if entry.file_name() != "web-server.py" {
                symlink(entry.path(), copy.join(entry.file_name())).expect("link a test");
            }
        }
        symlink(source("web-server.py"), copy.join("web-server.py")).expect("link the server");
        self.dir = copy;
        self.served = true;
        self
    }

    /// Runs a test, and expects this number of points.
    pub(crate) fn run(&self, script: &str, argument: Option<&str>, points: usize) {
        let at = |name: &str| self.work.path().join(name);
        for dir in ["cwd", "home"] {
            fs::create_dir(at(dir)).expect("mkdir");
        }
        let path = format!(
            "{}:/usr/bin:/bin:/usr/sbin:/sbin",
            self.bins.path().display()
        );
        let output = fs::File::create(at("output")).expect("create a file");
        let mut command: Command = Tool::new(self.dir.join(script))
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", at("home"))
            .env("G_TEST_SRCDIR", &self.dir)
            .env("G_TEST_BUILDDIR", &self.dir)
            .env("OXTREE", OXTREE)
            .env("OXTREE_LOG", at("servers"))
            .dir(at("cwd"))
            .command(argument.map(|name| self.dir.join(name)));
        // To a file, as a background process that outlives the test would keep a pipe open; and with a process
        // group of its own, so that such processes can be ended.
        let same = output.try_clone().expect("duplicate a descriptor");
        command
            .stdout(output)
            .stderr(same)
            .stdin(Stdio::null())
            .process_group(0);
        let mut child = command.spawn().expect("start a test");
        let ended = child.wait().expect("wait for a test");
        let group = format!("-{}", child.id());
        // There may be none left.
        let _ = Tool::new("/bin/kill").run(["-KILL", "--", &group]);
        let bytes = fs::read(at("output")).expect("read the output");
        let text = String::from_utf8_lossy(&bytes);
        let passed = text.lines().filter(|line| line.starts_with("ok")).count();
        let skipped = text.lines().find(|line| line.contains("# SKIP"));
        if let Some(line) = skipped.filter(|_| passed < points && ended.success()) {
            assert!(!kernel_can(), "{script}: {line}");
            // Past the capture of the test's output, so that it is shown.
            let reason = "skipped, as this kernel has no /dev/fuse or no user namespaces";
            writeln!(std::io::stderr(), "{script}: {reason}: {line}").expect("write");
            return;
        }
        let last: Vec<&str> = text.lines().rev().take(60).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let servers = fs::read_to_string(at("servers")).unwrap_or_default();
        assert!(
            ended.success() && passed == points,
            "{script} {argument:?}: {ended}, {passed} of {points}\n{}\n{servers}",
            last.join("\n")
        );
        assert_eq!(self.served, at("servers").exists(), "who served?");
    }
}

/// Whether the kernel has what bubblewrap and FUSE need.
pub(crate) fn kernel_can() -> bool {
    let fuse = fs::File::options().read(true).write(true).open("/dev/fuse");
    let namespaces = Tool::new("bwrap").run(["--unshare-all", "--ro-bind", "/", "/", "true"]);
    fuse.is_ok() && namespaces.code == Some(0)
}
