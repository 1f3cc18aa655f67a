// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories over HTTP: files for clients that pull, as any web server serves them, and an API for
//! clients that push.
//!
//! The rules for a push are in `oxtree_transfer::receive`. This crate has the requests and answers. The API is described in `docs/http.md`.

pub mod access;
mod answer;
mod api;
mod app;
mod body;
mod clock;
mod config;
mod context;
mod error;
mod files;
#[doc(hidden)]
pub mod fuzz;
mod http_client;
mod jobs;
mod legacy;
mod limits;
mod log;
mod metrics;
pub mod multipart;
mod net;
mod proxies;
mod request;
mod routes;
mod served;

pub use access::issuers::{IssuerConfig, KeySource, Rule};
pub use access::tokens::{Token, TokenError, TokenFile, random};
pub use access::{Client, Permission};
pub use config::{Address, Config, TlsFiles};
pub use error::{Error, Result};
pub use ipnet::IpNet;
pub use jobs::retention::{Retention, RetentionRule};
pub use jobs::webhooks::Webhook;
pub use net::run;
pub use oxtree_transfer::limits::Caps;
pub use routes::openapi_document;
pub use served::{OpenDestination, ServedConfig};
