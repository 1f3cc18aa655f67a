// SPDX-License-Identifier: MIT OR Apache-2.0
//! `config`: the repository's settings.

use anyhow::{Result, bail};
use oxtree_repo::Repo;

use crate::context::Context;
use crate::error::Usage;

/// Options of `config`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A KEY is GROUP.KEY, divided at the first point, or a mere key with --group.

Examples:
  oxtree config get core.mode
  oxtree config set core.min-free-space-percent 5
  oxtree config set --group='remote \"origin\"' url https://example.org/ostree
  oxtree config unset core.fsync")]
pub(crate) struct Args {
    /// The group that the key is in
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// get, set or unset
    #[arg(value_name = "OPERATION")]
    operation: Option<String>,
    /// The key, and for `set` its value
    #[arg(value_name = "KEY")]
    words: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(operation) = &args.operation else {
        return Err(usage("OPERATION must be specified"));
    };
    let repo = context.open_repo()?;
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match (operation.as_str(), &words[..]) {
        ("get", [key]) => get(&repo, context, &Key::new(args, key)?),
        ("set", [key, value]) => set(&repo, &Key::new(args, key)?, value),
        ("unset", [key]) => unset(&repo, &Key::new(args, key)?),
        ("get" | "unset", [_, ..]) | ("set", [_, _, ..]) => Err(usage("Too many arguments given")),
        ("set", _) if args.group.is_some() => {
            Err(usage("GROUP name, KEY and VALUE must be specified"))
        }
        ("set", _) => Err(usage("KEY and VALUE must be specified")),
        ("get" | "unset", _) if args.group.is_some() => {
            Err(usage("Group name and key must be specified"))
        }
        ("get" | "unset", _) => Err(usage("KEY must be specified")),
        _ => Err(usage(&format!("Unknown operation {operation}"))),
    }
}

fn usage(message: &str) -> anyhow::Error {
    Usage(message.to_owned()).into()
}

struct Key<'a> {
    group: &'a str,
    key: &'a str,
}

impl<'a> Key<'a> {
    fn new(args: &'a Args, word: &'a str) -> Result<Self> {
        if let Some(group) = &args.group {
            return Ok(Self { group, key: word });
        }
        match word.split_once('.') {
            Some((group, key)) => Ok(Self { group, key }),
            None => Err(usage("Key must be of the form \"sectionname.keyname\"")),
        }
    }
}

fn get(repo: &Repo, context: &Context<'_>, Key { group, key }: &Key<'_>) -> Result<()> {
    let file = &repo.config().file;
    match file.string(group, key)? {
        Some(value) => context.out.line(&value),
        None if file.has_group(group) => {
            bail!("Key file does not have key “{key}” in group “{group}”")
        }
        None => bail!("Key file does not have group “{group}”"),
    }
}

fn set(repo: &Repo, Key { group, key }: &Key<'_>, value: &str) -> Result<()> {
    let mut file = repo.config().file.clone();
    file.set_string(group, key, value)?;
    Ok(repo.write_config(&file)?)
}

fn unset(repo: &Repo, Key { group, key }: &Key<'_>) -> Result<()> {
    let mut file = repo.config().file.clone();
    if file.remove_key(group, key) {
        repo.write_config(&file)?;
    }
    Ok(())
}
