// SPDX-License-Identifier: MIT OR Apache-2.0
//! Background servers: a free port, waiting until one answers, ending a whole process tree. And
//! processes that are killed on purpose.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind a loopback port");
    listener.local_addr().expect("the bound address").port()
}

/// A server process; it and all its descendants are killed on drop.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts a server on a free port: `start` gets the port and spawns it, `answers` says whether
    /// it serves there. Someone else may take the port in between, so this tries a few ports.
    pub(crate) fn start(
        what: &str,
        log: &Path,
        mut start: impl FnMut(u16) -> Child,
        answers: impl Fn(u16) -> bool,
    ) -> (Server, u16) {
        for _ in 0..5 {
            let port = free_port();
            let mut server = Server { child: start(port) };
            let deadline = Instant::now() + Duration::from_secs(20);
            while server
                .child
                .try_wait()
                .expect("ask after a server")
                .is_none()
            {
                if answers(port) {
                    return (server, port);
                }
                assert!(
                    Instant::now() < deadline,
                    "{what} does not answer: {}",
                    read_log(log)
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        panic!("{what} does not start: {}", read_log(log));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Stopped first, or it might replace a child that is killed before it.
        signal(self.child.id(), Signal::STOP);
        for pid in descendants(self.child.id()) {
            kill(pid);
        }
        // It may have ended by itself; then there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_log(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| format!("(no log at {}: {e})", path.display()))
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The process may be gone already.
        let _ = kill_process(pid, signal);
    }
}

/// Ends a process as the kernel does it when memory runs out: at once. It may be gone already.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Whether a process still runs. One that waits to be buried by its parent does not.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let state = |stat: String| Some(stat.rsplit_once(')')?.1.trim_start().chars().next()? != 'Z');
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(state)
        .unwrap_or(false)
}

/// Waits until a process has ended.
///
/// # Panics
/// When it has not after `patience`.
pub fn wait_for_end(pid: u32, patience: Duration) {
    let deadline = Instant::now() + patience;
    while is_running(pid) {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(
            Instant::now() < deadline,
            "process {pid} does not end: {}",
            String::from_utf8_lossy(&command).replace('\0', " ")
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All living processes that descend from `root`, without it.
///
/// # Panics
/// When `/proc` cannot be read.
#[must_use]
pub fn descendants(root: u32) -> Vec<u32> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir("/proc").expect("list /proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(parent) = parent_of(pid) {
            pairs.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(
            pairs
                .iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.split_off(1)
}

/// The fourth field of `/proc/PID/stat`; the second, in parentheses, may hold any character.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn dropping_a_server_ends_its_whole_tree() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 & setsid sleep 601 & wait"]);
        let child = command.spawn().expect("start a shell");
        let id = child.id();
        let server = Server { child };
        let deadline = Instant::now() + Duration::from_secs(10);
        while descendants(id).len() < 2 {
            assert!(Instant::now() < deadline, "the sleepers did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        let sleepers = descendants(id);
        drop(server);
        for pid in sleepers {
            // Killed, but perhaps still to be buried by its new parent.
            wait_for_end(pid, Duration::from_secs(10));
        }
    }

    #[test]
    #[should_panic(expected = "false does not start")]
    fn a_server_that_ends_at_once_is_reported() {
        Server::start(
            "false",
            Path::new("/nonexistent"),
            |_| Command::new("false").spawn().expect("false"),
            |_| false,
        );
    }
}
