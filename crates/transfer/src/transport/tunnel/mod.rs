// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes to a receiver of ostree-push 1.2.0, which has no protocol and fetches from a URL
//! instead. Such a receiver is recognised by its answer to our command line. The repository is
//! then served on the loopback interface as an archive, below a random path, and ssh forwards a
//! port of the remote host to it. One connection of an ssh master carries both the port and the
//! command.

pub(crate) mod serve;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use oxtree_format::refs::RefName;
use oxtree_repo::Repo;

use self::serve::Server;
use crate::error::{Error, Result};
use crate::http::random;
use crate::transport::ssh_process::{SshOptions, explain_ssh, quote};
use crate::url::SshUrl;

/// What is run on the far side, in this order until one is there.
pub const COMMANDS: [&str; 2] = ["ostree-receive-1", "ostree-receive"];

/// How long the login and the forwarding may take.
const CONNECT: Duration = Duration::from_secs(60);

/// How long ssh may take to end.
const END: Duration = Duration::from_secs(2);

/// The longest path of a socket, less what ssh adds to it while it makes it.
const MAX_SOCKET_PATH: usize = 107 - 18;

/// What is to be pushed.
#[derive(Clone, Debug, Default)]
pub struct TunnelRequest {
    /// None for what the receiver wants, which is all but what it makes itself.
    pub refs: Vec<RefName>,
    /// The receiver is told not to mind that commits are old.
    pub force: bool,
    /// Nothing is to change.
    pub dry_run: bool,
}

/// Pushes through a tunnel. Every line that the receiver says goes to `hear`.
pub fn push_through_tunnel(
    repo: &Repo,
    url: &SshUrl,
    commands: &[String],
    ssh: &SshOptions,
    request: &TunnelRequest,
    tmp: &Path,
    hear: &dyn Fn(&str),
) -> Result<()> {
    let default = COMMANDS.map(str::to_owned);
    let commands = match commands {
        [] => &default[..],
        commands => commands,
    };
    let server = Server::start(repo)?;
    let master = Master::connect(url, ssh, server.port(), tmp)?;
    let mut words = Vec::new();
    words.extend(request.force.then(|| "-f".to_owned()));
    words.extend(request.dry_run.then(|| "-n".to_owned()));
    words.push(quote(&url.path));
    words.push(quote(&server.url(master.port)));
    words.extend(request.refs.iter().map(|name| quote(name.as_str())));
    for command in commands {
        let line = format!("{command} {}", words.join(" "));
        match master.run(&line, hear)? {
            Some(0) => return Ok(()),
            Some(127) => {}
            code => {
                let code = code.map_or("a signal".to_owned(), |code| format!("exit status {code}"));
                return Err(Error::Ssh(format!(
                    "`{command}` on {} failed with {code}",
                    url.host
                )));
            }
        }
    }
    Err(Error::NoCommand {
        command: commands.join("` or `"),
        host: url.host.clone(),
        refused: false,
    })
}

/// A connection in which a port is forwarded and commands can be run.
#[derive(Debug)]
struct Master<'a> {
    url: &'a SshUrl,
    ssh: &'a SshOptions,
    child: Child,
    dir: PathBuf,
    /// The port on the far side.
    port: u16,
}

impl<'a> Master<'a> {
    fn connect(url: &'a SshUrl, ssh: &'a SshOptions, port: u16, tmp: &Path) -> Result<Self> {
        let dir = socket_dir(tmp)?;
        // Below that level it does not say which port it is.
        let options = [
            "LogLevel=INFO",
            "ExitOnForwardFailure=yes",
            "ControlPersist=no",
        ];
        let options = options.iter().flat_map(|option| ["-o", option]);
        let mut command = ssh.command(url, &options.collect::<Vec<_>>());
        command.args(["-N", "-M", "-S"]).arg(dir.join("s"));
        command.arg("-R").arg(format!("0:127.0.0.1:{port}"));
        command
            .arg(url.login())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let started = command.spawn();
        let cannot = |error| Error::Ssh(format!("cannot run {}: {error}", ssh.name()));
        let child = started.map_err(cannot)?;
        let mut master = Self {
            url,
            ssh,
            child,
            dir,
            port: 0,
        };
        master.port = master.forwarded()?;
        Ok(master)
    }

