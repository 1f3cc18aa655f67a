// SPDX-License-Identifier: MIT OR Apache-2.0
//! `show`: one object, or something about a commit.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use oxtree_format::commit::keys;
use oxtree_format::detached::{Detached, keys as detached_keys};
use oxtree_format::gvariant::{Dict, Entry, Variant, text};
use oxtree_format::{
    Checksum, Commit, CommitId, FileId, MAX_METADATA_SIZE, ObjectId, ObjectKind, sizes,
};
use oxtree_repo::{Error, Repo};
use oxtree_sign::gpg::{self, Keyring};

use crate::context::Context;
use crate::escape::without_controls;
use crate::signing;
use crate::text::{self as words, Dump};

/// Options of `show`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
An OBJECT is a rev (see `oxtree rev-parse`), or the checksum of any object.

Numbers in the printed text are byte-swapped, since OSTree's own are stored in big-endian order.
Numbers that were put into metadata with another order need --no-byteswap.

Examples:
  oxtree show debian/12
  oxtree show --list-metadata-keys debian/12
  oxtree show --print-metadata-key=version debian/12")]
pub(crate) struct Args {
    /// Print the objects that the commit names as related
    #[arg(long)]
    print_related: bool,
    /// Read the file OBJECT as a GVariant of this type, and print it
    #[arg(long, value_name = "TYPE")]
    print_variant_type: Option<String>,
    /// Print the keys of the commit's metadata
    #[arg(long)]
    list_metadata_keys: bool,
    /// Print a value of the commit's metadata
    #[arg(long, value_name = "KEY")]
    print_metadata_key: Option<String>,
    /// Print values that are byte arrays as hexadecimal digits
    #[arg(long)]
    print_hex: bool,
    /// Print the keys of the commit's detached metadata
    #[arg(long)]
    list_detached_metadata_keys: bool,
    /// Print a value of the commit's detached metadata
    #[arg(long, value_name = "KEY")]
    print_detached_metadata_key: Option<String>,
    /// Print how large the commit is, and how much of that is missing here
    #[arg(long)]
    print_sizes: bool,
    /// Print the object as GVariant text
    #[arg(long)]
    raw: bool,
    /// Print numbers as they are stored
    #[arg(long, short = 'B')]
    no_byteswap: bool,
    /// Check GPG signatures also against the keyrings in this directory
    #[arg(long, value_name = "HOMEDIR")]
    gpg_homedir: Option<PathBuf>,
    /// Check GPG signatures against the keys of this remote only
    #[arg(long, value_name = "REMOTE")]
    gpg_verify_remote: Option<String>,
    /// What to show
    #[arg(value_name = "OBJECT")]
    object: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    if let Some(key) = &args.print_detached_metadata_key {
        let value = detached(&repo, args, |metadata| print_value(metadata, key, args))?;
        return context.out.line(&value);
    }
    if let Some(key) = &args.print_metadata_key {
        let value = metadata(&repo, args, |metadata| print_value(metadata, key, args))?;
        return context.out.line(&value);
    }
    if args.list_detached_metadata_keys {
        return detached(&repo, args, |metadata| list_keys(metadata, context));
    }
    if args.list_metadata_keys {
        return metadata(&repo, args, |metadata| list_keys(metadata, context));
    }
    let text = if args.print_related {
        print_related(&repo, args, context)?
    } else if let Some(sig) = &args.print_variant_type {
        print_file_as(&args.object, sig)?
    } else if args.print_sizes {
        print_sizes(&repo, args)?
    } else {
        let (text, commit) = print_object(&repo, args, context)?;
        if let Some(commit) = commit {
            context.out.text(&text)?;
            return context.out.text(&signatures(&repo, commit, args, context)?);
        }
        text
    };
    context.out.text(&text)
}

fn load(repo: &Repo, args: &Args) -> Result<(CommitId, Vec<u8>)> {
    let id = repo.resolve_rev(&args.object)?;
    Ok((id, repo.load_commit(id)?))
}

fn parse(id: CommitId, bytes: &[u8]) -> Result<Commit<'_>> {
    Ok(Commit::parse(bytes).map_err(|error| Error::corrupt(id, error))?)
}

