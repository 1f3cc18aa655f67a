// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ostree-receive-shell`, from the command line and as the login shell of a real user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxtree_testkit::{BinDir, Output, Repo, Sshd, Tool, is_root, temp_dir, trees};

use crate::{OXTREE, called};

/// `test_receive_shell.*`.
#[test]
fn messages_and_exit_codes() {
    let long = "x".repeat(100_000);
    for (words, code, error) in [
        (&[][..], 1, "Cannot run interactively"),
        (&["x"], 1, "Must be run with no arguments or with -c cmd"),
        (&["-c"], 1, "Must be run with no arguments or with -c cmd"),
        (
            &["-c", "a", "b"],
            1,
            "Must be run with no arguments or with -c cmd",
        ),
        (
            &["-l", "a"],
            1,
            "Must be run with no arguments or with -c cmd",
        ),
        (&["-c", "ls"], 1, "Executing ls not allowed"),
        (
            &["-c", "/bin/ostree-receive"],
            1,
            "Executing /bin/ostree-receive not allowed",
        ),
        (
            &["-c", "ostree-receive-1x"],
            1,
            "Executing ostree-receive-1x not allowed",
        ),
        (&["-c", ""], 1, "No command given"),
        (&["-c", "'"], 1, "No closing quotation"),
        (&["-c", &long], 1, "Command too long"),
    ] {
        let output = called("ostree-receive-shell").run(words);
        assert_eq!(output.code, Some(code), "{output:?}");
        assert_eq!(output.stderr(), format!("ostree-receive-shell: {error}\n"));
    }
    // allowed_commands, command_args: they are what they are by their own names.
    for name in ["ostree-receive", "ostree-receive-1"] {
        let shell =
            |words: &str| called("ostree-receive-shell").run(["-c", &format!("{name} {words}")]);
        assert_eq!(
            shell("--version").expect_ok().stdout(),
            format!("{name} 1.2.0\n")
        );
        let output = shell("'no such' http://127.0.0.1:1/");
        assert_eq!(output.code, Some(1));
        assert_eq!(
            output.stderr(),
            format!("{name}: error: repo no such not found\n")
        );
        assert_eq!(shell("").code, Some(2));
    }
    let output = called("ostree-receive-shell").run(["-c", "ostree-receive-0 --help"]);
    assert!(
        output
            .expect_ok()
            .stdout()
            .starts_with("usage: ostree-receive-0 ")
    );
}

/// A user with our login shell, gone on drop.
struct User {
    name: String,
}

impl User {
    fn with_shell(shell: &Path) -> Self {
        let name = format!("oxtree-t{}", std::process::id());
        let shell = shell.to_str().expect("a path in UTF-8");
        let words = ["--no-create-home", "--home-dir", "/", "--password", "*"];
        Tool::new("/usr/sbin/useradd").ok(words.iter().chain(&["--shell", shell, &name]));
        Self { name }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Tool::new("/usr/sbin/userdel").run(["--force", &self.name]);
    }
}

/// A running ssh, gone on drop.
struct Connection(Child);

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site {
    dir: tempfile::TempDir,
    sshd: Sshd,
    user: User,
    _bins: BinDir,
}

