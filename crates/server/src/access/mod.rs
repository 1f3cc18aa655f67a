// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients and their permissions.

mod failures;
mod gate;
pub mod issuers;
pub mod tokens;

use std::collections::BTreeSet;
use std::net::IpAddr;

use oxtree_repo::refs::pattern::fits;
use oxtree_transfer::limits::Caps;
use oxtree_transfer::receive::policy::{Force, Identity, Policy};
use serde::{Deserialize, Serialize};

pub(crate) use self::gate::Gate;
use crate::limits::ClientId;

/// Something that one may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Fetch what is in a repository.
    Read,
    /// Push.
    Push,
    /// Have a push move refs back or sideways.
    Force,
    /// Have a push delete refs.
    Delete,
    /// Set refs to commits that are there already.
    Promote,
    /// Everything, and the tokens of others.
    Admin,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Push,
        Self::Force,
        Self::Delete,
        Self::Promote,
        Self::Admin,
    ];
}

/// A client and its permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The token's name; [`None`] without a token.
    pub name: Option<String>,
    /// Tells a token from one that had its name before, and was revoked.
    pub id: Option<String>,
    /// The permissions.
    pub permissions: BTreeSet<Permission>,
    /// Patterns of the repositories this holds for; [`None`] for all.
    pub repos: Option<Vec<String>>,
    /// Patterns of the refs this holds for (`*` stands for anything, `?` for one character);
    /// [`None`] for all.
    pub refs: Option<Vec<String>>,
    /// How much a push of this client may bring.
    pub caps: Caps,
}

impl Client {
    /// A client without a token that has these permissions everywhere.
    pub fn anonymous(permissions: impl IntoIterator<Item = Permission>) -> Self {
        Self {
            permissions: permissions.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether they may do this in a repository.
    pub fn may(&self, permission: Permission, repo: &str) -> bool {
        self.can(permission) && matches(self.repos.as_deref(), repo)
    }

    /// Whether they may do this somewhere.
    pub fn can(&self, permission: Permission) -> bool {
        let all = &self.permissions;
        let includes = match permission {
            // A client that may send commits may also set refs to existing ones.
            Permission::Promote => all.contains(&Permission::Push),
            _ => false,
        };
        includes || all.contains(&Permission::Admin) || all.contains(&permission)
    }

    /// Whether it holds for all refs, so that nothing that is there is hidden from them.
    pub fn sees_all(&self) -> bool {
        self.refs.is_none() || self.can(Permission::Admin)
    }

    /// The client whose share of what is limited a request from this address needs. A token may be used from many
    /// addresses, and an address by many.
    pub(crate) fn client_id(&self, from: IpAddr) -> ClientId {
        match &self.name {
            Some(token) => ClientId::Token(token.clone()),
            None => ClientId::at(from),
        }
    }

    /// Whether what they may do holds for a ref.
    pub fn concerns(&self, name: &str) -> bool {
        matches(self.refs.as_deref(), name)
    }
}

impl Client {
    /// Restricts the repository owner's policy for pushes to the permissions of this client, whose
    /// address is `from`.
    pub fn restrict(&self, policy: &mut Policy, from: IpAddr) {
        if !self.can(Permission::Force) {
            policy.force = Force::Never;
        }
        let before = policy.identity.take();
        let no_deletes = policy.no_deletes || !self.can(Permission::Delete);
        let refs = match (before.as_ref().and_then(|one| one.refs.clone()), &self.refs) {
            (None, refs) => refs.clone(),
            (Some(refs), None) => Some(refs),
            // Both would have to fit: nothing here makes such a policy.
            (Some(_), Some(_)) => Some(Vec::new()),
        };
        policy.pusher.clone_from(&self.name);
        policy.identity = Some(Identity {
            name: self.name.clone().unwrap_or_else(|| ANYBODY.to_owned()),
            refs,
            read_only: !self.can(Permission::Push) && !self.can(Permission::Promote),
            dry_run_only: before.is_some_and(|one| one.dry_run_only),
            no_deletes,
            promote_only: !self.can(Permission::Push),
        });
        policy.caps = policy.caps.and(&self.caps);
        if let Some(audit) = &mut policy.audit {
            audit.identity.clone_from(&self.name);
            audit.client = Some(from.to_string());
        }
    }
}

/// The name of clients without a token.
const ANYBODY: &str = "whoever has no token";

fn matches(patterns: Option<&[String]>, name: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| fits(pattern, name)))
}