fn metadata<T>(repo: &Repo, args: &Args, read: impl FnOnce(Dict<'_>) -> Result<T>) -> Result<T> {
    let (id, bytes) = load(repo, args)?;
    read(parse(id, &bytes)?.metadata)
}

fn detached<T>(repo: &Repo, args: &Args, read: impl FnOnce(Dict<'_>) -> Result<T>) -> Result<T> {
    let id = repo.resolve_rev(&args.object)?;
    let Some(bytes) = repo.load_detached_metadata(id)? else {
        bail!("No detached metadata for commit {id}");
    };
    let metadata = Detached::parse(&bytes);
    read(
        metadata
            .with_context(|| format!("detached metadata of {id}"))?
            .0,
    )
}

fn print_value(metadata: Dict<'_>, key: &str, args: &Args) -> Result<String> {
    let Some(value) = metadata.lookup(key) else {
        bail!("No such metadata key '{key}'");
    };
    if args.print_hex && value.sig == "ay" {
        return Ok(value
            .data
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect());
    }
    words::variant(value, !args.no_byteswap)
}

fn list_keys(metadata: Dict<'_>, context: &Context<'_>) -> Result<()> {
    let mut keys: Vec<&str> = metadata.iter().map(|Entry(key, _)| key).collect();
    keys.sort_unstable();
    keys.iter().try_for_each(|key| context.out.line(key))
}

fn print_related(repo: &Repo, args: &Args, context: &Context<'_>) -> Result<String> {
    let (id, bytes) = load(repo, args)?;
    let related = parse(id, &bytes)?.related;
    related
        .iter()
        .map(|(name, checksum)| {
            let name = context.out.part(name);
            Ok(format!("{name} {}\n", Checksum::from_bytes(checksum)?))
        })
        .collect()
}

fn print_file_as(path: &str, sig: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("openat({path})"))?;
    let read = file.take(MAX_METADATA_SIZE + 1).read_to_end(&mut bytes);
    if read.with_context(|| format!("reading {path}"))? as u64 > MAX_METADATA_SIZE {
        bail!("{path} is larger than any metadata: {MAX_METADATA_SIZE} bytes");
    }
    let value = Variant::new(sig, &bytes)
        .with_context(|| format!("{path} is not a value of type {sig} in normal form"))?;
    Ok(words::variant(value, true)? + "\n")
}

fn print_sizes(repo: &Repo, args: &Args) -> Result<String> {
    let (id, bytes) = load(repo, args)?;
    let Some(value) = parse(id, &bytes)?.metadata_value(keys::SIZES) else {
        bail!("No metadata key {} in commit", keys::SIZES);
    };
    let entries = sizes::parse(&value).with_context(|| format!("{} of {id}", keys::SIZES))?;
    let (mut needed, mut all) = (Total::default(), Total::default());
    for entry in &entries {
        all.add(entry);
        if !repo.has_object(&entry.object())? {
            needed.add(entry);
        }
    }
    Ok(format!(
        "Compressed size (needed/total): {}/{}\n\
         Unpacked size (needed/total): {}/{}\n\
         Number of objects (needed/total): {}/{}\n",
        words::size(needed.archived),
        words::size(all.archived),
        words::size(needed.unpacked),
        words::size(all.unpacked),
        needed.objects,
        all.objects,
    ))
}

#[derive(Default)]
struct Total {
    archived: u64,
    unpacked: u64,
    objects: u64,
}

impl Total {
    fn add(&mut self, entry: &sizes::SizesEntry) {
        // The numbers are whatever the commit says.
        self.archived = self.archived.saturating_add(entry.archived);
        self.unpacked = self.unpacked.saturating_add(entry.unpacked);
        self.objects += 1;
    }
}

/// The object, and which commit it is, if it is one.
fn print_object(
    repo: &Repo,
    args: &Args,
    context: &Context<'_>,
) -> Result<(String, Option<CommitId>)> {
    let dump = Dump {
        raw: args.raw,
        unswapped: args.no_byteswap,
    };
    let Some(checksum) = Checksum::from_hex(args.object.as_bytes()) else {
        let (id, bytes) = load(repo, args)?;
        return Ok((words::commit(id, &bytes, dump, context.out)?, Some(id)));
    };
    for kind in [ObjectKind::Commit, ObjectKind::DirMeta, ObjectKind::DirTree] {
        let id = ObjectId::new(kind, checksum);
        if repo.has_object(&id)? {
            let text = words::object(&id, &repo.load_metadata(&id)?, dump, context.out)?;
            let commit = (kind == ObjectKind::Commit).then_some(CommitId(checksum));
            return Ok((text, commit));
        }
    }
    Ok((print_file(repo, FileId(checksum), context)?, None))
}

/// What there is to say about a commit's GPG signatures.
fn signatures(repo: &Repo, commit: CommitId, args: &Args, context: &Context<'_>) -> Result<String> {
    let detached = repo.load_detached_metadata(commit)?.unwrap_or_default();
    let trust = signing::trust(context);
    let keyring = match &args.gpg_verify_remote {
        Some(remote) => trust.remote_keyring(repo, &remote.parse()?)?,
        None => {
            let mut keyring = trust.any_keyring(repo)?;
            if let Some(homedir) = &args.gpg_homedir {
                keyring.add_dir(homedir)?;
            }
            keyring
        }
    };
    let data = repo.load_commit(commit)?;
    describe_signatures(("Found", ""), &keyring, &data, &detached, context)
}

/// What there is to say about the GPG signatures in detached metadata, or in a `summary.sig`. Their
/// number comes between the words of `found`.
pub(super) fn describe_signatures(
    found: (&str, &str),
    keyring: &Keyring,
    data: &[u8],
    detached: &[u8],
    context: &Context<'_>,
) -> Result<String> {
    // Whoever wants to know what is wrong with it asks `fsck`.
    let signatures = Detached::parse(detached)
        .and_then(|detached| detached.signatures(detached_keys::GPG))
        .unwrap_or_default();
    if signatures.is_empty() {
        return Ok(String::new());
    }
    let trust = signing::trust(context);
    let reports = gpg::verify(keyring.certificates(), data, &signatures, trust.now)?;
    let (before, after) = found;
    let mut text = match reports.len() {
        1 => format!("{before} 1 signature{after}:\n"),
        count => format!("{before} {count} signatures{after}:\n"),
    };
    for report in &reports {
        text.push('\n');
        text += &gpg::describe(report, "  ", trust.now, trust.show_time);
    }
    Ok(without_controls(&text).into_owned())
}

fn print_file(repo: &Repo, id: FileId, context: &Context<'_>) -> Result<String> {
    let file = repo.open_file(id)?;
    let header = &file.header;
    let kind = match &header.symlink {
        Some(target) => format!("symlink\nTarget: {}", context.out.part(target)),
        None => format!("regular\nSize: {}", file.size),
    };
    let xattrs = header.xattrs.to_bytes();
    let xattrs = text::print(Variant::new("a(ayay)", &xattrs)?, true)?;
    Ok(format!(
        "Object: {id}\nType: file\nFile Type: {kind}\nMode: 0{:04o}\nUid: {}\nGid: {}\n\
         Extended Attributes: {{ {xattrs} }}\n",
        header.mode, header.uid, header.gid
    ))
}
