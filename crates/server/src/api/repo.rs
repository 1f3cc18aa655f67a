// SPDX-License-Identifier: MIT OR Apache-2.0
//! What there is to push to.

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

use super::fault::{Answer, json};
use super::{Visit, refusal};
use super::{blocking, fault::Fault};
use crate::access::Permission;
use crate::app::App;

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

pub(super) async fn describe(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
) -> Answer {
    let site = Arc::clone(visit.site()?);
    // Who pushes has to know what is there, and who reads may.
    let enough = [Permission::Read, Permission::Promote];
    if !enough.iter().any(|one| visit.visitor.may(*one, &site.name)) {
        let wanted = match visit.visitor.can(Permission::Promote) {
            true => Permission::Promote,
            false => Permission::Read,
        };
        return Err(refusal(&app, &visit.visitor, wanted));
    }
    let permit = app.answer_permit(&visit.client()).await?;
    blocking(move || {
        let _permit = permit;
        let destination = site.described(&visit.visitor, visit.from)?;
        let mut lacking = destination.store.partial()?;
        let refs = destination.store.refs()?;
        let concerns = |name: &str| visit.visitor.concerns(name);
        let refs = refs.into_iter().filter(|(name, _)| concerns(name.as_str()));
        let refs: Vec<_> = refs
            .map(|(name, commit)| (WireRef(name), WireCommit(commit)))
            .collect();
        let roots = roots(&destination, &refs, &lacking)?;
        let partial = refs.iter().filter(|(_, commit)| lacking.remove(&commit.0));
        let partial = partial.map(|(_, commit)| commit.clone()).collect();
        // Who may only read is not asked for anything.
        let detached = !site.read_only
            && visit.visitor.may(Permission::Promote, &site.name)
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

/// What is done in the background.
pub(super) async fn jobs(Extension(visit): Extension<Visit>) -> Answer {
    let jobs = visit.site()?.jobs.list(&visit.visitor);
    Ok(json(StatusCode::OK, &serde_json::json!({"jobs": jobs})))
}

/// The repositories that one may read.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
) -> Response {
    let names = app.sites.iter().map(|site| site.name.as_str());
    let names: Vec<&str> = names
        .filter(|name| visit.visitor.may(Permission::Read, name))
        .collect();
    json(StatusCode::OK, &serde_json::json!({"repos": names}))
}
