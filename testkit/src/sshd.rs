// SPDX-License-Identifier: MIT OR Apache-2.0
//! A throw-away OpenSSH server on loopback.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bins::{shell_quote, write_script};
use crate::process::Server;
use crate::{BinDir, Output, Tool};

/// What the client's known-hosts file says of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownHost {
    /// The server's own key.
    Right,
    /// Another key: somebody seems to stand in the middle.
    Wrong,
    /// Nothing: this host was never seen.
    Unknown,
}

/// How to start an [`Sshd`].
#[derive(Debug)]
pub struct SshdBuilder {
    path: Vec<PathBuf>,
    bins: Vec<BinDir>,
    banner: Option<String>,
    known_host: KnownHost,
    env: Vec<(String, String)>,
    config: String,
}

impl SshdBuilder {
    /// Puts `dir` on the remote `PATH`, before the system's directories. Without it the far side
    /// has no oxtree.
    #[must_use]
    pub fn path(mut self, dir: impl AsRef<Path>) -> Self {
        self.path.push(dir.as_ref().to_owned());
        self
    }

    /// Like [`SshdBuilder::path`], for a directory that lives as long as the server.
    #[must_use]
    pub fn bins(mut self, bins: BinDir) -> Self {
        self.path.push(bins.path().to_owned());
        self.bins.push(bins);
        self
    }

    /// Makes the far side print `text` on standard output before each command, as careless login
    /// scripts do.
    #[must_use]
    pub fn banner(mut self, text: &str) -> Self {
        self.banner = Some(text.to_owned());
        self
    }

    /// What the client knows of the server; [`KnownHost::Right`] unless told.
    #[must_use]
    pub fn known_host(mut self, known: KnownHost) -> Self {
        self.known_host = known;
        self
    }

    /// Sets an environment variable on the far side.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Adds a line to the server's configuration.
    #[must_use]
    pub fn config_line(mut self, line: &str) -> Self {
        self.config += line;
        self.config += "\n";
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// When sshd or ssh-keygen is missing or does not start; the message has its log.
    #[must_use]
    pub fn start(self) -> Sshd {
        let dir = crate::temp_dir();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("home")).expect("make the far side's home");
        for key in ["host_key", "client_key", "other_key"] {
            keygen(&at(key));
        }
        fs::copy(at("client_key.pub"), at("authorized_keys")).expect("authorise the client");
        if crate::is_root() {
            // Compiled into Debian's sshd; made at boot by its service, which need not run here.
            fs::create_dir_all("/run/sshd").expect("make /run/sshd");
        }
        let log = at("log");
        let config = at("sshd_config");
        let (server, port) = Server::start(
            "sshd",
            &log,
            |port| {
                fs::write(&config, self.config(dir.path(), port)).expect("write sshd_config");
                // sshd insists on being called by an absolute path.
                let mut command = Command::new("/usr/sbin/sshd");
                command.arg("-D").arg("-f").arg(&config).arg("-E").arg(&log);
                command
                    .stdin(Stdio::null())
                    .spawn()
                    .expect("start /usr/sbin/sshd (package openssh-server)")
            },
            greets,
        );
        fs::write(at("known_hosts"), self.known_hosts(dir.path(), port))
            .expect("write known_hosts");
        let user = Tool::new("id").ok(["-un"]).trim().to_owned();
        Sshd {
            _server: server,
            _bins: self.bins,
            port,
            user,
            dir,
        }
    }

    fn config(&self, dir: &Path, port: u16) -> String {
        let dir = dir.display();
        let mut path: Vec<String> = self.path.iter().map(|p| p.display().to_string()).collect();
        path.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        // A home of its own keeps the shell start-up files of whoever runs the tests out.
        let mut env = format!(
            "\"PATH={}\" \"HOME={dir}/home\" \"LC_ALL=C\"",
            path.join(":")
        );
        for key in crate::tool::CLOCK {
            if let Ok(value) = std::env::var(key) {
                env += &format!(" \"{key}={value}\"");
            }
        }
        for (key, value) in &self.env {
            env += &format!(" \"{key}={value}\"");
        }
        let force = match &self.banner {
            None => String::new(),
            Some(text) => {
                let script = PathBuf::from(format!("{dir}/banner"));
                write_script(
                    &script,
                    &format!(
                        "echo {}\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"",
                        shell_quote(text)
                    ),
                );
                format!("ForceCommand {}\n", script.display())
            }
        };
        format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {dir}/host_key\nPidFile none\n\
             AuthorizedKeysFile {dir}/authorized_keys\nStrictModes no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nUseDNS no\n\
             PermitUserRC no\nPrintMotd no\nMaxStartups 100\nSetEnv {env}\n{force}{}",
            self.config
        )
    }

    fn known_hosts(&self, dir: &Path, port: u16) -> String {
        let key = match self.known_host {
            KnownHost::Right => "host_key.pub",
            KnownHost::Wrong => "other_key.pub",
            KnownHost::Unknown => return String::new(),
        };
        let key = fs::read_to_string(dir.join(key)).expect("read a public key");
        format!("[127.0.0.1]:{port} {key}")
    }
}

