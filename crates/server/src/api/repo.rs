// SPDX-License-Identifier: MIT OR Apache-2.0
//! Describes a repository to clients.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use oxtree_transfer::protocol::message::{Limits, WireCommit, WireMeta, WireRef, WireTree};
use oxtree_transfer::protocol::{COMPRESSION, DETACHED, VERSION};
use oxtree_transfer::receive::roots;
use oxtree_transfer::store::Destination;
use serde::Serialize;

use crate::access::Permission;
use crate::answer::{Answer, Fault, blocking, json};
use crate::app::App;
use crate::context::Context;

/// The receiver, as one that pushes over ssh is told.
#[derive(Serialize)]
struct Description<'a> {
    versions: [u32; 1],
    agent: &'a str,
    capabilities: Vec<&'a str>,
    mode: &'a str,
    limits: Limits,
    refs: Vec<(WireRef, WireCommit)>,
    partial: Vec<WireCommit>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roots: Vec<(WireTree, WireMeta)>,
}

pub(crate) async fn describe(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
) -> Answer {
    context.require_description()?;
    let permit = app.answer_permit(&context.client_id()).await?;
    blocking(move || {
        let _permit = permit;
        let destination = context.described()?;
        let mut lacking = destination.store.partial()?;
        let refs = destination.store.refs()?;
        let concerns = |name: &str| context.may_see_ref(name);
        let refs = refs.into_iter().filter(|(name, _)| concerns(name.as_str()));
        let refs: Vec<_> = refs
            .map(|(name, commit)| (WireRef(name), WireCommit(commit)))
            .collect();
        let roots = roots(&destination, &refs, &lacking)?;
        let partial = refs.iter().filter(|(_, commit)| lacking.remove(&commit.0));
        let partial = partial.map(|(_, commit)| commit.clone()).collect();
        // A client that may only read is not asked for anything.
        let detached = !context.served()?.read_only
            && context.may(Permission::Promote)
            && destination.policy.takes_detached();
        let detached = detached.then_some(DETACHED);
        let description = Description {
            versions: [VERSION],
            agent: &app.agent,
            capabilities: [COMPRESSION].into_iter().chain(detached).collect(),
            mode: destination.store.mode(),
            limits: destination.limits()?,
            refs,
            partial,
            roots,
        };
        Ok::<_, Fault>(json(StatusCode::OK, &description))
    })
    .await
}

/// The background jobs.
pub(crate) async fn jobs(Extension(context): Extension<Context>) -> Answer {
    let jobs = context.jobs()?;
    Ok(json(StatusCode::OK, &serde_json::json!({"jobs": jobs})))
}

/// The repositories that one may read.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
) -> Response {
    let names = app.repositories.iter().map(|served| served.name.as_str());
    let names: Vec<&str> = names.filter(|name| context.may_read(name)).collect();
    json(StatusCode::OK, &serde_json::json!({"repos": names}))
}
