// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where pushes are killed: two versions of some refs to push, a way to a receiver whose process
//! is known, and what has to be true of the destination at any time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oxtree_testkit::trees::{self, Noise};
use oxtree_testkit::{
    BinDir, Output, Repo, Serve, Sshd, Tmpfs, Tool, is_root, is_running, kill, temp_dir,
    wait_for_end,
};
use serde_json::Value;

use crate::look::{Look, names, objects, quarantines};

/// The binary under test.
pub(crate) const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// Files in a tree, and bytes of the large one among them.
const FILES: usize = 300;
const LARGE: u64 = 1 << 20;

/// How long to wait for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory for repositories. Nothing loses power in these tests, so that the disk need not be
/// waited for.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    disk: Option<Tmpfs>,
}

impl Place {
    pub(crate) fn in_memory() -> Self {
        let disk = is_root().then(|| Tmpfs::mount(256 << 20));
        Self {
            disk,
            ..Self::on_disk()
        }
    }

    pub(crate) fn on_disk() -> Self {
        let (dir, disk) = (temp_dir(), None);
        Self { dir, disk }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        let root = self.disk.as_ref().map_or(self.dir.path(), Tmpfs::path);
        root.join(name)
    }
}

/// A tree of some hundred files and a large one; of two versions, half of the files differ.
pub(crate) fn tree(at: &Path, branch: u64, version: u64) {
    fs::create_dir(at).expect("mkdir");
    trees::many(at, FILES, branch);
    let mut noise = Noise::new(1000 * version + branch);
    for file in (0..FILES).step_by(2) {
        let path = at.join(format!("{:03}/{:02}", file / 100, file % 100));
        fs::write(path, noise.bytes(12_000)).expect("write a file");
    }
    trees::incompressible(&at.join("large"), LARGE, version);
}

/// A repository with one state of all refs, to be pushed.
pub(crate) struct Version {
    pub(crate) repo: Repo,
    pub(crate) refs: BTreeMap<String, String>,
    /// Loose paths and sizes of all objects that these refs need.
    objects: BTreeMap<String, u64>,
}

impl Version {
    /// The next state of `branches`, on top of another.
    fn new(place: &Place, branches: &[&str], number: u64, before: Option<&Version>) -> Self {
        let path = place.at(&format!("source-{number}-{}", branches.len()));
        let tool = Tool::ostree();
        let repo = match before {
            None => tool.repo(&path).init("archive").without_fsync(),
            Some(before) => {
                copy(before.repo.path(), &path);
                tool.repo(&path)
            }
        };
        for (branch, at) in branches.iter().zip(0..) {
            let files = place.at("tree");
            tree(&files, at, number);
            let timestamp = format!("--timestamp=2026-01-0{number}T03:04:05Z");
            repo.commit(branch, &files, &["--canonical-permissions", &timestamp]);
            fs::remove_dir_all(&files).expect("delete the tree");
        }
        let size = |object: &String| {
            let path = path.join("objects").join(object);
            path.metadata().expect("an object").len()
        };
        let objects = objects(&path.join("objects")).into_iter();
        let objects = objects.map(|object| (object.clone(), size(&object)));
        let refs = Look::at(&path).refs;
        Self {
            objects: objects.collect(),
            refs,
            repo,
        }
    }

    /// What `look` lacks of it, and how many bytes that is.
    pub(crate) fn missing(&self, look: &Look) -> (BTreeSet<&str>, u64) {
        let lacks = |path: &str| !look.public.contains(path) && !look.whole.contains(path);
        let missing = self.objects.iter().filter(|(path, _)| lacks(path));
        let bytes = missing.clone().map(|(_, size)| size).sum();
        (missing.map(|(path, _)| path.as_str()).collect(), bytes)
    }
}

/// Starts a command and kills it after so long. Says whether it was there to be killed; if not, its
/// exit code is `code`.
pub(crate) fn kill_after(command: &mut Command, after: Duration, code: i32) -> bool {
    let begun = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start it");
    std::thread::sleep(after.saturating_sub(begun.elapsed()));
    let running = child.try_wait().expect("ask after it").is_none();
    kill(child.id());
    let status = child.wait().expect("its end");
    assert!(running || status.code() == Some(code), "{status}");
    running
}

/// A copy of a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    Output::of(Command::new("cp").arg("-a").arg(from).arg(to)).expect_ok();
}

/// How the two ends are connected.
pub(crate) enum Link {
    /// Through a stand-in for `ssh`: two `cat`s.
    Near,
    Ssh(Box<Sshd>),
    /// The receiver is a server, which is there for one push after the other, and is started again when it was killed.
    Http,
}

