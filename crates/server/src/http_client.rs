// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server's own HTTP requests: for the keys of token issuers, and for webhooks.

use std::time::Duration;

use oxtree_transfer::http::describe;
use oxtree_transfer::http::proxy::{Proxies, Rules};
use reqwest::{RequestBuilder, Response, Url};

/// A client that trusts the system's certificates, uses the proxies of the environment, and goes where it was
/// sent only.
pub(crate) struct HttpClient {
    client: reqwest::Client,
    rules: Rules,
}

impl HttpClient {
    pub(crate) fn new(timeout: Duration) -> Result<Self, String> {
        // An error says that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let rules = Rules::new(&Proxies::of(set), None).map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("oxtree/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout);
        let client = rules
            .apply(client)
            .build()
            .map_err(|error| describe(&error))?;
        Ok(Self { client, rules })
    }

    pub(crate) fn get(&self, url: &str) -> RequestBuilder {
        self.client.get(url)
    }

    pub(crate) fn post(&self, url: &str) -> RequestBuilder {
        self.client.post(url)
    }

    /// Sends a request that was made by this client. Only success is no error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, String> {
        let request = request.build().map_err(|error| describe(&error))?;
        let url: Url = request.url().clone();
        let response = self.client.execute(request).await;
        let response = response.map_err(|error| describe(&error) + &self.rules.through(&url))?;
        let status = response.status();
        match status.is_success() {
            true => Ok(response),
            false => {
                let way = self.rules.through_to(&url, status);
                Err(format!("it answers {status}{way}"))
            }
        }
    }
}
