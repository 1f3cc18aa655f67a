// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of our own: for keys, and to those who want to be told.

use std::time::Duration;

/// A client that trusts the system's certificates and goes where it was sent only.
pub(crate) fn client(timeout: Duration) -> Result<reqwest::Client, String> {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("oxtree/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .build()
        .map_err(|error| error.to_string())
}
