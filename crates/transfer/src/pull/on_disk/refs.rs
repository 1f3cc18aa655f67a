// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wanted of a repository on this machine.

use std::collections::BTreeMap;

use oxtree_format::refs::{CollectionId, RefName};
use oxtree_format::{Checksum, CommitId, Summary};
use oxtree_repo::Repo;

use crate::error::{Result, invalid};
use crate::pull::wanted::Wanted;

/// The commits that some revs mean at the source; none for all its refs.
pub(super) fn wanted(source: &Repo, revs: &[String]) -> Result<Vec<Wanted>> {
    if revs.is_empty() {
        return all(source);
    }
    revs.iter()
        .map(|rev| {
            if let Some(checksum) = Checksum::from_hex(rev.as_bytes()) {
                return Ok(Wanted {
                    name: None,
                    commit: CommitId(checksum),
                });
            }
            let name: RefName = rev.parse().map_err(oxtree_repo::Error::invalid)?;
            let commit = match source.read_ref(&name.clone().into())? {
                Some(commit) => Some(commit),
                None => mirrored(source)?.of(&name)?,
            };
            let commit = commit.ok_or_else(|| oxtree_repo::Error::RefNotFound(rev.clone()))?;
            Ok(Wanted {
                name: Some(name),
                commit,
            })
        })
        .collect()
}

/// All refs; those of other collections only if there are no others, as on a medium.
fn all(source: &Repo) -> Result<Vec<Wanted>> {
    let mut refs = source.list_refs(None)?;
    // A ref without its commit does not keep the others from being pulled.
    let is_there = |commit: &CommitId| source.has_object(&commit.object()).unwrap_or(true);
    refs.retain(|_, commit| is_there(commit));
    if refs.is_empty() {
        let mirrored = mirrored(source)?;
        let names = mirrored.0.keys();
        let found = names.map(|name| {
            Ok(Wanted {
                name: Some(name.clone()),
                commit: mirrored
                    .of(name)?
                    .ok_or_else(|| oxtree_repo::Error::RefNotFound(name.to_string()))?,
            })
        });
        return found.collect();
    }
    refs.into_iter()
        .map(|(refspec, commit)| match refspec.remote {
            None => Ok(Wanted {
                name: Some(refspec.name),
                commit,
            }),
            // libostree's behaviour: nobody says what it should be called here.
            Some(_) => Err(invalid(format!("Invalid ref name {refspec}"))),
        })
        .collect()
}

/// The refs of the collections that a repository mirrors, by their names.
struct Mirrored(BTreeMap<RefName, Vec<(CollectionId, CommitId)>>);

fn mirrored(source: &Repo) -> Result<Mirrored> {
    let mut refs: BTreeMap<RefName, Vec<(CollectionId, CommitId)>> = BTreeMap::new();
    for ((collection, name), commit) in source.mirror_refs()? {
        refs.entry(name).or_default().push((collection, commit));
    }
    Ok(Mirrored(refs))
}

impl Mirrored {
    /// The commit of a ref, which has to be the same in all collections that have it.
    fn of(&self, name: &RefName) -> Result<Option<CommitId>> {
        match self.0.get(name).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([(_, commit), others @ ..]) if others.iter().all(|(_, other)| other == commit) => {
                Ok(Some(*commit))
            }
            Some(several) => {
                let collections: Vec<&str> = several.iter().map(|(id, _)| id.as_str()).collect();
                let collections = collections.join(", ");
                Err(invalid(format!(
                    "The ref {name} is at different commits in the collections {collections}: name a commit"
                )))
            }
        }
    }
}

/// Takes the commits of refs from a summary.
pub(super) fn look_up(wanted: &mut [Wanted], summary: &[u8]) -> Result<()> {
    let summary = Summary::parse(summary).map_err(oxtree_repo::Error::invalid)?;
    for Wanted { name, commit } in wanted {
        let Some(name) = name else { continue };
        *commit = summary
            .refs
            .get(name.as_str())
            .map(|entry| entry.commit)
            .ok_or_else(|| invalid(format!("No such branch '{name}' in repository summary")))?;
    }
    Ok(())
}
