// SPDX-License-Identifier: MIT OR Apache-2.0
//! The metadata of a new commit.

use std::collections::HashSet;

use anyhow::{Context as _, Result, anyhow};
use oxtree_format::gvariant::{OwnedVariant, text};
use oxtree_format::{CollectionId, Commit, CommitId};
use oxtree_repo::Repo;
use oxtree_repo::commit::CommitBuilder;

use super::parse_ref;
use crate::context::Context;
use crate::error::Usage;

type Pairs = Vec<(String, OwnedVariant)>;

/// Options about metadata.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Do not say in the commit which refs may point at it
    #[arg(long)]
    no_bindings: bool,
    /// One more ref that may point at the commit
    #[arg(long, value_name = "BRANCH")]
    bind_ref: Vec<String>,
    /// Metadata, a string
    #[arg(long, value_name = "KEY=VALUE")]
    add_metadata_string: Vec<String>,
    /// Metadata, VALUE in GVariant's text format
    #[arg(long, value_name = "KEY=VALUE")]
    add_metadata: Vec<String>,
    /// Take over this metadata from the parent
    #[arg(long, value_name = "KEY")]
    keep_metadata: Vec<String>,
    /// Detached metadata, a string
    #[arg(long, value_name = "KEY=VALUE")]
    add_detached_metadata_string: Vec<String>,
}

impl Options {
    /// Finds options that contradict each other.
    pub(super) fn check(&self, context: &Context<'_>) -> Result<()> {
        let unbound = self.no_bindings && !self.bind_ref.is_empty();
        context.contradictions(&[(unbound, "--no-bindings and --bind-ref exclude each other")])?;
        let added = self.add_metadata_string.iter().chain(&self.add_metadata);
        let kept = self.keep_metadata.iter().map(String::as_str);
        let given: Vec<&str> = added.filter_map(|pair| key(pair)).chain(kept).collect();
        let detached = self.add_detached_metadata_string.iter();
        let detached: Vec<&str> = detached.filter_map(|pair| key(pair)).collect();
        for keys in [given, detached] {
            let mut seen = HashSet::new();
            if let Some(twice) = keys.into_iter().find(|key| !seen.insert(*key)) {
                context.contradiction(&format!("the metadata {twice} is given more than once"))?;
            }
        }
        Ok(())
    }

    /// What the user gave, in libostree's order.
    pub(super) fn before_bindings(&self, repo: &Repo, parent: Option<CommitId>) -> Result<Pairs> {
        let mut pairs = strings(&self.add_metadata_string)?;
        for pair in &self.add_metadata {
            let (key, value) = split(pair)?;
            let value = text::parse(value).map_err(|error| anyhow!("Parsing {pair}: {error}"))?;
            pairs.push((key.to_owned(), value));
        }
        if !self.keep_metadata.is_empty() {
            let parent = parent.ok_or_else(|| {
                Usage(
                    "Either --branch or --parent must be specified when using --keep-metadata"
                        .to_owned(),
                )
            })?;
            let bytes = repo.load_commit(parent)?;
            let commit = Commit::parse(&bytes)?;
            for key in &self.keep_metadata {
                let value = commit.metadata_value(key).with_context(|| {
                    format!("Missing metadata key '{key}' from commit '{parent}'")
                })?;
                pairs.push((key.clone(), value.to_owned()));
            }
        }
        match pairs.iter().any(|(key, _)| key.is_empty()) {
            true => Err(Usage("Empty metadata key".to_owned()).into()),
            false => Ok(pairs),
        }
    }

    /// What goes beside the commit.
    pub(super) fn detached(&self) -> Result<Pairs> {
        strings(&self.add_detached_metadata_string)
    }

    /// Checks the names of the refs that are to be bound.
    pub(super) fn check_refs(&self) -> Result<()> {
        let names = self.bind_ref.iter().filter(|_| !self.no_bindings);
        for name in names {
            parse_ref(name)?;
        }
        Ok(())
    }

    /// Adds the bindings.
    pub(super) fn bind(
        &self,
        builder: &mut CommitBuilder,
        branch: Option<&str>,
        collection: Option<&CollectionId>,
    ) {
        if self.no_bindings {
            return;
        }
        let refs: Vec<&str> = branch
            .into_iter()
            .chain(self.bind_ref.iter().map(String::as_str))
            .collect();
        builder.bind(&refs, collection);
    }
}

fn strings(pairs: &[String]) -> Result<Pairs> {
    pairs
        .iter()
        .map(|pair| split(pair).map(|(key, value)| (key.to_owned(), OwnedVariant::of(value))))
        .collect()
}

fn key(pair: &str) -> Option<&str> {
    pair.split_once('=').map(|(key, _)| key)
}

fn split(pair: &str) -> Result<(&str, &str)> {
    pair.split_once('=')
        .ok_or_else(|| Usage(format!("Missing '=' in KEY=VALUE metadata '{pair}'")).into())
}
