// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tokens, for an administrator.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use oxtree_transfer::limits::Caps;
use serde::{Deserialize, Serialize};

use crate::access::Permission;
use crate::access::tokens::{Token, TokenError, TokenFile};
use crate::answer::{Answer, Fault, blocking, json};
use crate::app::App;
use crate::clock::now;
use crate::context::Context;
use crate::request::read_json;

/// The request for a new token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    name: String,
    permissions: Vec<Permission>,
    /// Seconds from now.
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    repos: Option<Vec<String>>,
    #[serde(default)]
    refs: Option<Vec<String>>,
    #[serde(default)]
    limits: Caps,
}

#[derive(Serialize)]
struct Made {
    /// The secret: it is told this once.
    token: String,
    #[serde(flatten)]
    about: Token,
}

/// An event of a token, for the audit log.
#[derive(Serialize)]
struct Line<'a> {
    time: u64,
    identity: Option<&'a str>,
    client: IpAddr,
    result: &'static str,
    token: &'a str,
    /// Its permissions, if it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'a Token>,
}

fn note(app: &App, context: &Context, result: &'static str, name: &str, about: Option<&Token>) {
    let identity = context.client.name.as_deref();
    let client = context.address;
    tracing::info!("{result}: {name}, by {identity:?} from {client}");
    let line = Line {
        time: now(),
        identity,
        client,
        result,
        token: name,
        about,
    };
    if let Some(Err(error)) = app.audit.as_ref().map(|log| log.add(&line)) {
        tracing::error!("writing to the audit log: {error}");
    }
}

fn file(app: &App) -> Answer<&TokenFile> {
    let none = || Fault::not_found("this server has no tokens");
    app.gate.tokens.as_ref().ok_or_else(none)
}

impl From<TokenError> for Fault {
    fn from(error: TokenError) -> Self {
        let status = match error {
            TokenError::Exists(_) => StatusCode::CONFLICT,
            TokenError::NotFound(_) => StatusCode::NOT_FOUND,
            TokenError::Name(_) | TokenError::AdminOfSome => StatusCode::BAD_REQUEST,
            TokenError::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer {
    blocking(move || {
        let tokens = file(&app)?.all()?;
        let tokens = tokens.iter().cloned().map(|token| Token {
            hash: String::new(),
            ..token
        });
        let tokens: Vec<Token> = tokens.collect();
        Ok(json(StatusCode::OK, &serde_json::json!({"tokens": tokens})))
    })
    .await
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Answer {
    let (wish, _held): (Wish, _) = read_json(&app, &context.client_id(), body).await?;
    blocking(move || {
        let now = now();
        let mut about = Token {
            name: wish.name,
            hash: String::new(),
            created: now,
            expires: wish.expires_in.map(|seconds| now.saturating_add(seconds)),
            repos: wish.repos,
            refs: wish.refs,
            permissions: wish.permissions,
            limits: wish.limits,
        };
        let token = file(&app)?.create(about.clone())?;
        about.hash.clear();
        note(&app, &context, "token-created", &about.name, Some(&about));
        Ok(json(StatusCode::CREATED, &Made { token, about }))
    })
    .await
}

pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Path(name): Path<String>,
) -> Answer {
    blocking(move || {
        file(&app)?.revoke(&name)?;
        note(&app, &context, "token-revoked", &name, None);
        Ok::<Response, Fault>(StatusCode::NO_CONTENT.into_response())
    })
    .await
}
