// SPDX-License-Identifier: MIT OR Apache-2.0
//! `summary`: the file that clients read first.

use std::fmt::Write;

use anyhow::{Context as _, Result, anyhow, bail};
use oxtree_format::Summary;
use oxtree_format::gvariant::{Dict, Entry, OwnedVariant, Variant, text};
use oxtree_format::summary::{Refs, keys};
use oxtree_repo::sign::Signer;
use oxtree_repo::{Repo, SummaryUpdate};

use super::show::describe_signatures;
use crate::context::Context;
use crate::error::Usage;
use crate::output::Output;
use crate::signing;
use crate::text as human;

/// Options of `summary`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The summary lists all refs with their commits, the static deltas, and what the repository is. Web
clients need it to find refs. `oxtree push` brings it up to date at the receiver; after other changes
it is for you to do.

Examples:
  oxtree summary -u
  oxtree summary -v
  oxtree summary -u --add-metadata=org.example.motd=\"'hello'\"")]
pub(crate) struct Args {
    /// Write the summary anew
    #[arg(long, short)]
    update: bool,
    /// Print the summary
    #[arg(long, short = 'v')]
    view: bool,
    /// Print the summary as GVariant text
    #[arg(long)]
    raw: bool,
    /// Print the names of the metadata keys
    #[arg(long)]
    list_metadata_keys: bool,
    /// Print the value of a metadata key
    #[arg(long, value_name = "KEY")]
    print_metadata_key: Option<String>,
    /// Put this into the metadata; VALUE in GVariant's text format
    #[arg(long, short = 'm', value_name = "KEY=VALUE")]
    add_metadata: Vec<String>,
    #[command(flatten)]
    signing: signing::Options,
    /// Say on standard error what is being done (here without the short form -v)
    #[arg(long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let looks =
        args.view || args.raw || args.list_metadata_keys || args.print_metadata_key.is_some();
    context.contradictions(&[
        (
            args.update && looks,
            "--update and options that print the summary exclude each other",
        ),
        (
            !args.update && looks && args.signing.is_asked_for(),
            "a summary is signed only with --update",
        ),
        (
            !args.update && looks && !args.add_metadata.is_empty(),
            "--add-metadata has no effect without --update",
        ),
    ])?;
    let repo = context.open_repo()?;
    if args.update {
        args.signing.check(context)?;
        let update = SummaryUpdate {
            extra: args
                .add_metadata
                .iter()
                .map(|pair| parse(pair))
                .collect::<Result<_>>()?,
            metadata_commit: true,
        };
        let signers = args.signing.signers(context)?;
        let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
        repo.update_signed_summary(&update, &signers)?;
        let left_out = repo.left_out_of_summary()?;
        // An alias that leads nowhere is no ref that anybody could miss.
        let left_out = left_out.iter().filter(|one| !one.is_dangling).count();
        if left_out > 0 {
            bail!(
                "the summary was written without {} that cannot be read or whose commits cannot; `fsck -a` shows \
                 all damage, `refs --delete NAME` deletes such a ref",
                human::refs(left_out)
            );
        }
        return Ok(());
    }
    let look = Look {
        raw: args.raw,
        list_keys: args.list_metadata_keys,
        key: args.print_metadata_key.as_deref(),
    };
    if !args.view && look == Look::default() {
        return Err(Usage("No option specified; use -u to update summary".to_owned()).into());
    }
    let bytes = read(&repo)?;
    let path = repo.path().join("summary");
    look.print(&bytes, context)
        .with_context(|| format!("reading {}", path.display()))?;
    match look == Look::default() {
        true => context.out.text(&signatures(&repo, &bytes, args, context)?),
        false => Ok(()),
    }
}

/// What there is to say about the summary's GPG signatures.
fn signatures(repo: &Repo, summary: &[u8], args: &Args, context: &Context<'_>) -> Result<String> {
    let detached = repo.read_summary_signatures()?.unwrap_or_default();
    let mut keyring = signing::trust(context).any_keyring(repo)?;
    if let Some(homedir) = args.signing.gpg_homedir() {
        keyring.add_dir(homedir)?;
    }
    let found = ("Found", " on the summary");
    let described = describe_signatures(found, &keyring, summary, &detached, context)?;
    Ok(match described.is_empty() {
        true => "Summary is unsigned\n".to_owned(),
        false => format!("\n{described}"),
    })
}

/// What of a summary is printed, if not all of it in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look<'a> {
    /// All of it as GVariant text.
    pub(super) raw: bool,
    /// The names of the metadata keys.
    pub(super) list_keys: bool,
    /// The value of a metadata key.
    pub(super) key: Option<&'a str>,
}

