// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real nginx that serves a directory on loopback.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::Server;

/// A running nginx; it is gone on drop.
#[derive(Debug)]
pub struct WebServer {
    _server: Server,
    port: u16,
    dir: tempfile::TempDir,
}

/// A request that the server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path, without the query, as nginx decoded it.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
    /// Bytes of the body sent.
    pub bytes: u64,
}

impl WebServer {
    /// Serves `root` and waits until it answers.
    ///
    /// # Panics
    /// When nginx is missing or does not start; the message has its log.
    #[must_use]
    pub fn serve(root: impl AsRef<Path>) -> WebServer {
        let root = fs::canonicalize(root.as_ref()).expect("a directory to serve");
        Self::with(&format!(
            "listen 127.0.0.1:PORT; root \"{}\"; autoindex off;",
            root.display()
        ))
    }

    /// The same with this in the section `server`, where `PORT` is the port. There is a cache `all` for `proxy_cache`.
    ///
    /// # Panics
    /// When nginx is missing or does not start; the message has its log.
    #[must_use]
    pub fn with(section: &str) -> WebServer {
        let dir = crate::temp_dir();
        let config = dir.path().join("nginx.conf");
        let log = dir.path().join("error.log");
        let (server, port) = Server::start(
            "nginx",
            &log,
            |port| {
                let section = section.replace("PORT", &port.to_string());
                fs::write(&config, configuration(dir.path(), &section)).expect("write nginx.conf");
                let mut command = Command::new("/usr/sbin/nginx");
                command
                    .arg("-p")
                    .arg(dir.path())
                    .arg("-e")
                    .arg(&log)
                    .arg("-c")
                    .arg(&config);
                command.stdin(Stdio::null()).stderr(Stdio::null());
                command
                    .spawn()
                    .expect("start /usr/sbin/nginx (package nginx-light)")
            },
            |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(),
        );
        WebServer {
            _server: server,
            port,
            dir,
        }
    }

    /// `http://127.0.0.1:PORT/`, the root that is served.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was asked for so far, in the order of the answers' ends.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        let log =
            fs::read_to_string(self.dir.path().join("access.log")).expect("read the access log");
        log.lines().map(parse_request).collect()
    }
}

fn parse_request(line: &str) -> Request {
    let mut fields = line.splitn(3, ' ');
    let mut field = || {
        fields
            .next()
            .unwrap_or_else(|| panic!("odd access log line: {line}"))
    };
    let number = |text: &str| {
        text.parse()
            .unwrap_or_else(|_| panic!("odd access log line: {line}"))
    };
    Request {
        status: u16::try_from(number(field())).expect("an HTTP status"),
        bytes: number(field()),
        path: field().to_owned(),
    }
}

fn configuration(dir: &Path, section: &str) -> String {
    // As root, the worker keeps that identity: it must read what the tests wrote.
    let user = if crate::is_root() { "user root;" } else { "" };
    let dir = dir.display();
    format!(
        "{user}
daemon off;
worker_processes 1;
pid {dir}/pid;
events {{ worker_connections 512; }}
http {{
    log_format plain '$status $body_bytes_sent $uri';
    access_log {dir}/access.log plain;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    proxy_cache_path {dir}/cache keys_zone=all:1m;
    fastcgi_temp_path {dir}/fastcgi;
    scgi_temp_path {dir}/scgi;
    uwsgi_temp_path {dir}/uwsgi;
    default_type application/octet-stream;
    sendfile on;
    server {{ {section} }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn get(url: &str, path: &str) -> String {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).expect("connect");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read the answer");
        answer
    }

    #[test]
    fn files_are_served_counted_and_gone_after_drop() {
        let root = crate::temp_dir();
        fs::write(root.path().join("a file"), "hello").expect("write");
        let web = WebServer::serve(root.path());
        assert!(get(&web.url(), "/a%20file").ends_with("\r\n\r\nhello"));
        assert!(get(&web.url(), "/nothing").starts_with("HTTP/1.1 404"));
        let requests = web.requests();
        assert_eq!(
            requests[0],
            Request {
                path: "/a file".into(),
                status: 200,
                bytes: 5
            }
        );
        assert_eq!(
            (requests[1].path.as_str(), requests[1].status),
            ("/nothing", 404)
        );
        let port = web.port;
        drop(web);
        // Workers end a moment later, and another test's server may be given the port.
        let gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
        });
        assert!(gone, "somebody still listens on port {port}");
    }
}
