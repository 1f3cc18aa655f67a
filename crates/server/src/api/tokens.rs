// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tokens, for an administrator.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use serde::{Deserialize, Serialize};

use super::fault::{Answer, Fault, json};
use super::{blocking, read_json};
use crate::access::Permission;
use crate::access::tokens::{Sizes, Token, TokenError, TokenFile};
use crate::app::App;
use crate::site::now;

/// What is wanted of a new token.
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
    limits: Sizes,
}

#[derive(Serialize)]
struct Made {
    /// The secret: it is told this once.
    token: String,
    #[serde(flatten)]
    about: Token,
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

pub(super) async fn list(State(app): State<Arc<App>>) -> Answer {
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

pub(super) async fn create(State(app): State<Arc<App>>, body: Body) -> Answer {
    let wish: Wish = read_json(body).await?;
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
        let mut response = json(StatusCode::CREATED, &Made { token, about });
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, never);
        Ok(response)
    })
    .await
}

pub(super) async fn revoke(State(app): State<Arc<App>>, Path(name): Path<String>) -> Answer {
    blocking(move || {
        file(&app)?.revoke(&name)?;
        Ok::<Response, Fault>(StatusCode::NO_CONTENT.into_response())
    })
    .await
}
