// SPDX-License-Identifier: MIT OR Apache-2.0
//! The OpenAPI document: `openapi.json`, with the summaries of the list of routes.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use super::{of_repositories, of_the_server};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| with_summaries().to_string());

fn with_summaries() -> Value {
    let document = serde_json::from_str(include_str!("openapi.json"));
    let mut document: Value = document.unwrap_or_default();
    for route in of_repositories().into_iter().chain(of_the_server()) {
        document["paths"][route.path][route.method]["summary"] = route.summary.into();
    }
    document
}

/// The OpenAPI document of the API, as the server sends it.
pub fn openapi_document() -> &'static str {
    &DOCUMENT
}

/// `GET /api/v1/openapi.json`
pub(super) async fn document() -> Response {
    let kind = [(CONTENT_TYPE, "application/json")];
    (kind, openapi_document()).into_response()
}