impl Site {
    /// All that the client sends of its environment is taken, and on `PATH` there is a program that
    /// has the right name and is not ours.
    fn new() -> Self {
        let dir = temp_dir();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bins = BinDir::copied(OXTREE, &["ostree-receive-shell"]);
        let user = User::with_shell(&bins.path().join("ostree-receive-shell"));
        let traps = BinDir::empty();
        let trap = format!("touch {}/loot/trap", dir.path().display());
        for name in ["ostree-receive", "ostree-receive-1", "oxtree", "ls"] {
            traps.script(name, &trap);
        }
        let sshd = Sshd::builder()
            .bins(traps)
            .config_line("AcceptEnv *")
            .config_line("Subsystem sftp /usr/lib/openssh/sftp-server")
            .start();
        // sshd reads the keys as the user.
        let keys = sshd.key();
        fs::set_permissions(keys.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self {
            dir,
            sshd,
            user,
            _bins: bins,
        };
        for (name, mode) in [("root", 0o755), ("loot", 0o777), ("log", 0o777)] {
            fs::create_dir(site.at(name)).unwrap();
            fs::set_permissions(site.at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new repository that belongs to the user.
    fn repo(&self, name: &str) -> Repo {
        let repo = Tool::ostree().repo(self.at(name)).init("archive");
        Tool::new("chown").ok(["-R", &self.user.name, repo.path().to_str().unwrap()]);
        repo
    }

    fn login(&self) -> String {
        format!("{}@127.0.0.1", self.user.name)
    }

    fn run(&self, program: &str, options: &[&str], words: &[&str]) -> Output {
        let mut command = Command::new(program);
        let port = self.sshd.port().to_string();
        command.args([
            "-F",
            "none",
            if program == "ssh" { "-p" } else { "-P" },
            &port,
        ]);
        command
            .args(self.sshd.ssh_options())
            .args(options)
            .args(words);
        Output::of(command.stdin(Stdio::null()))
    }

    fn ssh(&self, options: &[&str], command: &str) -> Output {
        let login = self.login();
        let socket = self.at("socket").display().to_string();
        // Options such as SetEnv need a connection of their own.
        let shared = if options.is_empty() { &*socket } else { "none" };
        // What stands after the host may still be taken for options, unless this stands before.
        let words = ["-S", shared, "--", &login, command];
        let len = if command.is_empty() { 4 } else { 5 };
        self.run("ssh", options, &words[..len])
    }

    /// One connection for those sessions of [`Site::ssh`] that have no options.
    fn connect(&self) -> Connection {
        let socket = self.at("socket");
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-N",
            "-M",
            "-p",
            &self.sshd.port().to_string(),
            "-S",
        ]);
        ssh.arg(&socket)
            .args(self.sshd.ssh_options())
            .arg(self.login());
        let connection = Connection(ssh.stdin(Stdio::null()).spawn().expect("start ssh"));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !socket.exists() {
            assert!(Instant::now() < deadline, "no connection");
            std::thread::sleep(Duration::from_millis(10));
        }
        connection
    }

    fn audited(&self) -> usize {
        let lines = fs::read_to_string(self.at("log/audit")).unwrap_or_default();
        let refused = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["result"] == "refused" && line["user"] == self.user.name.as_str()
        };
        assert!(lines.lines().all(refused), "{lines}");
        lines.lines().count()
    }

    /// Nothing was made where everybody may.
    fn assert_no_loot(&self, what: &dyn std::fmt::Debug) {
        let loot: Vec<_> = self.at("loot").read_dir().unwrap().collect();
        assert!(loot.is_empty(), "{what:?}: {loot:?}");
    }
}

#[test]
fn a_login_shell_lets_nothing_else_through() {
    if !is_root() {
        // Users can only be made by root.
        return;
    }
    let site = Site::new();
    let (inside, outside) = (site.repo("root/inside"), site.repo("outside"));
    pushes_work(&site, &inside);

    let conf = site
        .sshd
        .remote_home()
        .join(".config/ostree/ostree-receive.conf");
    fs::create_dir_all(conf.parent().unwrap()).unwrap();
    let (root, audit) = (site.at("root"), site.at("log/audit"));
    let text = format!("root: {}\naudit_log: {}\n", root.display(), audit.display());
    fs::write(&conf, text).unwrap();
    let _connection = site.connect();
    escapes(&site);
    escapes_by_options(&site, &outside);
    escapes_by_environment(&site);
    other_subsystems(&site);
    assert_eq!(outside.refs(), [""; 0]);
    assert_eq!(inside.refs(), ["main"]);
}

/// What the shell is for.
fn pushes_work(site: &Site, dest: &Repo) {
    let source = Tool::ostree().repo(site.at("source")).init("archive");
    fs::create_dir(site.at("tree")).unwrap();
    trees::small(&site.at("tree"), 1);
    for (name, first, time) in [("oxtree", &["push"][..], 100), ("ostree-push", &[], 200)] {
        fs::write(site.at("tree/name"), name).unwrap();
        let time = format!("--timestamp=@{time}");
        source.commit("main", site.at("tree"), &["--canonical-permissions", &time]);
        let mut words: Vec<String> = first.iter().map(|word| (*word).to_owned()).collect();
        words.push(format!("--repo={}", source.path().display()));
        words.extend(site.sshd.ssh_options());
        words.extend(["-p".to_owned(), site.sshd.port().to_string()]);
        words.push(format!("{}:{}", site.login(), dest.path().display()));
        called(name).run(words).expect_ok();
        assert_eq!(dest.ok("cat", ["main", "/name"]), name);
    }
    site.assert_no_loot(&"pushes");
}

/// What a shell would do, and programs that are none of ours.
fn escapes(site: &Site) {
    let loot = site.at("loot/x");
    let loot = loot.display();
    for command in [
        format!("touch {loot}"),
        format!("ostree-receive; touch {loot}"),
        format!("ostree-receive;touch {loot}"),
        format!("$(touch {loot})"),
        format!("`touch {loot}`"),
        format!("(ostree-receive) touch {loot}"),
        format!("\ntouch {loot}"),
        format!("X=1 ostree-receive x; touch {loot}"),
        format!("exec touch {loot}"),
        format!("env touch {loot}"),
        format!("sh -c 'touch {loot}'"),
        format!("/bin/sh -c 'touch {loot}'"),
        format!("../../bin/touch {loot}"),
        format!("-c 'touch {loot}'"),
        format!("-- touch {loot}"),
        "ls".to_owned(),
        "./ostree-receive".to_owned(),
        "/usr/bin/ostree-receive x".to_owned(),
        "ostree-receive-shell -c ls".to_owned(),
        "ostree-push x:y".to_owned(),
        format!("oxtree init --repo={loot}"),
        format!("oxtree install-links {loot}"),
        format!("oxtree --repo={loot} receive"),
        "oxtree receive --cleanup inside".to_owned(),
        "oxtree receive --identity boss inside".to_owned(),
        "oxtree receive inside --identity=boss".to_owned(),
        "scp -t /".to_owned(),
        "rsync --server . /".to_owned(),
        "git-upload-pack x".to_owned(),
        "ostree-receive 'x".to_owned(),
        "ostree-receive \\".to_owned(),
        "'ostree-receive x'".to_owned(),
        " ".to_owned(),
        String::new(),
    ] {
        let before = site.audited();
        let output = site.ssh(&[], &command);
        assert_eq!(output.code, Some(1), "{command:?}: {output:?}");
        assert!(
            output.stderr().contains("ostree-receive-shell: "),
            "{command:?}: {output:?}"
        );
        assert_eq!(output.stdout(), "", "{command:?}");
        assert_eq!(site.audited(), before + 1, "{command:?}");
        site.assert_no_loot(&command);
    }
}

/// The right program, with words that should lead it elsewhere.
fn escapes_by_options(site: &Site, outside: &Repo) {
    let loot = site.at("loot/x");
    let (loot, url) = (loot.display(), "http://127.0.0.1:1/");
    let path = outside.path().display();
    for (command, code, logged) in [
        (format!("ostree-receive-1 inside; touch {loot}"), 1, true),
        (format!("ostree-receive-1 inside $(touch {loot})"), 1, true),
        (format!("ostree-receive-1 inside `touch {loot}`"), 1, true),
        (format!("ostree-receive-1 inside\ntouch {loot}"), 1, true),
        (format!("ostree-receive-1 {path} {url}"), 1, true),
        (format!("ostree-receive-1 ../outside {url}"), 1, true),
        (format!("ostree-receive-1 -- ../outside {url}"), 1, true),
        (
            format!("ostree-receive-1 root/../../outside {url}"),
            1,
            true,
        ),
        ("oxtree receive ../outside".to_owned(), 1, true),
        ("oxtree receive -- ../outside".to_owned(), 1, true),
        (format!("ostree-receive-0 --repo={path}"), 1, true),
        (format!("ostree-receive --repo={path}"), 1, true),
        ("ostree-receive-1 inside file:///etc".to_owned(), 1, true),
        (format!("ostree-receive-1 inside file://{path}"), 1, true),
        (
            "ostree-receive-1 inside http://169.254.169.254/latest".to_owned(),
            1,
            true,
        ),
        (
            "ostree-receive-1 inside http://127.0.0.1@169.254.169.254/".to_owned(),
            1,
            true,
        ),
        (
            format!("ostree-receive-1 inside {url} ../../etc/passwd"),
            1,
            true,
        ),
        (
            format!("ostree-receive-1 --config=/x inside {url}"),
            2,
            false,
        ),
        (
            format!("ostree-receive-1 --command=touch inside {url}"),
            2,
            false,
        ),
        (
            format!("ostree-receive-1 -o ProxyCommand=touch inside {url}"),
            2,
            false,
        ),
        (
            format!("ostree-receive-1 --update-hook=touch inside {url}"),
            2,
            false,
        ),
    ] {
        let before = site.audited();
        let output = site.ssh(&[], &command);
        assert_eq!(output.code, Some(code), "{command:?}: {output:?}");
        assert_eq!(site.audited(), before + usize::from(logged), "{command:?}");
        site.assert_no_loot(&command);
    }
}

/// What the client sends along. The server takes it all, the shell nothing that matters.
fn escapes_by_environment(site: &Site) {
    let own = site.at("loot-conf");
    fs::write(&own, "urls: any\nroot: /\n").unwrap();
    for variable in [
        format!("OSTREE_RECEIVE_CONF={}", own.display()),
        "OSTREE_RECEIVE_CONF=/dev/null".to_owned(),
        format!("XDG_CONFIG_HOME={}", site.dir.path().display()),
    ] {
        let before = site.audited();
        let option = format!("SetEnv={variable}");
        let output = site.ssh(
            &["-o", &option],
            "ostree-receive-1 /outside http://10.0.0.1/",
        );
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr().contains(" is set: "), "{output:?}");
        assert_eq!(site.audited(), before + 1, "{variable}");
    }
    let trap = site.at("loot/trap");
    for variable in [
        "SSH_ORIGINAL_COMMAND=x".to_owned(),
        format!("LD_PRELOAD={}", trap.display()),
        format!("BASH_ENV={}", trap.display()),
        format!("HOME={}", site.dir.path().display()),
        format!("PATH={}", site.dir.path().display()),
        "RUST_BACKTRACE=full".to_owned(),
    ] {
        let before = site.audited();
        let option = format!("SetEnv={variable}");
        let output = site.ssh(
            &["-o", &option],
            "ostree-receive-1 ../outside http://127.0.0.1:1/",
        );
        let said = output.stderr();
        // The dynamic linker reads its variables before the shell (not in a static binary), but
        // not again for the receiver.
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| !line.contains("ld.so"))
            .collect();
        let error = "ostree-receive-1: error: repo ../outside not found";
        assert_eq!((output.code, lines), (Some(1), vec![error]), "{variable}");
        assert!(said.lines().count() <= 2, "{said}");
        assert_eq!(site.audited(), before + 1, "{variable}");
        site.assert_no_loot(&variable);
    }
}

/// What sshd asks the shell for without the client's naming a program.
fn other_subsystems(site: &Site) {
    let before = site.audited();
    let target = format!("{}:{}", site.login(), site.at("loot/x").display());
    let file = OXTREE;
    for options in [&["-O"][..], &["-s"]] {
        let output = site.run("scp", options, &[file, &target]);
        assert_ne!(output.code, Some(0), "{options:?} {output:?}");
        site.assert_no_loot(&options);
    }
    let output = site.run("sftp", &["-b", "/dev/null"], &[&site.login()]);
    assert_ne!(output.code, Some(0), "{output:?}");
    // A terminal is no way in, either.
    let output = site.ssh(&["-tt"], "");
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(site.audited(), before + 4);
}
