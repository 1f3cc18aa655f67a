// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a client may see or do something. Every such decision is made here.
//!
//! A [`Context`] is the client of one request, and the repository that the request is for. It is
//! made once per request; handlers ask it, and never look at permissions themselves.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::StatusCode;
use oxtree_format::{CommitId, ObjectId, ObjectKind};
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::policy::{self, Derive, Derived};
use oxtree_transfer::receive::push::Push;
use oxtree_transfer::visibility::{RefVisibility, Visibility};

use crate::access::{Client, Gate, Permission};
use crate::answer::{Answer, Fault, blocking};
use crate::clock::now;
use crate::jobs::JobInfo;
use crate::jobs::outbox::Outbox;
use crate::limits::ClientId;
use crate::served::{Served, no_pushes};

/// The client of a request, and the repository that it is for.
#[derive(Clone)]
pub(crate) struct Context {
    served: Option<Arc<Served>>,
    pub(crate) client: Arc<Client>,
    /// A client without a token. Every client may read what this one may read.
    anonymous: Arc<Client>,
    knows_tokens: bool,
    /// Where the request comes from.
    pub(crate) address: IpAddr,
}

impl Context {
    pub(crate) fn new(gate: &Gate, client: Arc<Client>, address: IpAddr) -> Self {
        Self {
            served: None,
            client,
            anonymous: Arc::clone(gate.anonymous()),
            knows_tokens: gate.knows_tokens(),
            address,
        }
    }

    /// The same client, for a request for this repository.
    pub(crate) fn with_repository(self, served: Arc<Served>) -> Self {
        Self {
            served: Some(served),
            ..self
        }
    }

    /// The repository that the request is for.
    pub(crate) fn served(&self) -> Answer<&Arc<Served>> {
        let none = || Fault::not_found("there is no repository of that name here");
        self.served.as_ref().ok_or_else(none)
    }

    /// The client whose share of a limit this request needs.
    pub(crate) fn client_id(&self) -> ClientId {
        self.client.client_id(self.address)
    }