/// A running sshd with keys of its own; it and the sessions it serves are gone on drop.
#[derive(Debug)]
pub struct Sshd {
    _server: Server,
    _bins: Vec<BinDir>,
    port: u16,
    user: String,
    dir: tempfile::TempDir,
}

impl Sshd {
    /// A server to be configured.
    #[must_use]
    pub fn builder() -> SshdBuilder {
        SshdBuilder {
            path: Vec::new(),
            bins: Vec::new(),
            banner: None,
            known_host: KnownHost::Right,
            env: Vec::new(),
            config: String::new(),
        }
    }

    /// A server that finds `oxtree` and `ostree-receive`, both links to `exe`, on its `PATH`.
    #[must_use]
    pub fn with_binary(exe: impl AsRef<Path>) -> Sshd {
        Sshd::builder()
            .bins(BinDir::linked(exe, &["oxtree", "ostree-receive"]))
            .start()
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user to log in as: the one who runs the tests.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The client's private key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("client_key")
    }

    /// The directory that the far side has as `$HOME`.
    #[must_use]
    pub fn remote_home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Options that make `ssh`, `scp` or `oxtree push` use this server's keys and nothing of the
    /// user's: `-i KEY -o …`. The port is in [`Sshd::url`], or give `-p` with [`Sshd::port`].
    #[must_use]
    pub fn ssh_options(&self) -> Vec<String> {
        let mut words = vec!["-i".to_owned(), self.key().display().to_string()];
        let known_hosts = format!(
            "UserKnownHostsFile={}",
            self.dir.path().join("known_hosts").display()
        );
        for option in [
            known_hosts.as_str(),
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
        ] {
            words.extend(["-o".to_owned(), option.to_owned()]);
        }
        words
    }

    /// A whole client command with port and options, for `--ssh-command` and `rsync -e`.
    #[must_use]
    pub fn ssh_command(&self) -> String {
        format!(
            "ssh -F none -p {} {}",
            self.port,
            self.ssh_options().join(" ")
        )
    }

    /// `ssh://USER@127.0.0.1:PORT/PATH` for an absolute path on this machine.
    #[must_use]
    pub fn url(&self, path: impl AsRef<Path>) -> String {
        assert!(
            path.as_ref().is_absolute(),
            "{} is not absolute",
            path.as_ref().display()
        );
        format!(
            "ssh://{}@127.0.0.1:{}{}",
            self.user,
            self.port,
            path.as_ref().display()
        )
    }

    /// `USER@127.0.0.1:PATH`, to be used with `-p` and [`Sshd::port`].
    #[must_use]
    pub fn scp_style(&self, path: impl AsRef<Path>) -> String {
        format!("{}@127.0.0.1:{}", self.user, path.as_ref().display())
    }

    /// Runs a shell command on the far side with the system's `ssh`.
    #[must_use = "the exit code is not looked at"]
    pub fn ssh(&self, command: &str) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-p", &self.port.to_string()])
            .args(self.ssh_options());
        ssh.arg(format!("{}@127.0.0.1", self.user))
            .arg(command)
            .stdin(Stdio::null());
        Output::of(&mut ssh)
    }

    /// A stand-in for `ssh`, for `--ssh-command`, whose connections [`Sshd::transfers`] counts.
    /// What ssh itself has to say goes into its log, not to standard error.
    #[must_use]
    pub fn counting_ssh(&self) -> PathBuf {
        let script = self.dir.path().join("ssh");
        let log = shell_quote(self.dir.path().join("ssh-log"));
        write_script(
            &script,
            &format!("exec ssh -F none -E {log} -o LogLevel=VERBOSE \"$@\""),
        );
        script
    }

    /// What crossed the wire in each finished connection of [`Sshd::counting_ssh`], encryption and
    /// handshake included, in the order of their ends.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn transfers(&self) -> Vec<Transfer> {
        let log =
            fs::read_to_string(self.dir.path().join("ssh-log")).expect("a finished connection");
        log.lines().filter_map(Transfer::parse).collect()
    }

    /// What sshd has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("read sshd's log")
    }
}

/// What one SSH connection carried, as OpenSSH counted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes from the client to the server.
    pub up: u64,
    /// Bytes from the server to the client.
    pub down: u64,
}

