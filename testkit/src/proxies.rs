// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proxies that stand before servers: haproxy, squid and varnish, on loopback.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::Server;
use crate::{Certificate, Tool};

/// A proxy that hands all requests to one server; it is gone on drop.
#[derive(Debug)]
pub struct Proxy {
    _server: Server,
    port: u16,
    _dir: tempfile::TempDir,
}

/// squid's shared memory, which stays when it is killed.
fn shared_memory(port: u16) -> String {
    format!("oxtree{}x{port}", std::process::id())
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let ours = shared_memory(self.port) + "-";
        let files = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        for file in files.filter(|file| file.file_name().to_string_lossy().starts_with(&ours)) {
            // Nobody else uses it, and the next one has another name.
            let _ = fs::remove_file(file.path());
        }
    }
}

impl Proxy {
    /// haproxy: TLS with HTTP/2 towards clients, HTTP/2 without TLS towards the server.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn haproxy(upstream: SocketAddr, certificate: &Certificate) -> Self {
        let read = |path| fs::read_to_string(path).expect("a certificate and its key");
        let both = read(&certificate.cert) + &read(&certificate.key);
        Self::start("/usr/sbin/haproxy", |dir, port| {
            let (pem, conf) = (dir.join("both.pem"), dir.join("conf"));
            fs::write(&pem, &both).expect("write");
            let text = format!(
                "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
                 timeout server 60s\nfrontend f\n  bind 127.0.0.1:{port} ssl crt {} alpn h2,http/1.1\n  \
                 option forwardfor\n  default_backend b\nbackend b\n  server s {upstream} proto h2\n",
                pem.display()
            );
            fs::write(&conf, text).expect("write");
            vec![
                "-db".to_owned(),
                "-f".to_owned(),
                conf.display().to_string(),
            ]
        })
    }

    /// squid as an accelerator, with a cache in memory; it passes `Authorization` on.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn squid(upstream: SocketAddr) -> Self {
        Self::start("/usr/sbin/squid", |dir, port| {
            let conf = dir.join("conf");
            let (at, to) = (dir.display(), upstream.port());
            // As root, it becomes the user `proxy`, who writes there.
            let all = fs::Permissions::from_mode(0o777);
            fs::set_permissions(dir, all).expect("chmod");
            let text = format!(
                "http_port 127.0.0.1:{port} accel defaultsite=localhost no-vhost\n\
                 cache_peer 127.0.0.1 parent {to} 0 no-query no-digest originserver login=PASSTHRU\n\
                 http_access allow all\nnever_direct allow all\ncache_mem 16 MB\n\
                 pid_filename {at}/pid\naccess_log none\ncache_log {at}/cache.log\ncoredump_dir {at}\n\
                 netdb_filename none\npinger_enable off\nicp_port 0\nshutdown_lifetime 0 seconds\n\
                 max_filedescriptors 1024\nvisible_hostname localhost\n"
            );
            fs::write(&conf, text).expect("write");
            let name = shared_memory(port);
            ["-N", "-n", &name, "-f", &conf.display().to_string()]
                .map(str::to_owned)
                .to_vec()
        })
    }

    /// varnish with a cache in memory.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn varnish(upstream: SocketAddr) -> Self {
        Self::start("/usr/sbin/varnishd", |dir, port| {
            let (listen, upstream) = (format!("127.0.0.1:{port}"), upstream.to_string());
            let work = dir.join("varnish").display().to_string();
            let words = [
                "-F", "-j", "none", "-a", &listen, "-b", &upstream, "-n", &work,
            ];
            words
                .iter()
                .chain(&["-s", "malloc,16m"])
                .map(|word| (*word).to_owned())
                .collect()
        })
    }

    fn start(program: &str, arguments: impl Fn(&Path, u16) -> Vec<String>) -> Self {
        let dir = crate::temp_dir();
        let log = dir.path().join("log");
        let (server, port) = Server::start(
            program,
            &log,
            |port| {
                let output = File::create(&log).expect("create a log");
                let errors = output.try_clone().expect("duplicate a descriptor");
                let mut command: Command = Tool::new(program).command(arguments(dir.path(), port));
                command.stdin(Stdio::null()).stdout(output).stderr(errors);
                command
                    .spawn()
                    .unwrap_or_else(|e| panic!("{program}: {e}: run scripts/setup"))
            },
            |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(),
        );
        Self {
            _server: server,
            port,
            _dir: dir,
        }
    }

    /// The port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
