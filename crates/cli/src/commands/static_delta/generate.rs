// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta generate`.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Result, bail};
use oxtree_format::DeltaName;
use oxtree_format::delta::ByteOrder;
use oxtree_repo::Repo;
use oxtree_repo::delta::generate::{Options, Report};
use oxtree_repo::sign::Signer;
use oxtree_sign::{Engine, SecretKey};

use crate::context::Context;
use crate::error::Usage;
use crate::{signing, text};

/// Options of `static-delta generate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Up to eight cores work on it, each with about 40 MB of memory; an old and a new file that are
compared are held in memory, too, and large ones only one pair at a time (--max-bsdiff-size). Files
that have changed are made of the old ones where that saves something: from copies of runs that are
the same, or by a patch.

Examples:
  oxtree static-delta generate os/stable
  oxtree static-delta generate --from=os/old --to=os/stable --min-fallback-size=0
  oxtree static-delta generate --empty os/stable
  oxtree static-delta generate --inline --min-fallback-size=0 --filename=update.delta os/stable")]
pub(crate) struct Args {
    /// The commit that clients have [default: the parent of the other]
    #[arg(long, value_name = "REV")]
    from: Option<String>,
    /// Make a delta for clients that have nothing
    #[arg(long)]
    empty: bool,
    /// Put all into one file
    #[arg(long)]
    inline: bool,
    /// The commit that clients get
    #[arg(long, value_name = "REV")]
    to: Option<String>,
    /// Make no patches: copy runs that are the same, and send the rest whole
    #[arg(long)]
    disable_bsdiff: bool,
    /// Do nothing if there is such a delta
    #[arg(long, short = 'n')]
    if_not_exists: bool,
    /// The order of the bytes in the delta's metadata: l for little-endian, B for big-endian
    #[arg(long, value_name = "ENDIAN")]
    set_endianness: Option<String>,
    /// Use the other order
    #[arg(long)]
    swap_endianness: bool,
    /// Leave out larger files that are like no old one, to be fetched one by one; in units of a million bytes, 0
    /// for none
    #[arg(long, value_name = "MEGABYTES", default_value = "4")]
    min_fallback_size: String,
    /// Make no patches of files that have more together with their old ones; in units of a million
    /// bytes
    #[arg(long, value_name = "MEGABYTES", default_value = "128")]
    max_bsdiff_size: String,
    /// Begin another part after so much content; in units of a million bytes
    #[arg(long, value_name = "MEGABYTES", default_value = "32")]
    max_chunk_size: String,
    /// Write the delta to this file, and its parts beside it, instead of to the repository
    #[arg(long, value_name = "PATH")]
    filename: Option<PathBuf>,
    /// Sign with this key. Everybody on the machine can see it: --keys-file is better
    #[arg(long, value_name = "KEY_ID")]
    sign: Vec<String>,
    /// How to sign: ed25519, spki or dummy
    #[arg(long, value_name = "NAME", default_value = "ed25519")]
    sign_type: String,
    /// Sign with the keys in this file: one a line in base64, or PEM
    #[arg(long, value_name = "NAME")]
    keys_file: Option<PathBuf>,
    /// The commit that clients get
    #[arg(value_name = "TO")]
    commit: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    args.check(context)?;
    let repo = context.open_repo()?;
    repo.check_writable()?;
    let name = args.name(&repo)?;
    if args.if_not_exists && repo.has_static_delta(&name)? {
        return context.out.line(&format!("Delta {name} already exists."));
    }
    let options = args.options()?;
    let signers = args.signers(context)?;
    let signers: Vec<&dyn Signer> = signers.iter().map(|key| key as &dyn Signer).collect();
    context.out.line("Generating static delta:")?;
    let from = name
        .from
        .map_or("empty".to_owned(), |from| from.to_string());
    context.out.line(&format!("  From: {from}"))?;
    context.out.line(&format!("  To:   {}", name.to))?;
    context.out.flush()?;
    let report = repo.generate_static_delta(&name, &options, &signers, context.progress())?;
    describe(&report, context);
    Ok(())
}

impl Args {
    /// Finds arguments that contradict each other.
    fn check(&self, context: &Context<'_>) -> Result<()> {
        context.contradictions(&[
            (
                self.to.is_some() && self.commit.is_some() && self.to != self.commit,
                "--to and TO name two commits",
            ),
            (
                self.if_not_exists && self.filename.is_some(),
                "--if-not-exists looks for a delta in the repository, --filename writes one elsewhere",
            ),
        ])
    }

    fn name(&self, repo: &Repo) -> Result<DeltaName> {
        let Some(to) = self.to.as_ref().or(self.commit.as_ref()) else {
            return Err(Usage("TO revision must be specified".to_owned()).into());
        };
        let from = match &self.from {
            Some(_) if self.empty => bail!("Cannot specify both --empty and --from=REV"),
            Some(from) => Some(repo.resolve_rev(from)?),
            None if self.empty => None,
            None => Some(repo.resolve_rev(&format!("{to}^"))?),
        };
        let to = repo.resolve_rev(to)?;
        Ok(DeltaName { from, to })
    }

    fn options(&self) -> Result<Options> {
        let order = match self.set_endianness.as_deref() {
            None | Some("l") => ByteOrder::Little,
            Some("B") => ByteOrder::Big,
            Some(other) => bail!("Invalid endianness '{other}'"),
        };
        let order = match (order, self.swap_endianness) {
            (order, false) => order,
            (ByteOrder::Little, true) => ByteOrder::Big,
            (ByteOrder::Big, true) => ByteOrder::Little,
        };
        let min_fallback = megabytes("--min-fallback-size", &self.min_fallback_size)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Ok(Options {
            inline: self.inline,
            bsdiff: !self.disable_bsdiff,
            min_fallback: (min_fallback > 0).then_some(min_fallback),
            max_bsdiff: megabytes("--max-bsdiff-size", &self.max_bsdiff_size)?,
            max_chunk: megabytes("--max-chunk-size", &self.max_chunk_size)?,
            order,
            file: self.filename.clone(),
            timestamp: now.unwrap_or_default().as_secs(),
        })
    }

    fn signers(&self, context: &Context<'_>) -> Result<Vec<SecretKey>> {
        let engine = Engine::from_name(&self.sign_type)?;
        let dummy = signing::dummy(context);
        let mut keys = Vec::new();
        for key in &self.sign {
            keys.push(SecretKey::parse(engine, key, dummy)?);
        }
        if let Some(file) = &self.keys_file {
            keys.extend(SecretKey::read(engine, file, dummy)?);
        }
        Ok(keys)
    }
}

/// Bytes in a number of megabytes.
fn megabytes(option: &str, text: &str) -> Result<u64> {
    let number = text.parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(1_000_000))
        .ok_or_else(|| Usage(format!("Cannot parse integer value ‘{text}’ for {option}")).into())
}

/// What libostree says on standard error when it is done.
fn describe(report: &Report, context: &Context<'_>) {
    let note = |line: String| context.out.note(&line);
    note(format!("modified: {}", report.modified));
    note(format!(
        "new reachable: metadata={} content regular={} symlink={}",
        report.metadata, report.regular, report.symlinks
    ));
    for (file, size) in &report.fallbacks {
        note(format!("fallback for {file} ({})", text::size(*size)));
    }
    note(format!(
        "uncompressed={} compressed={} loose={}",
        report.uncompressed, report.compressed, report.loose
    ));
    note(format!(
        "rollsum={} objects, {} bytes",
        report.copied, report.copied_bytes
    ));
    note(format!("bsdiff={} objects", report.patched));
}