/// All that a test kills.
pub(crate) struct Rig {
    pub(crate) place: Place,
    /// One state of the refs, and the next.
    pub(crate) versions: [Version; 2],
    bins: BinDir,
    link: Link,
    server: RefCell<Option<Serve>>,
    /// Where it listens, always.
    address: Cell<Option<SocketAddr>>,
}

impl Rig {
    pub(crate) fn new(place: Place, link: Link, branches: &[&str]) -> Self {
        let bins = BinDir::empty();
        // The process that is known by its number becomes the receiver.
        let receive = format!("echo $$ >\"$3.pid\"; exec {OXTREE} \"$@\"");
        bins.script("receiver", &receive);
        // Each pipe is open at its two ends only, so that it breaks when one of them goes.
        bins.script(
            "ssh",
            "for command; do :; done; exec 3<&0 4>&1 </dev/null >/dev/null
             cat <&3 3<&- 4>&- | sh -c \"$command\" 3<&- 4>&- | cat 3<&- >&4 4>&- &
             exec 3<&- 4>&-; wait",
        );
        let first = Version::new(&place, branches, 1, None);
        let second = Version::new(&place, branches, 2, Some(&first));
        let template = Tool::ostree().repo(place.at("template"));
        drop(template.init("archive"));
        let versions = [first, second];
        Self {
            place,
            versions,
            bins,
            link,
            server: RefCell::default(),
            address: Cell::default(),
        }
    }

