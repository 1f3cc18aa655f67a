// SPDX-License-Identifier: MIT OR Apache-2.0
//! `oxtree serve` behind nginx, haproxy (HTTP/2), squid and varnish: the stock client pulls, ours pulls
//! and pushes with a token, and ranges stay what they are.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use oxtree_testkit::{Authority, Proxy, Repo, Serve, Tool, WebServer, temp_dir, trees};

use crate::OXTREE;

/// A server of ours with a repository that anybody may read, and a token for pushes.
struct Behind {
    dir: tempfile::TempDir,
    store: Repo,
    token: String,
    server: Serve,
}

impl Behind {
    fn new() -> Self {
        let dir = temp_dir();
        let at = |name: &str| dir.path().join(name);
        let oxtree = Tool::new(OXTREE);
        fs::create_dir(at("tree")).expect("mkdir");
        trees::many(&at("tree"), 60, 1);
        trees::incompressible(&at("tree/big"), 3_000_000, 2);
        let store = oxtree.repo(at("store")).init("archive").without_fsync();
        store.commit("os/main", at("tree"), &[]);
        store.ok("summary", ["-u"]);
        let tokens = at("tokens.json").display().to_string();
        let create = [
            "token", "create", "ci", "--allow", "push", "--tokens", &tokens,
        ];
        let token = oxtree.ok(create).trim().to_owned();
        let repo = at("store").display().to_string();
        let serve = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--tokens",
            &tokens,
            &repo,
        ];
        let server = Serve::run(oxtree.command(serve), at("log"));
        Self {
            store,
            token,
            server,
            dir,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// All that has to work through the front at this URL, which ends in a slash.
    fn check(&self, url: &str, ca: Option<&Path>) {
        let trusting = |tool: Tool| ca.into_iter().fold(tool, Tool::trusting);
        let (stock, ours) = (trusting(Tool::ostree()), trusting(Tool::new(OXTREE)));
        let pull = |tool: &Tool, name: &str, branch: &str| {
            let repo = tool.repo(self.at(name)).init("archive").without_fsync();
            repo.ok("remote", ["add", "--no-gpg-verify", "o", url]);
            repo.ok("pull", ["o", branch]);
            repo.ok("fsck", ["--quiet"]);
            assert_eq!(
                repo.rev_parse(&format!("o:{branch}")),
                self.store.rev_parse(branch)
            );
            repo
        };
        let first = pull(&stock, "stock", "os/main");
        pull(&ours, "ours", "os/main");

        // A push without the token, and with it.
        let source = Tool::new(OXTREE)
            .repo(self.at("source"))
            .init("archive")
            .without_fsync();
        trees::incompressible(&self.at("tree/more"), 2_000_000, 3);
        let commit = source.commit("os/new", self.at("tree"), &[]);
        let words = [
            &format!("--repo={}", self.at("source").display()),
            url,
            "os/new",
        ];
        let push = |tool: &Tool| tool.run([&["push"], &words[..]].concat());
        let refused = push(&ours).expect_failure().stderr();
        assert!(refused.contains("token"), "{refused}");
        push(&ours.clone().env("OXTREE_TOKEN", &self.token)).expect_ok();
        assert_eq!(self.store.rev_parse("os/new"), commit);
        // Nobody is told what a cache has kept: the summary has the new ref.
        first.ok("pull", ["o", "os/new"]);
        pull(&ours, "again", "os/new");

        // A range is what it was asked to be, also of a file that the front has kept.
        let (whole, path) = self.largest();
        let file = format!("{url}{path}");
        for (range, part) in [
            ("0-0", &whole[..1]),
            ("1000-1999", &whole[1000..2000]),
            ("-7", &whole[whole.len() - 7..]),
        ] {
            let to = self.at("part");
            let words = [
                "-sS",
                "-q",
                "--fail",
                "-w",
                "%{http_code}",
                "-r",
                range,
                "-o",
                to.to_str().expect("UTF-8"),
                &file,
            ];
            let status = trusting(Tool::new("/usr/bin/curl")).ok(words);
            assert_eq!(status, "206", "{range}");
            assert_eq!(fs::read(&to).expect("read"), part, "{range}");
        }
    }

    /// The largest file of the repository, and its path there.
    fn largest(&self) -> (Vec<u8>, String) {
        let root = self.store.path();
        let dirs = fs::read_dir(root.join("objects")).expect("list").flatten();
        let files = dirs.flat_map(|dir| fs::read_dir(dir.path()).expect("list").flatten());
        let largest = files
            .max_by_key(|file| file.metadata().expect("stat").len())
            .expect("a file");
        let path = largest.path();
        let name = path.strip_prefix(root).expect("below the root");
        (fs::read(&path).expect("read"), name.display().to_string())
    }
}

/// As docs/serve.md has it.
#[test]
fn nginx() {
    let behind = Behind::new();
    let front = WebServer::with(&format!(
        "listen 127.0.0.1:PORT; location / {{ proxy_pass http://{}; proxy_http_version 1.1; \
         proxy_request_buffering off; proxy_buffering off; proxy_read_timeout 10m; client_max_body_size 0; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Forwarded \"\"; }}",
        behind.address()
    ));
    behind.check(&front.url(), None);
}

#[test]
fn haproxy() {
    let behind = Behind::new();
    let authority = Authority::new();
    let certificate = authority.issue("front", "DNS:localhost,IP:127.0.0.1");
    let front = Proxy::haproxy(behind.address(), &certificate);
    let url = format!("https://localhost:{}/", front.port());
    let curl = Tool::new("/usr/bin/curl").trusting(&authority.cert());
    let version = curl.ok([
        "-sS",
        "-q",
        "-o",
        "/dev/null",
        "-w",
        "%{http_version}",
        &format!("{url}config"),
    ]);
    assert_eq!(version, "2");
    behind.check(&url, Some(&authority.cert()));
}

#[test]
fn squid() {
    let behind = Behind::new();
    let front = Proxy::squid(behind.address());
    behind.check(&format!("http://127.0.0.1:{}/", front.port()), None);
}

#[test]
fn varnish() {
    let behind = Behind::new();
    let front = Proxy::varnish(behind.address());
    behind.check(&format!("http://127.0.0.1:{}/", front.port()), None);
}
