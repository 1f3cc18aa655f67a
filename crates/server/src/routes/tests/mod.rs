// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server as a function of a request, without a network: every route with every permission, what
//! clients of some refs may see, a push, and the OpenAPI document.

mod openapi;
mod permissions;
mod push;
mod visibility;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use oxtree_format::commit::NewCommit;
use oxtree_format::{
    CommitId, DirId, DirMeta, DirMetaId, DirTreeId, FileHeader, ObjectKind, Xattrs, dirtree,
};
use oxtree_repo::{Mode, RefUpdate, Repo, Transaction};
use oxtree_transfer::limits::Caps;
use oxtree_transfer::receive::LocalReceiver;
use serde_json::Value;

use super::*;
use crate::access::tokens::{Token, TokenFile};
use crate::config::Config;
use crate::served::ServedConfig;

/// A server with the repository `os/stable`, to which clients without a token may do nothing.
struct Server {
    dir: tempfile::TempDir,
    service: Service,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Server {
    fn new() -> Self {
        Self::with_anonymous(Client::default())
    }

    fn with_anonymous(anonymous: Client) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("repo");
        Repo::create(&path, Mode::Archive, None).unwrap();
        let open = path.clone();
        let config = Config {
            listen: Vec::new(),
            tls: None,
            insecure: false,
            repositories: vec![ServedConfig {
                name: "os/stable".to_owned(),
                path,
                open: Box::new(move |_| Ok(LocalReceiver::new(Repo::open(&open)?))),
                webhooks: Vec::new(),
                retention: None,
            }],
            agent: "test".to_owned(),
            anonymous,
            tokens: Some(dir.path().join("tokens.json")),
            issuers: Vec::new(),
            trusted_proxies: Vec::new(),
            access_log: None,
            audit_log: None,
            shutdown_delay: Duration::ZERO,
            push_lifetime: 60,
            header_timeout: Duration::from_secs(1),
            send_timeout: Duration::from_secs(1),
            max_connections: 1,
            max_connections_per_client: 1,
        };
        let service = Service::new(&Arc::new(App::new(config).unwrap()));
        Self { dir, service }
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// Makes a token, and returns its secret.
    fn token(&self, name: &str, permissions: &[Permission], limits: TokenLimits<'_>) -> String {
        let patterns =
            |all: Option<&[&str]>| all.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
        let token = Token {
            name: name.to_owned(),
            hash: String::new(),
            created: 1,
            expires: None,
            repos: patterns(limits.repos),
            refs: patterns(limits.refs),
            permissions: permissions.to_vec(),
            limits: Caps::default(),
        };
        let tokens = TokenFile::new(self.dir.path().join("tokens.json"));
        tokens.create(token).unwrap()
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> Reply {
        self.send(method, path, token, ("", Vec::new())).await
    }

    /// Sends a body of this type.
    async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        (kind, body): (&str, Vec<u8>),
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(CONTENT_LENGTH, body.len());
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let here = Peer {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            tls: false,
        };
        let request = request.body(Body::from(body)).unwrap();
        let response = self.service.answer(request, here, &Arc::default()).await;
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_vec(),
        }
    }
}

/// The repositories and refs that a token is for; all, by default.
#[derive(Clone, Copy, Default)]
struct TokenLimits<'a> {
    repos: Option<&'a [&'a str]>,
    refs: Option<&'a [&'a str]>,
}

/// Publishes a commit with one file.
fn publish(repo: &Path, subject: &str, name: &str) -> CommitId {
    let repo = Repo::open(repo).unwrap();
    let transaction = Transaction::begin(&repo).unwrap();
    let header = FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink: None,
        xattrs: Xattrs::NONE,
    };
    let file = transaction.write_file_bytes(&header, b"hello", None);
    let meta = DirMeta {
        uid: 0,
        gid: 0,
        mode: 0o040_755,
        xattrs: Xattrs::NONE,
    };
    let write = |kind, bytes: &[u8]| transaction.write_metadata(kind, bytes, None).unwrap();
    let tree = dirtree::write([("f", file.unwrap())], []).unwrap();
    let commit = NewCommit {
        metadata: Vec::new(),
        parent: None,
        subject,
        body: "",
        timestamp: 1,
        root: DirId {
            meta: DirMetaId(write(ObjectKind::DirMeta, &meta.to_bytes())),
            tree: DirTreeId(write(ObjectKind::DirTree, &tree)),
        },
    };
    let commit = CommitId(write(ObjectKind::Commit, &commit.to_bytes().unwrap()));
    let update = RefUpdate::set(name.parse().unwrap(), commit);
    transaction.commit(&[update]).unwrap();
    commit
}
