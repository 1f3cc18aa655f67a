// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures that a new summary would lose.
//!
//! A push writes the summary again. If the old one is signed and no key of that kind is at hand, the new
//! one would be unsigned, and clients that verify it could fetch nothing. The same holds for flatpak's index
//! of summaries, and for the commits that are generated together with them.

use std::fmt;

use oxtree_format::detached::{Detached, keys};
use oxtree_format::refs::{RefName, Refspec};
use oxtree_format::{ObjectId, ObjectKind};

use crate::{Error, Repo, Result, fs};

/// The largest file with signatures that is read, in bytes.
const MAX_SIGNATURES: u64 = 64 << 20;

/// The files with signatures: of the summary, and of flatpak's index of summaries.
const FILES: [&str; 2] = ["summary.sig", "summary.idx.sig"];

/// How keys of detached metadata begin that hold signatures of a scheme.
const SCHEME: &str = "ostree.sign.";

/// Signatures that a new summary would lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostSignatures {
    /// A file of the repository, or a ref whose commit is signed.
    pub of: String,
    /// The key of detached metadata that no signer writes; [`None`] if the file cannot be read as signatures.
    pub key: Option<String>,
}

impl fmt::Display for LostSignatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = &self.of;
        match self.key.as_deref() {
            None => write!(f, "{of} is damaged, and there is no key here to sign again"),
            Some(key) => {
                let kind = match key {
                    keys::GPG => "GPG",
                    other => other.strip_prefix(SCHEME).unwrap_or(other),
                };
                write!(
                    f,
                    "{of} is signed with {kind}, and there is no {kind} key here to sign again"
                )
            }
        }
    }
}

impl Repo {
    /// Signatures that a new summary would lose if only signers write it that use these keys of detached metadata.
    /// `generated`: refs whose commits are made together with the summary.
    pub fn signatures_to_lose(
        &self,
        signers: &[&str],
        generated: &[RefName],
    ) -> Result<Option<LostSignatures>> {
        for name in FILES {
            let read = fs::read_file(self.dir(), name, MAX_SIGNATURES);
            let read = read.map_err(Error::io("reading", self.path().join(name)))?;
            let lost = read.and_then(|bytes| lost(name, &bytes, signers));
            if lost.is_some() {
                return Ok(lost);
            }
        }
        for name in generated {
            // A ref that cannot be read has no commit to be signed.
            let Ok(Some(commit)) = self.read_ref(&Refspec::from(name.clone())) else {
                continue;
            };
            let object = ObjectId::new(ObjectKind::CommitMeta, commit.0);
            let bytes = match self.load_metadata(&object) {
                Err(error) if error.is_missing_object() => continue,
                bytes => bytes?,
            };
            let of = format!("the commit of {name}");
            if let Some(lost) = lost(&of, &bytes, signers) {
                return Ok(Some(lost));
            }
        }
        Ok(None)
    }
}

/// What of these signatures no signer writes again.
fn lost(of: &str, bytes: &[u8], signers: &[&str]) -> Option<LostSignatures> {
    let lost = |key| LostSignatures {
        of: of.to_owned(),
        key,
    };
    let Ok(detached) = Detached::parse(bytes) else {
        return signers.is_empty().then(|| lost(None));
    };
    let mut held = detached.0.iter().map(|entry| entry.0);
    let is_lost = |key: &&str| {
        let is_scheme = *key == keys::GPG || key.starts_with(SCHEME);
        // None are none; what is something else is not taken for none.
        let is_some = detached.signatures(key).map_or(true, |all| !all.is_empty());
        is_scheme && is_some && !signers.contains(key)
    };
    held.find(is_lost).map(|key| lost(Some(key.to_owned())))
}

#[cfg(test)]
mod tests {
    use oxtree_format::detached::NewDetached;
    use oxtree_format::gvariant::OwnedVariant;

    use super::*;

    #[test]
    fn each_kind_needs_a_signer() {
        let lost = |bytes: &[u8], signers: &[&str]| {
            let lost = lost("summary.sig", bytes, signers)?;
            Some(lost.key.unwrap_or_default())
        };
        assert_eq!(lost(b"", &[]), None);
        assert_eq!(lost(b"\x01 no signatures", &[]), Some(String::new()));
        assert_eq!(lost(b"\x01 no signatures", &[keys::GPG]), None);
        let mut two = NewDetached::new();
        two.add_signature(keys::GPG, b"one").unwrap();
        two.add_signature(keys::ED25519, b"two").unwrap();
        two.set(
            "ostree.sign.new",
            OwnedVariant::of("what it is is not known"),
        )
        .unwrap();
        two.set("other", OwnedVariant::of("no signature")).unwrap();
        let none: Vec<&[u8]> = Vec::new();
        two.set(keys::SPKI, OwnedVariant::of(&none)).unwrap();
        let two = two.to_bytes();
        let of = |signers: &[&str]| lost(&two, signers).unwrap_or_default();
        assert_eq!(of(&[]), keys::GPG);
        assert_eq!(of(&[keys::GPG]), keys::ED25519);
        assert_eq!(of(&[keys::ED25519]), keys::GPG);
        assert_eq!(of(&[keys::ED25519, keys::GPG]), "ostree.sign.new");
        assert_eq!(of(&[keys::ED25519, keys::GPG, "ostree.sign.new"]), "");
    }
}
