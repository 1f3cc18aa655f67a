// SPDX-License-Identifier: MIT OR Apache-2.0
//! Webhooks: each push is reported to them by a signed POST with the changes, repeated until it arrives.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use oxtree_format::checksum::hex;
use oxtree_repo::refs::pattern::fits;
use oxtree_transfer::protocol::message::RefOutcome;
use ring::hmac;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Jobs, Tried};
use crate::access::tokens::random;
use crate::clock::now;
use crate::http_client::HttpClient;

/// A webhook.
#[derive(Clone)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// The key that signs messages; empty for no signature.
    pub secret: Vec<u8>,
    /// Patterns of the refs it is notified of; empty for all.
    pub refs: Option<Vec<String>>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.url)
            .field("refs", &self.refs)
            .finish_non_exhaustive()
    }
}

/// A message for a webhook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(super) id: String,
    pub(super) url: String,
    /// The patterns of its webhook: another webhook may have the same URL and another secret.
    #[serde(default)]
    refs: Option<Vec<String>>,
    body: String,
    #[serde(flatten)]
    pub(super) tried: Tried,
}

impl Delivery {
    /// Whether it is this one that is to be told.
    pub(super) fn is_for(&self, webhook: &Webhook) -> bool {
        self.url == webhook.url && self.refs == webhook.refs
    }
}

/// The body of the message.
#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    /// Seconds since 1970.
    time: u64,
    repo: &'a str,
    user: Option<&'a str>,
    refs: Vec<&'a RefOutcome>,
}

/// The first pause after a failure, and the longest, in seconds.
const PAUSES: (u64, u64) = (5, 1800);

/// After so many it is given up: about five hours.
const MAX_TRIES: u32 = 18;

/// How long they may take.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Webhook {
    pub(super) fn delivery(
        &self,
        repo: &str,
        user: Option<&str>,
        changes: &[&RefOutcome],
    ) -> Option<Delivery> {
        let wanted = |change: &&&RefOutcome| {
            let name = change.name.to_string();
            let refs = self.refs.as_ref();
            refs.is_none_or(|refs| refs.iter().any(|pattern| fits(pattern, &name)))
        };
        let refs: Vec<&RefOutcome> = changes.iter().filter(wanted).copied().collect();
        if refs.is_empty() {
            return None;
        }
        let id = format!("webhook-{}", hex(&random::<16>().ok()?));
        let body = serde_json::to_string(&Message {
            id: &id,
            time: now(),
            repo,
            user,
            refs,
        });
        Some(Delivery {
            body: body.ok()?,
            id,
            url: self.url.clone(),
            refs: self.refs.clone(),
            tried: Tried::default(),
        })
    }

    async fn tell(&self, delivery: &Delivery) -> Result<(), String> {
        let client = HttpClient::new(TIMEOUT)?;
        let mut request = client
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("X-Oxtree-Event", "push")
            .header("X-Oxtree-Delivery", &delivery.id);
        if !self.secret.is_empty() {
            request = request.header("X-Oxtree-Signature", self.sign(&delivery.body));
        }
        client.send(request.body(delivery.body.clone())).await?;
        Ok(())
    }

    fn sign(&self, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        format!("sha256={}", hex(hmac::sign(&key, body.as_bytes()).as_ref()))
    }
}

impl Jobs {
    /// Delivers messages as they come. No webhook waits for another one.
    pub(crate) async fn call(jobs: Arc<Self>) {
        let each = jobs.webhooks.iter().zip(&jobs.calls);
        join_all(each.map(|(webhook, calls)| jobs.call_one(webhook, calls))).await;
    }

    async fn call_one(&self, webhook: &Webhook, calls: &Notify) {
        loop {
            match self.next_for(webhook) {
                Next::Now(delivery) => {
                    let told = webhook.tell(&delivery).await;
                    self.told(&delivery.id, told);
                }
                Next::In(pause) => {
                    // Something new may come first.
                    let _ = tokio::time::timeout(pause, calls.notified()).await;
                }
                Next::Never => calls.notified().await,
            }
        }
    }

    fn next_for(&self, webhook: &Webhook) -> Next {
        let mut queue = self.lock();
        let all = queue.deliveries.iter_mut();
        let own = all.filter(|delivery| delivery.is_for(webhook) && !delivery.tried.running);
        let Some(next) = own.min_by_key(|delivery| delivery.tried.next) else {
            return Next::Never;
        };
        match next.tried.next.saturating_sub(now()) {
            0 => {
                next.tried.running = true;
                Next::Now(next.clone())
            }
            pause => Next::In(Duration::from_secs(pause)),
        }
    }

    /// Records the result.
    fn told(&self, id: &str, told: Result<(), String>) {
        let mut queue = self.lock();
        let Some(at) = queue.deliveries.iter().position(|job| job.id == id) else {
            return;
        };
        if let Err(error) = told {
            *queue.failures.entry("webhook").or_default() += 1;
            let job = &mut queue.deliveries[at];
            tracing::warn!("webhook {}: {error}", job.url);
            job.tried.failed(error, PAUSES.0, PAUSES.1);
            if job.tried.tries < MAX_TRIES {
                self.note(id, Some(job));
                return;
            }
            tracing::error!("webhook {} is given up: {}", job.url, job.body);
        }
        queue.deliveries.remove(at);
        self.note::<()>(id, None);
    }
}

/// The messages of one webhook.
enum Next {
    Now(Delivery),
    In(Duration),
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_signed_as_others_do() {
        let webhook = Webhook {
            url: String::new(),
            secret: b"It's a Secret to Everybody".to_vec(),
            refs: None,
        };
        // GitHub's example of such a signature.
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(webhook.sign("Hello, World!"), expected);
    }
}
