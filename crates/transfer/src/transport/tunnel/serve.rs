// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository as an archive on a web server of this machine: what a pull asks for, and nothing
//! else. Files of other modes are packed as they are asked for. Whoever does not know the path, which
//! is made by chance, sees nothing.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_LENGTH;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use oxtree_format::refs::Refspec;
use oxtree_format::{CommitId, FileId, ObjectId, ObjectKind};
use oxtree_repo::Repo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::error::{Error, Result};
use crate::http::{random, runtime};
use crate::store::archived::{Archived, Packed};

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    secret: String,
    _runtime: Runtime,
}

impl Server {
    pub(super) fn start(repo: &Repo) -> Result<Self> {
        let runtime = runtime()?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .map_err(Error::Connection)?;
        let port = listener.local_addr().map_err(Error::Connection)?.port();
        let secret = format!("{:016x}{:016x}", random()?, random()?);
        let view = Arc::new(View {
            repo: Repo::open(repo.path())?,
            summary: repo.summary_of_refs()?,
            prefix: format!("/{secret}/"),
        });
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(Arc::clone(&view), stream));
            }
        });
        Ok(Self {
            port,
            secret,
            _runtime: runtime,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The URL for somebody to whom we are at `port`.
    pub(super) fn url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}/{}", self.secret)
    }
}

/// What is served.
#[derive(Debug)]
struct View {
    repo: Repo,
    summary: Vec<u8>,
    prefix: String,
}

async fn talk(view: Arc<View>, stream: TcpStream) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let view = Arc::clone(&view);
        async move {
            let answered = tokio::task::spawn_blocking(move || view.answer(&request)).await;
            Ok::<_, std::convert::Infallible>(answered.unwrap_or_else(|_| failed()))
        }
    });
    // It may put down the receiver at any time.
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!("serving the receiver: {error}");
    }
}

impl View {
    fn answer(&self, request: &Request<Incoming>) -> Response<Content> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return status(StatusCode::METHOD_NOT_ALLOWED);
        }
        let path = request.uri().path();
        let Some(path) = path.strip_prefix(&self.prefix) else {
            return status(StatusCode::NOT_FOUND);
        };
        match self.find(path) {
            Ok(Some(content)) => Response::new(content),
            Ok(None) => status(StatusCode::NOT_FOUND),
            Err(error) => {
                tracing::warn!("{path}: {error}");
                failed()
            }
        }
    }

    fn find(&self, path: &str) -> Result<Option<Content>> {
        match path {
            "summary" => return Ok(Some(Content::whole(self.summary.clone()))),
            "config" => {
                let config = b"[core]\nrepo_version=1\nmode=archive-z2\n";
                return Ok(Some(Content::whole(config.to_vec())));
            }
            _ => {}
        }
        if let Some(name) = path.strip_prefix("refs/heads/") {
            let Ok(name) = name.parse() else {
                return Ok(None);
            };
            let commit = self.repo.read_ref(&Refspec { remote: None, name })?;
            return Ok(commit.map(|commit| Content::whole(format!("{commit}\n").into_bytes())));
        }
        let object = path
            .strip_prefix("objects/")
            .and_then(|path| path.split_once('/'));
        let object = object.and_then(|(dir, file)| ObjectId::from_loose(dir, file, true));
        match object {
            Some(object) => match self.object(&object) {
                Err(Error::Repo(error)) if error.is_missing_object() => Ok(None),
                found => found,
            },
            None => Ok(None),
        }
    }

    fn object(&self, object: &ObjectId) -> Result<Option<Content>> {
        match object.kind {
            ObjectKind::File => self.file(FileId(object.checksum)).map(Some),
            ObjectKind::CommitMeta => {
                let found = self
                    .repo
                    .load_detached_metadata(CommitId(object.checksum))?;
                Ok(found.map(Content::whole))
            }
            ObjectKind::Commit | ObjectKind::DirTree | ObjectKind::DirMeta => {
                Ok(Some(Content::whole(self.repo.load_metadata(object)?)))
            }
            _ => Ok(None),
        }
    }

    fn file(&self, id: FileId) -> Result<Content> {
        let file = Archived::open(&self.repo, id)?;
        let size = file.size();
        Ok(Content::Stream(file.into_body(None, ()), size))
    }
}

fn status(code: StatusCode) -> Response<Content> {
    let mut response = Response::new(Content::whole(Vec::new()));
    *response.status_mut() = code;
    let zero = hyper::header::HeaderValue::from_static("0");
    response.headers_mut().insert(CONTENT_LENGTH, zero);
    response
}

fn failed() -> Response<Content> {
    status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The body of an answer.
#[derive(Debug)]
enum Content {
    Whole(Option<Bytes>),
    /// With its size, if that is known.
    Stream(Packed, Option<u64>),
}

impl Content {
    fn whole(bytes: Vec<u8>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => {
                let bytes = bytes.take().filter(|bytes| !bytes.is_empty());
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Stream(file, _) => Pin::new(file).poll_frame(context),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(_, Some(size)) => SizeHint::with_exact(*size),
            Self::Stream(_, None) => SizeHint::default(),
        }
    }
}
