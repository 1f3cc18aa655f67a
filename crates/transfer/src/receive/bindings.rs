// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bindings: clients believe a signed commit under each ref and in the collection that it is bound to
//! (`ostree.ref-binding`, `ostree.collection-binding`), wherever they get it from.
//!
//! A receiver that signs, or that allows a pusher only some refs, therefore takes a commit only if it is bound to
//! the ref that it is pushed to, to no ref that the pusher may not write, and to no other collection. A token for
//! `app/*` cannot get a signature on a commit that is bound to `os/stable`, too. Copies (`commits: copy`) are bound
//! by the receiver, so what the pushed commit is bound to does not matter there.

use std::collections::BTreeMap;

use oxtree_format::commit::keys::{COLLECTION_BINDING, REF_BINDING};
use oxtree_format::gvariant::Entry;
use oxtree_format::refs::RefName;
use oxtree_format::{Commit, CommitId};

use super::policy::Policy;

/// Refs that a commit may be bound to.
const MAX_BOUND: usize = 1000;

/// Refs of a binding that an error names, and characters of them.
const MAX_NAMED: usize = 5;
const MAX_TEXT: usize = 300;

/// What commits may be bound to.
pub(super) struct Bindings<'a> {
    policy: &'a Policy,
    /// The collection of the repository.
    collection: Option<&'a str>,
    /// The refs of the repository.
    refs: &'a BTreeMap<RefName, CommitId>,
}

impl<'a> Bindings<'a> {
    /// [`None`] if the bindings of a pushed commit do not matter.
    pub(super) fn new(
        policy: &'a Policy,
        collection: Option<&'a str>,
        refs: &'a BTreeMap<RefName, CommitId>,
    ) -> Option<Self> {
        policy.minds_bindings().then_some(Self {
            policy,
            collection,
            refs,
        })
    }

    /// Why the ref `name` cannot be set to a commit, if it cannot.
    pub(super) fn refuse(
        &self,
        id: CommitId,
        commit: &Commit<'_>,
        name: &RefName,
    ) -> Option<String> {
        let twice = [REF_BINDING, COLLECTION_BINDING].into_iter().find(|key| {
            commit
                .metadata
                .iter()
                .filter(|Entry(k, _)| k == key)
                .count()
                > 1
        });
        let reason = match twice {
            Some(key) => Some(format!("it has {key} more than once")),
            None => self
                .refuse_refs(id, commit, name)
                .or_else(|| self.refuse_collection(commit)),
        };
        reason.map(|reason| {
            format!("commit {id}: {reason}, or have the receiver make a copy (commits: copy)")
        })
    }

    fn refuse_refs(&self, id: CommitId, commit: &Commit<'_>, name: &RefName) -> Option<String> {
        let Some(bound) = commit.ref_bindings() else {
            return self.refuse_unbound(name);
        };
        if !bound.contains(&name.as_str()) {
            let bound = match bound.as_slice() {
                [] => "no ref".to_owned(),
                bound => short(&bound[..bound.len().min(MAX_NAMED)].join(", ")),
            };
            return Some(format!(
                "its ostree.ref-binding is {bound} and not {name}, so clients would refuse it there: \
                 commit with --branch={name} or --bind-ref={name}"
            ));
        }
        if bound.len() > MAX_BOUND {
            return Some(format!(
                "its ostree.ref-binding has {} refs, and more than {MAX_BOUND} are not taken: bind \
                 it to fewer",
                bound.len()
            ));
        }
        let other = bound
            .into_iter()
            .find(|other| *other != name.as_str() && !self.may_be_bound_to(id, other))?;
        let other = short(other);
        let who = self.policy.identity.as_ref().map(|who| who.name.as_str());
        let who = who.unwrap_or("this pusher");
        Some(format!(
            "its ostree.ref-binding has {other}, too, which {who} may not write: commit without \
             --bind-ref={other}"
        ))
    }