    /// Whether the client has a permission for the repository.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.client.may(permission, self.repository())
    }

    fn repository(&self) -> &str {
        self.served.as_ref().map_or("", |served| &served.name)
    }

    /// Refuses a client that does not have a permission for the repository.
    pub(crate) fn require(&self, permission: Permission) -> Answer<()> {
        match self.may(permission) {
            true => Ok(()),
            false => Err(self.refusal(permission)),
        }
    }

    /// Refuses a client that may neither read nor push: a pusher has to know which refs exist.
    pub(crate) fn require_description(&self) -> Answer<()> {
        if self.may(Permission::Read) || self.may(Permission::Promote) {
            return Ok(());
        }
        Err(self.refusal(match self.client.can(Permission::Promote) {
            true => Permission::Promote,
            false => Permission::Read,
        }))
    }

    fn refusal(&self, permission: Permission) -> Fault {
        match &self.client.name {
            None if !self.knows_tokens => Fault::new(
                StatusCode::UNAUTHORIZED,
                "this needs a token, and the server has none: its operator can create one with oxtree \
                 token create and name its file with --tokens, or allow all pushes with \
                 --allow-anonymous-push",
            ),
            None => Fault::new(StatusCode::UNAUTHORIZED, "this needs a token"),
            // The client has the permission for another repository.
            Some(name) if self.client.can(permission) => {
                let text = format!("token {name} is not for this repository");
                Fault::new(StatusCode::FORBIDDEN, text)
            }
            Some(name) => {
                let lacks = match permission {
                    // Push includes Promote.
                    Permission::Promote => Permission::Push,
                    other => other,
                };
                let lacks = format!("{lacks:?}").to_lowercase();
                let text = format!(
                    "token {name} does not allow this: it lacks the permission {lacks} here"
                );
                Fault::new(StatusCode::FORBIDDEN, text)
            }
        }
    }

    /// Whether the client may know of a ref.
    pub(crate) fn may_see_ref(&self, name: &str) -> bool {
        self.client.concerns(name)
    }

    /// Whether the client may know of a push: its own, or any as an administrator.
    pub(crate) fn may_see_push(&self, push: &Push) -> bool {
        let client = &self.client;
        push.is_owned_by(client.name.as_deref(), client.id.as_deref())
            || client.can(Permission::Admin)
    }

    /// A push that the client may know of.
    pub(crate) fn push(&self, id: &str) -> Answer<Arc<Push>> {
        let push = self.served()?.pushes.get(id, now());
        let push = push.filter(|push| self.may_see_push(push));
        push.ok_or_else(|| Fault::not_found("there is no such push: it may have expired"))
    }

    /// Whether the client may read a repository.
    pub(crate) fn may_read(&self, repository: &str) -> bool {
        self.client.may(Permission::Read, repository)
    }

    /// The clients that may read the repository: this one, and one without a token. Refuses a client
    /// for which there is neither.
    pub(crate) fn readers(&self) -> Answer<Vec<Arc<Client>>> {
        let all = [&self.client, &self.anonymous].into_iter();
        let readers = all.filter(|one| one.may(Permission::Read, self.repository()));
        let readers: Vec<Arc<Client>> = readers.cloned().collect();
        match readers.is_empty() {
            true => Err(self.refusal(Permission::Read)),
            false => Ok(readers),
        }
    }

    /// Whether one of these readers may have the file at a path below the repository.
    pub(crate) async fn may_see_file(
        &self,
        readers: Vec<Arc<Client>>,
        path: &str,
        object: Option<ObjectId>,
    ) -> Answer<bool> {
        for reader in readers {
            if self.reader_may_see(reader, path, object).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A reader of some refs may have the commits that these refs lead to. All other objects are for
    /// everyone who knows their names, which nobody can guess.
    async fn reader_may_see(
        &self,
        reader: Arc<Client>,
        path: &str,
        object: Option<ObjectId>,
    ) -> Answer<bool> {
        if reader.sees_all() {
            return Ok(true);
        }
        Ok(match (path.split_once('/'), object) {
            // The summary and its index list all refs. Clients work without them.
            (None, _) => path == "config" || path.ends_with(".flatpakrepo"),
            (Some(("refs", rest)), _) => {
                let name = match rest.split_once('/') {
                    Some(("heads", name)) => Some(name),
                    Some(("mirrors" | "remotes", name)) => {
                        name.split_once('/').map(|(_, name)| name)
                    }
                    _ => None,
                };
                name.is_some_and(|name| reader.concerns(name))
            }
            (_, Some(object)) => match object.kind {
                ObjectKind::File | ObjectKind::DirTree | ObjectKind::DirMeta => true,
                _ => {
                    let served = Arc::clone(self.served()?);
                    let commit = CommitId(object.checksum);
                    blocking(move || Ok(visibility(&served, &[&reader]).sees(commit)?)).await?
                }
            },
            _ => false,
        })
    }

    /// The jobs of the repository: refs that the client may know of; errors, which may name files,
    /// for pushers; where webhooks go, which may be a secret, for administrators.
    pub(crate) fn jobs(&self) -> Answer<Vec<JobInfo>> {
        let mut all = self.served()?.jobs.all();
        for job in &mut all {
            job.refs.retain(|name| self.may_see_ref(name));
            job.error.take_if(|_| !self.may_push_objects());
            job.reason.take_if(|_| !self.may_push_objects());
            job.to.take_if(|_| !self.client.can(Permission::Admin));
        }
        Ok(all)
    }

    /// Whether a push of the client may bring objects. It may otherwise only set refs to commits that
    /// exist already.
    pub(crate) fn may_push_objects(&self) -> bool {
        self.client.can(Permission::Push)
    }

    /// Where the client's pushes go, with everything that the owner of the repository requires of
    /// them. It is opened again for each request, so changes to the configuration apply at once.
    pub(crate) fn destination(&self) -> Answer<LocalReceiver> {
        let destination = self.described()?;
        // The file system may have become read-only since the server started.
        match self.served()?.read_only || destination.repo().check_writable().is_err() {
            true => Err(no_pushes().into()),
            false => Ok(destination),
        }
    }

    /// The same, for reading only.
    pub(crate) fn described(&self) -> Answer<LocalReceiver> {
        let served = self.served()?;
        let mut destination = served.open(&self.client)?;
        let policy = &mut destination.policy;
        self.client.restrict(policy, self.address);
        policy.client = self.client_id().to_string();
        policy.visibility = self.pusher_visibility(served);
        let jobs = Arc::clone(&served.jobs);
        let outbox = Arc::new(Outbox::new(Arc::clone(&jobs), self.client.name.clone()));
        let derives = !matches!(policy.derive, Derive::Nothing);
        let published = Arc::clone(&outbox);
        policy.outbox = Some(policy::Outbox(Box::new(move |refs| outbox.announce(refs))));
        policy.derive = Derive::By(Box::new(move |_, _, _| match published.published() {
            // Pushes that end at the same time share one run.
            Some(ticket) if derives => jobs.wait(ticket),
            _ => Ok(Derived::Done),
        }));
        Ok(destination)
    }

    /// The refs and commits that the client's pushes may know of, if not all: those that this client
    /// may see, or a client without a token.
    fn pusher_visibility(&self, served: &Served) -> Option<Box<dyn Visibility>> {
        let (client, anonymous) = (&*self.client, &*self.anonymous);
        let reads = anonymous.may(Permission::Read, &served.name);
        if client.sees_all() || reads && anonymous.sees_all() {
            return None;
        }
        let mut clients = vec![client];
        clients.extend(reads.then_some(anonymous));
        Some(Box::new(visibility(served, &clients)))
    }
}

/// Everything in a repository that one of these clients may see.
fn visibility(served: &Served, clients: &[&Client]) -> RefVisibility {
    let all = || vec!["*".to_owned()];
    let patterns = clients
        .iter()
        .map(|one| one.refs.clone().unwrap_or_else(all));
    RefVisibility::new(&served.repo, &served.index, patterns.flatten())
}
