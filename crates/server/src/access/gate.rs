// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the client of a request by its headers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{AUTHORIZATION, ORIGIN};
use hyper::{HeaderMap, StatusCode};

use super::failures::{Failures, Verdict};
use super::issuers::Issuers;
use super::tokens::TokenFile;
use super::{Client, Permission};
use crate::answer::{Answer, Fault};

/// Authenticates clients, with or without a token.
#[derive(Debug)]
pub(crate) struct Gate {
    anonymous: Arc<Client>,
    /// The same for a web page in a browser, which may only read.
    page: Arc<Client>,
    pub(crate) tokens: Option<TokenFile>,
    issuers: Issuers,
    failures: Failures,
    pub(crate) refused: AtomicU64,
}

impl Gate {
    pub(crate) fn new(anonymous: Client, tokens: Option<TokenFile>, issuers: Issuers) -> Self {
        let reads = anonymous.can(Permission::Read).then_some(Permission::Read);
        let page = Client {
            permissions: reads.into_iter().collect(),
            ..anonymous.clone()
        };
        Self {
            anonymous: Arc::new(anonymous),
            page: Arc::new(page),
            tokens,
            issuers,
            failures: Failures::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether any token could be valid here.
    pub(crate) fn knows_tokens(&self) -> bool {
        self.tokens.is_some() || !self.issuers.is_empty()
    }

    /// The permissions of clients without a token.
    pub(crate) fn anonymous(&self) -> &Arc<Client> {
        &self.anonymous
    }

    /// The client. A token must be valid even if the request needs none.
    pub(crate) async fn client(
        &self,
        headers: &HeaderMap,
        from: IpAddr,
        now: u64,
    ) -> Answer<Arc<Client>> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let Some(shown) = all.next() else {
            // A page can make a browser send requests that its user knows nothing of.
            let client = match headers.contains_key(ORIGIN) {
                true => &self.page,
                false => &self.anonymous,
            };
            return Ok(Arc::clone(client));
        };
        if all.next().is_some() {
            return Err(Fault::bad_request("more than one Authorization"));
        }
        let bearer = shown.to_str().ok().and_then(|shown| {
            let (scheme, secret) = shown.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(secret.trim())
        });
        let found = match bearer {
            None => Err("the scheme of Authorization is not Bearer".to_owned()),
            Some(secret) => self.find(secret, now).await?,
        };
        found
            .map(Arc::new)
            .map_err(|reason| self.refuse(from, now, &reason))
    }

    async fn find(&self, secret: &str, now: u64) -> Answer<Result<Client, String>> {
        if let Some(tokens) = &self.tokens {
            let found = tokens.find(secret, now);
            // The client does not learn what is wrong with the file.
            let found = found.map_err(|error| {
                tracing::error!("{error}");
                Fault::internal("the server's tokens cannot be read")
            })?;
            if let Some(token) = found {
                return Ok(Ok(token.client()));
            }
        }
        match self.issuers.client(secret, now).await {
            Some(judged) => Ok(judged),
            None => Ok(Err("a token that is not known, or has expired".to_owned())),
        }
    }

    fn refuse(&self, from: IpAddr, now: u64, reason: &str) -> Fault {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let verdict = self.failures.note(from, now);
        match verdict {
            Verdict::Tell => tracing::warn!("refused a token from {from}: {reason}"),
            Verdict::Enough => tracing::warn!("refused many tokens from {from}; no more is said"),
            Verdict::Ignore => {}
        }
        match verdict {
            Verdict::Tell => Fault::new(
                StatusCode::UNAUTHORIZED,
                "this token does not count: it is not known here, has expired or was revoked",
            ),
            Verdict::Enough | Verdict::Ignore => Fault {
                retry_after: Some(60),
                ..Fault::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many tokens that do not count",
                )
            },
        }
    }
}