    /// Whether the pusher may write this ref, too, or it already is at this commit.
    fn may_be_bound_to(&self, id: CommitId, other: &str) -> bool {
        let identity = self.policy.identity.as_ref();
        let may_write = |name: &RefName| identity.is_none_or(|one| one.may_write(name.as_str()));
        other.parse().is_ok_and(|name| may_write(&name))
            || self.refs.get(other).is_some_and(|there| *there == id)
    }

    /// Clients of a collection refuse a commit that is bound to no ref. All others take it for whatever ref it is
    /// served as, which matters where it is signed.
    fn refuse_unbound(&self, name: &RefName) -> Option<String> {
        let why = match self.collection {
            Some(collection) => format!("clients of the collection {collection} refuse it"),
            None if self.policy.signs() && self.policy.limits_refs() => {
                "with the receiver's signature it would be valid for every ref".to_owned()
            }
            None => return None,
        };
        Some(format!(
            "it has no ostree.ref-binding, so {why}: commit with --branch={name} and without --no-bindings"
        ))
    }

    /// A commit that is bound to no collection is none of another: clients of a collection refuse it in any.
    fn refuse_collection(&self, commit: &Commit<'_>) -> Option<String> {
        let value = commit.metadata_value(COLLECTION_BINDING)?;
        let bound = value.as_::<&str>();
        // flatpak writes an empty binding where a repository has no collection.
        if bound == Ok("") {
            return None;
        }
        let bound = short(bound.unwrap_or("no text"));
        match self.collection {
            Some(collection) if bound == collection => None,
            Some(collection) => Some(format!(
                "its ostree.collection-binding is {bound}, and the repository's collection is \
                 {collection}: set core.collection-id where it is made"
            )),
            None => Some(format!(
                "its ostree.collection-binding is {bound}, and the repository has no collection: \
                 unset core.collection-id where it is made"
            )),
        }
    }
}