    /// Waits for ssh to say which port it was given.
    fn forwarded(&mut self) -> Result<u16> {
        let Some(stderr) = self.child.stderr.take() else {
            return Err(Error::Ssh("no pipe from ssh".to_owned()));
        };
        let (said, lines) = channel();
        // Ends with ssh, which is not to wait for a reader.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr)
                .split(b'\n')
                .map_while(std::io::Result::ok)
            {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                tracing::debug!("{line}");
                // Nobody listens any more once the port is known.
                let _ = said.send(line);
            }
        });
        let until = Instant::now() + CONNECT;
        let mut heard = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(port) = allocated_port(&line) {
                        return Ok(port);
                    }
                    heard.push(line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let host = &self.url.host;
                    let reason = format!("ssh to {host} has forwarded no port in {CONNECT:?}");
                    return Err(Error::Ssh(reason));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Ssh(self.explain(&heard)));
                }
            }
        }
    }

    fn explain(&self, heard: &[String]) -> String {
        let host = &self.url.host;
        match heard
            .iter()
            .any(|line| line.contains("remote port forwarding failed"))
        {
            true => format!(
                "the receiver on {host} is ostree-push's, which needs a forwarded port, and {host} \
                 does not allow that: allow it (AllowTcpForwarding in sshd_config, no `restrict` for \
                 the key), or install oxtree there"
            ),
            false => explain_ssh(host, heard),
        }
    }

    /// Runs a command line on the far side and returns its exit status.
    fn run(&self, line: &str, hear: &dyn Fn(&str)) -> Result<Option<i32>> {
        let mut command = self.ssh.command(self.url, &["-T"]);
        command.arg("-S").arg(self.dir.join("s"));
        command.arg(self.url.login()).arg("--").arg(line);
        tracing::debug!(?command, "running");
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Error::Connection)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (said, lines) = channel();
        std::thread::scope(|scope| {
            let also = said.clone();
            // Nothing is heard after the end of both.
            scope.spawn(move || stdout.map(|from| each_line(from, &|line| drop(also.send(line)))));
            scope.spawn(move || stderr.map(|from| each_line(from, &|line| drop(said.send(line)))));
            for line in lines {
                hear(&line);
            }
        });
        Ok(child.wait().map_err(Error::Connection)?.code())
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        // It is not asked: what does not end by itself at once has nothing left to do.
        let _ = self.child.kill();
        let until = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Lines end with a line feed, or, in progress, with a carriage return.
fn each_line(from: impl std::io::Read, hear: &dyn Fn(String)) {
    const MAX_LINE: u64 = 8 << 10;
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut part = std::io::Read::take(&mut from, MAX_LINE);
        match part.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        // Of progress the last counts.
        let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if !text.is_empty() {
            hear(text.to_owned());
        }
    }
}

/// `Allocated port 40003 for remote forward to 127.0.0.1:1234`
fn allocated_port(line: &str) -> Option<u16> {
    let rest = line.trim().strip_prefix("Allocated port ")?;
    let (port, rest) = rest.split_once(' ')?;
    rest.starts_with("for remote forward")
        .then(|| port.parse().ok())
        .flatten()
        .filter(|port| *port > 0)
}

/// A folder of our own for ssh's socket, in `tmp` if the path is not too long for that.
fn socket_dir(tmp: &Path) -> Result<PathBuf> {
    let name = format!("oxtree-{:016x}", random()?);
    let places = [tmp, Path::new("/tmp")];
    let fits = |place: &&Path| place.join(&name).as_os_str().len() + 2 <= MAX_SOCKET_PATH;
    let place = places.into_iter().find(fits).unwrap_or(tmp);
    let dir = place.join(name);
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = builder.create(&dir);
    made.map_err(oxtree_repo::Error::io("creating", &dir))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let line = "Allocated port 40003 for remote forward to 127.0.0.1:1234\r";
        assert_eq!(allocated_port(line), Some(40003));
        for other in [
            "Allocated port 0 for remote forward to x",
            "Allocated port 99999 for remote forward to x",
            "Allocated port 5",
            "Warning: remote port forwarding failed for listen port 0",
        ] {
            assert_eq!(allocated_port(other), None, "{other}");
        }
    }

    #[test]
    fn sockets_have_short_paths() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(90)));
        let dir = socket_dir(&long).unwrap();
        assert!(
            dir.starts_with("/tmp") && dir.as_os_str().len() < 40,
            "{dir:?}"
        );
        std::fs::remove_dir(dir).unwrap();
    }

    #[test]
    fn of_progress_the_last_counts() {
        let heard = std::sync::Mutex::new(Vec::new());
        let hear = |line: String| heard.lock().unwrap().push(line);
        each_line(&b"one\n\n1%\r2%\rdone\r\nlast"[..], &hear);
        assert_eq!(*heard.lock().unwrap(), ["one", "done", "last"]);
    }
}