impl Transfer {
    /// Reads the client's `Transferred: sent N, received N bytes, in N.N seconds`.
    fn parse(line: &str) -> Option<Transfer> {
        let (up, rest) = line
            .strip_prefix("Transferred: sent ")?
            .split_once(", received ")?;
        let (down, _) = rest.split_once(" bytes")?;
        Some(Transfer {
            up: up.parse().ok()?,
            down: down.parse().ok()?,
        })
    }
}

/// Makes a key pair without a passphrase at `path` and `path.pub`.
fn keygen(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "oxtree-test", "-f"])
        .arg(path);
    Output::of(&mut command).expect_ok();
}

/// Whether an SSH server says hello at `port`.
fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set a timeout");
    let mut hello = [0; 4];
    stream.read_exact(&mut hello).is_ok() && &hello == b"SSH-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_runs_in_a_clean_home_with_a_clean_stdout() {
        let sshd = Sshd::builder().start();
        let out = sshd.ssh("echo $HOME; command -v oxtree; exit 7");
        assert_eq!(out.code, Some(7), "{out:?}");
        assert_eq!(out.stdout(), format!("{}\n", sshd.remote_home().display()));
        assert_eq!(out.stderr(), "");
    }

    #[test]
    fn the_binary_is_found_under_both_names() {
        let sshd = Sshd::with_binary("/bin/echo");
        assert_eq!(
            sshd.ssh("oxtree a; ostree-receive b").expect_ok().stdout(),
            "a\nb\n"
        );
    }

    #[test]
    fn stdin_flows_through_and_the_banner_comes_first() {
        let sshd = Sshd::builder()
            .banner("it's a banner")
            .env("COLOUR", "blue and red")
            .start();
        assert_eq!(
            sshd.ssh("echo \"$COLOUR\"; exit 3")
                .expect_failure()
                .stdout(),
            "it's a banner\nblue and red\n"
        );
    }

    #[test]
    fn bytes_are_counted_in_both_directions() {
        let sshd = Sshd::builder().start();
        let ssh = shell_quote(sshd.counting_ssh());
        let ssh = format!(
            "{ssh} {} -p {} {}@127.0.0.1",
            sshd.ssh_options().join(" "),
            sshd.port(),
            sshd.user()
        );
        let run = |command: String| Tool::new("/bin/sh").ok(["-c", &command]);
        run(format!("{ssh} head -c 1000000 /dev/zero"));
        run(format!("{ssh} true"));
        assert_eq!(
            run(format!("head -c 500000 /dev/zero | {ssh} wc -c")),
            "500000\n"
        );
        let counted = sshd.transfers();
        assert!(
            counted[0].down > 1_000_000 && counted[0].up < 100_000,
            "{counted:?}"
        );
        assert!(
            counted[1].down < 10_000 && counted[1].up < 10_000,
            "{counted:?}"
        );
        assert!(
            counted[2].down < 10_000 && counted[2].up > 500_000,
            "{counted:?}"
        );
    }

    #[test]
    fn wrong_and_unknown_host_keys_are_refused_by_the_client() {
        for (known, message) in [
            (KnownHost::Wrong, "IDENTIFICATION HAS CHANGED"),
            (KnownHost::Unknown, "Host key verification failed"),
        ] {
            let sshd = Sshd::builder().known_host(known).start();
            let out = sshd.ssh("true").expect_failure();
            assert!(out.stderr().contains(message), "{out:?}");
        }
    }

    #[test]
    fn the_url_and_the_options_work_with_the_real_client() {
        let sshd = Sshd::builder().start();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none"])
            .args(sshd.ssh_options())
            .arg(sshd.url("/").trim_end_matches('/'))
            .arg("true");
        Output::of(&mut ssh).expect_ok();
        let mut ssh = Command::new("sh");
        ssh.arg("-c").arg(format!(
            "{} {}@127.0.0.1 true",
            sshd.ssh_command(),
            sshd.user()
        ));
        Output::of(&mut ssh).expect_ok();
    }

    #[test]
    fn dropping_the_server_ends_its_sessions() {
        let sshd = Sshd::builder().start();
        let port = sshd.port();
        let mut ssh = Command::new("sh");
        ssh.arg("-c").arg(format!(
            "{} {}@127.0.0.1 'echo up; sleep 600'",
            sshd.ssh_command(),
            sshd.user()
        ));
        let mut session = ssh
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start ssh");
        let mut up = [0; 3];
        session
            .stdout
            .take()
            .expect("a pipe")
            .read_exact(&mut up)
            .expect("the session starts");
        drop(sshd);
        assert!(!session.wait().expect("wait for ssh").success());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}