/// What a pusher has written, no longer than a message can bear.
fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use oxtree_format::commit::NewCommit;
    use oxtree_format::gvariant::{OwnedVariant, Variant};
    use oxtree_format::{Checksum, DirId, DirMetaId, DirTreeId};

    use super::super::policy::{Commits, Identity};
    use super::*;

    /// Signs nothing, but is a signer.
    #[derive(Debug)]
    struct Signer;

    impl oxtree_repo::sign::Signer for Signer {
        fn metadata_key(&self) -> &'static str {
            "ostree.sign.none"
        }

        fn sign(&self, _: &[u8], _: &[&[u8]]) -> Result<Vec<u8>, oxtree_repo::sign::SignError> {
            Ok(Vec::new())
        }
    }

    fn policy(signs: bool, refs: Option<&[&str]>) -> Policy {
        let mut policy = Policy::default();
        if signs {
            policy.signers.push(Box::new(Signer));
        }
        policy.identity = refs.map(|refs| Identity {
            name: "ci".to_owned(),
            refs: Some(refs.iter().map(|&name| name.to_owned()).collect()),
            ..Identity::default()
        });
        policy
    }

    fn commit(metadata: &[(&str, OwnedVariant)]) -> Vec<u8> {
        let root = DirId {
            tree: DirTreeId(Checksum::of(b"tree")),
            meta: DirMetaId(Checksum::of(b"meta")),
        };
        let metadata = metadata.iter().map(|(key, value)| (*key, value.as_ref()));
        let commit = NewCommit {
            metadata: metadata.collect::<Vec<(&str, Variant<'_>)>>(),
            parent: None,
            subject: "",
            body: "",
            timestamp: 0,
            root,
        };
        commit.to_bytes().unwrap()
    }

    fn refs(names: &[&str]) -> (&'static str, OwnedVariant) {
        (REF_BINDING, OwnedVariant::of(&names.to_vec()))
    }

    fn collection(name: &str) -> (&'static str, OwnedVariant) {
        (COLLECTION_BINDING, OwnedVariant::of(name))
    }

    /// What is said of such a commit when it is pushed to `app/x`.
    fn said(
        policy: &Policy,
        of: Option<&str>,
        metadata: &[(&str, OwnedVariant)],
    ) -> Option<String> {
        let bytes = commit(metadata);
        let id = CommitId(Checksum::of(&bytes));
        let there = BTreeMap::from([("seen/it".parse().unwrap(), id)]);
        let name = "app/x".parse().unwrap();
        Bindings::new(policy, of, &there)?.refuse(id, &Commit::parse(&bytes).unwrap(), &name)
    }

    #[test]
    fn only_where_they_matter() {
        let wrong = [refs(&["os/stable"]), collection("org.other")];
        assert_eq!(said(&policy(false, None), None, &wrong), None);
        let copying = Policy {
            commits: Commits::Copy,
            ..policy(true, Some(&["app/*"]))
        };
        assert_eq!(said(&copying, None, &wrong), None);
        for policy in [policy(true, None), policy(false, Some(&["app/*"]))] {
            assert!(said(&policy, None, &wrong).is_some());
            assert_eq!(said(&policy, None, &[refs(&["app/x"])]), None);
            assert_eq!(said(&policy, None, &[]), None);
        }
    }

    #[test]
    fn refs_have_to_be_the_pushers() {
        let limited = policy(true, Some(&["app/*"]));
        let bound = |policy: &Policy, names: &[&str]| said(policy, None, &[refs(names)]);
        assert_eq!(bound(&limited, &["app/x", "app/y"]), None);
        // The ref already is at this very commit.
        assert_eq!(bound(&limited, &["app/x", "seen/it"]), None);
        for (names, reason) in [
            (
                &["app/x", "os/stable"][..],
                "ci may not write: commit without --bind-ref=os/stable",
            ),
            (&["os/stable"], "is os/stable and not app/x"),
            (&["app/y"], "--bind-ref=app/x"),
            (&[], "is no ref"),
            (&["app/x", "app/../x"], "may not write"),
        ] {
            let said = bound(&limited, names).unwrap();
            assert!(
                said.contains(reason) && said.contains("commits: copy"),
                "{said}"
            );
        }
        // A pusher that may write all refs may bind to all.
        assert_eq!(bound(&policy(true, None), &["app/x", "os/stable"]), None);
        assert!(bound(&policy(true, None), &["os/stable"]).is_some());
        let unbound = said(&limited, None, &[]).unwrap();
        assert!(unbound.contains("valid for every ref"), "{unbound}");
        let odd = [(REF_BINDING, OwnedVariant::of("app/x"))];
        assert!(said(&limited, None, &odd).is_some());
        let twice = said(&limited, None, &[refs(&["app/x"]), refs(&["os/x"])]).unwrap();
        assert!(twice.contains("more than once"), "{twice}");
        let many = vec!["app/x"; MAX_BOUND + 1];
        assert!(bound(&limited, &many).unwrap().contains("1001 refs"));
        let long = "a".repeat(100_000);
        assert!(bound(&limited, &["app/x", &long]).unwrap().len() < 1000);
    }

    #[test]
    fn collections_have_to_be_the_repositorys() {
        for policy in [policy(true, None), policy(false, Some(&["app/*"]))] {
            let said = |of, metadata: &[_]| said(&policy, of, metadata).unwrap_or_default();
            let [own, bound] =
                [Some("org.a"), None].map(|of| (of, [refs(&["app/x"]), collection("org.a")]));
            assert_eq!(said(own.0, &own.1), "");
            assert!(said(bound.0, &bound.1).contains("has no collection"));
            assert!(said(Some("org.b"), &bound.1).contains("collection is org.b"));
            assert_eq!(said(Some("org.a"), &[refs(&["app/x"])]), "");
            let unbound = said(Some("org.a"), &[]);
            assert!(
                unbound.contains("clients of the collection org.a refuse it"),
                "{unbound}"
            );
        }
    }
}
