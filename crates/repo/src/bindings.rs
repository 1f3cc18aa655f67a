// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does a commit belong to the ref that points at it?

use oxtree_format::Commit;
use oxtree_format::commit::keys;

/// Checks that a commit may be what the ref `name` points at, in `collection` where that is known.
/// Without a name, only the collection counts. The error is libostree's sentence.
///
/// A commit that is bound to nothing may be anywhere but in a collection.
pub fn check(
    commit: &Commit<'_>,
    name: Option<&str>,
    collection: Option<&str>,
) -> Result<(), String> {
    let Some(refs) = commit.ref_bindings() else {
        return match collection {
            None => Ok(()),
            Some(_) => Err(NO_REF.to_owned()),
        };
    };
    if let Some(name) = name
        && !refs.contains(&name)
    {
        let refs: Vec<String> = refs.iter().map(|name| format!("‘{name}’")).collect();
        return Err(format!(
            "Commit has no requested ref ‘{name}’ in ref binding metadata ({})",
            refs.join(", ")
        ));
    }
    let Some(collection) = collection else {
        return Ok(());
    };
    match commit.metadata_str(keys::COLLECTION_BINDING) {
        Some(bound) if bound == collection => Ok(()),
        Some(bound) => Err(format!(
            "Commit has collection ID ‘{bound}’ in collection binding metadata, while the remote \
             it came from has collection ID ‘{collection}’"
        )),
        None => Err(NO_COLLECTION.to_owned()),
    }
}

const NO_REF: &str = "Expected commit metadata to have ref binding information, found none";
const NO_COLLECTION: &str =
    "Expected commit metadata to have collection ID binding information, found none";