impl Look<'_> {
    /// Prints a summary.
    pub(super) fn print(&self, bytes: &[u8], context: &Context<'_>) -> Result<()> {
        let summary = Summary::parse(bytes).map_err(|error| anyhow!("{error}"))?;
        if let Some(key) = self.key {
            let value = summary
                .metadata
                .lookup(key)
                .ok_or_else(|| anyhow!("No such metadata key '{key}'"))?;
            return context.out.line(&human::variant(value, true)?);
        }
        if self.list_keys {
            for Entry(key, _) in summary.metadata.iter() {
                context.out.line(key)?;
            }
            return Ok(());
        }
        if self.raw {
            let value = Variant::new("(a(s(taya{sv}))a{sv})", bytes)?;
            return context.out.line(&human::variant(value, true)?);
        }
        context.out.text(&view(&summary, context.out)?)
    }
}

fn read(repo: &Repo) -> Result<Vec<u8>> {
    match repo.read_summary()? {
        Some(bytes) => Ok(bytes),
        None => bail!("openat(summary): No such file or directory"),
    }
}

fn parse(pair: &str) -> Result<(String, OwnedVariant)> {
    let Some((key, value)) = pair.split_once('=') else {
        bail!("Missing '=' in KEY=VALUE metadata '{pair}'");
    };
    let value = text::parse(value)
        .map_err(|error| anyhow!("Error parsing variant ‘{value}’: : {error}"))?;
    Ok((key.to_owned(), value))
}

fn view(summary: &Summary<'_>, to: &Output) -> Result<String> {
    let mut out = String::new();
    refs(&mut out, summary.collection_id(), &summary.refs, to)?;
    for (collection, of_collection) in summary.collections()? {
        refs(&mut out, Some(collection), &of_collection, to)?;
    }
    for Entry(key, value) in summary.metadata.iter() {
        match key {
            keys::COLLECTION_MAP => writeln!(out, "Collection Map ({key}): (printed above)")?,
            key => entry(&mut out, key, value, to)?,
        }
    }
    Ok(out)
}

fn refs(out: &mut String, collection: Option<&str>, refs: &Refs<'_>, to: &Output) -> Result<()> {
    for entry in refs.iter() {
        let name = to.part(entry.name);
        match collection {
            Some(collection) => writeln!(out, "* ({}, {name})", to.part(collection))?,
            None => writeln!(out, "* {name}")?,
        }
        writeln!(out, "    Latest Commit ({}):", human::size(entry.size))?;
        writeln!(out, "      {}", entry.commit)?;
        indented(out, entry.metadata, to)?;
        writeln!(out)?;
    }
    Ok(())
}

fn indented(out: &mut String, metadata: Dict<'_>, to: &Output) -> Result<()> {
    for Entry(key, value) in metadata.iter() {
        out.push_str("    ");
        entry(out, key, value, to)?;
    }
    Ok(())
}

/// A key with its value, both in words where they are known.
fn entry(out: &mut String, key: &str, value: Variant<'_>, to: &Output) -> Result<()> {
    let label = match key {
        keys::COMMIT_VERSION => "Version",
        keys::COMMIT_TIMESTAMP => "Timestamp",
        keys::MODE => "Repository Mode",
        keys::LAST_MODIFIED => "Last-Modified",
        keys::EXPIRES => "Expires",
        keys::TOMBSTONE_COMMITS => "Has Tombstone Commits",
        keys::STATIC_DELTAS => "Static Deltas",
        keys::COLLECTION_ID => "Collection ID",
        _ => "",
    };
    let words = match key {
        keys::COMMIT_VERSION | keys::MODE | keys::COLLECTION_ID => {
            value.as_::<&str>().ok().map(str::to_owned)
        }
        keys::COMMIT_TIMESTAMP | keys::LAST_MODIFIED | keys::EXPIRES => {
            let time = value.as_::<oxtree_format::gvariant::Be<u64>>();
            time.ok().map(|time| human::local_time(time.0))
        }
        keys::TOMBSTONE_COMMITS => {
            let yes = value.as_::<bool>().ok();
            yes.map(|yes| if yes { "Yes" } else { "No" }.to_owned())
        }
        _ => None,
    };
    let words = match words {
        Some(words) => words,
        None => text::print(value, false)?,
    };
    let (key, words) = (to.part(key), to.part(&words));
    match label {
        "" => writeln!(out, "{key}: {words}")?,
        label => writeln!(out, "{label} ({key}): {words}")?,
    }
    Ok(())
}