    /// Whether pushes go to a server.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self.link, Link::Http)
    }

    /// The URL of the server, which is started if it does not run.
    pub(crate) fn serve(&self, dest: &Repo) -> String {
        let runs = |server: &Serve| is_running(server.pid());
        if !self.server.borrow().as_ref().is_some_and(runs) {
            self.stop_server();
            let address = self.address.get();
            let address = address.map_or("127.0.0.1:0".to_owned(), |address| address.to_string());
            let path = dest.path().to_str().expect("UTF-8");
            let words = [
                "serve",
                "--allow-anonymous-push",
                "--listen",
                &address,
                path,
            ];
            let server = Serve::start(OXTREE, &words, self.place.at("serve.log"));
            self.address.set(Some(server.address()));
            self.server.replace(Some(server));
        }
        let server = self.server.borrow();
        server.as_ref().expect("it runs").url().to_owned()
    }

    /// Kills the server, if there is one.
    pub(crate) fn stop_server(&self) {
        if let Some(server) = self.server.take() {
            let said = server.said();
            assert!(!said.contains("panicked"), "{said}");
        }
    }

    /// Waits until what has received does nothing any more for pushes that have ended.
    pub(crate) fn wait_until_quiet(&self, dest: &Repo) {
        match (&self.link, self.receiver(dest)) {
            (_, None) => {}
            (Link::Http, Some(_)) => {
                let begun = Instant::now();
                let finishing = || self.ask("/api/v1/pushes").contains("\"finishing\"");
                let mut look = Look::at(dest.path());
                loop {
                    assert!(begun.elapsed() < PATIENCE, "it is not quiet");
                    std::thread::sleep(Duration::from_millis(10));
                    let now = Look::at(dest.path());
                    if now == look && !finishing() {
                        return;
                    }
                    look = now;
                }
            }
            (_, Some(receiver)) => wait_for_end(receiver, PATIENCE),
        }
    }

    /// What the server answers to whoever gets this.
    fn ask(&self, path: &str) -> String {
        let address = self.address.get().expect("a server");
        let mut stream = TcpStream::connect(address).expect("connect");
        let words = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(words.as_bytes()).expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains(" 200 "), "{answer}");
        answer
    }

    /// A new, empty destination.
    pub(crate) fn destination(&self) -> Repo {
        self.stop_server();
        let dest = self.place.at("dest");
        if dest.exists() {
            fs::remove_dir_all(&dest).expect("delete the destination");
        }
        copy(&self.place.at("template"), &dest);
        Tool::ostree().repo(dest)
    }

    /// `oxtree push` of all refs.
    pub(crate) fn push(&self, version: &Version, dest: &Repo, args: &[&str]) -> Command {
        let receive = self.bins.path().join("receiver");
        let mut words = vec![
            "push".to_owned(),
            format!("--repo={}", version.repo.path().display()),
        ];
        words.extend(args.iter().map(|&arg| arg.to_owned()));
        if !self.is_served() {
            words.push(format!("--command={} receive --", receive.display()));
        }
        match &self.link {
            Link::Http => {
                words.push("--network-retries=4".to_owned());
                words.push(self.serve(dest));
            }
            Link::Near => {
                let ssh = self.bins.path().join("ssh");
                words.push(format!("--ssh-command={}", ssh.display()));
                words.push(format!("near:{}", dest.path().display()));
            }
            Link::Ssh(sshd) => {
                words.push("--ssh-command=ssh -F none".to_owned());
                words.extend(sshd.ssh_options());
                words.push(sshd.url(dest.path()));
            }
        }
        Tool::new(OXTREE).command(words)
    }

    /// The process that receives into this destination; none before it has begun.
    pub(crate) fn receiver(&self, dest: &Repo) -> Option<u32> {
        if self.is_served() {
            return self.server.borrow().as_ref().map(Serve::pid);
        }
        let pid = fs::read_to_string(pid_file(dest)).ok()?;
        pid.strip_suffix('\n')?.parse().ok()
    }

    /// Forgets the receiver of the last push.
    pub(crate) fn forget_receiver(&self, dest: &Repo) {
        // There may have been none.
        let _ = fs::remove_file(pid_file(dest));
    }

    /// Pushes with nobody in the way. Sends only what `found` lacks; what that was before is gone.
    /// A server that still runs holds what pushes have brought that it may yet hear of; what that is it does not have
    /// to give to others.
    pub(crate) fn push_rest(&self, version: &Version, dest: &Repo, found: &Look) {
        let held = self.server.borrow().is_some();
        let output = Output::of(&mut self.push(version, dest, &["--json"])).expect_ok();
        let report: Value = serde_json::from_str(&output.stdout()).expect("an object in JSON");
        let number = |key: &str| report[key].as_u64().expect("a number");
        if found.refs == version.refs {
            assert_eq!(number("turns"), 1, "nothing to do: {output:?}");
        } else {
            let (missing, bytes) = version.missing(found);
            let count = missing.len() as u64;
            let (most, most_bytes) = match held {
                true => version.missing(&found.without_staged()),
                false => (missing.clone(), bytes),
            };
            let most = most.len() as u64;
            let (sent, sent_bytes) = (number("objects_missing"), number("object_bytes"));
            assert!(
                (count..=most).contains(&sent),
                "{output:?}, lacks {missing:#?}"
            );
            assert!((bytes..=most_bytes).contains(&sent_bytes), "{output:?}");
            // What a request says besides.
            let requests = 1024 * number("turns") * u64::from(self.is_served());
            let overhead = 4096 + 40 * version.objects.len() as u64 + 64 * sent + requests;
            assert!(number("bytes_sent") < sent_bytes + overhead, "{output:?}");
        }
        let now = Look::at(dest.path());
        assert_eq!(now.refs, version.refs, "{output:?}");
        assert!(version.missing(&now).0.is_empty(), "{output:?}");
        dest.fsck();
        let left = quarantines(dest.path());
        // Several pushes may have brought the same to a server.
        let is_public = |dir: &PathBuf| objects(dir).is_subset(&now.public);
        let is_no_matter = self.is_served() && left.iter().all(is_public);
        assert!(
            left.is_empty() || held || is_no_matter || found.refs == version.refs,
            "left: {left:?}"
        );
        self.forget_receiver(dest);
    }

    /// What has to be true at any time, whatever was killed: the repository is in order, and each
    /// ref is old or new. Says what it looks like.
    pub(crate) fn check(&self, dest: &Repo, before: &Look, version: &Version) -> Look {
        let look = Look::at(dest.path());
        for name in version.refs.keys() {
            let (now, old) = (look.refs.get(name), before.refs.get(name));
            assert!(
                now == old || now == version.refs.get(name),
                "{name} is at {now:?}"
            );
        }
        let unknown = look
            .refs
            .keys()
            .find(|name| !version.refs.contains_key(*name));
        assert_eq!(unknown, None, "a ref from nowhere");
        // All or none, also where only the next change of a ref will finish it.
        if look.refs != before.refs && look.refs != version.refs {
            let journal = dest.path().join("state/refs-journal");
            assert!(journal.exists(), "only some refs have changed: {look:?}");
        }
        dest.fsck();
        Tool::new(OXTREE).repo(dest.path()).ok("fsck", ["--quiet"]);
        let partial: Vec<String> = names(&dest.path().join("state"))
            .into_iter()
            .filter(|name| name.ends_with(".commitpartial"))
            .collect();
        assert!(partial.is_empty(), "public, but not complete: {partial:?}");
        look
    }
}

fn pid_file(dest: &Repo) -> PathBuf {
    dest.path().with_extension("pid")
}
