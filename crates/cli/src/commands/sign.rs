// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sign`: signatures with plain keys, made, verified and deleted.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use oxtree_format::CommitId;
use oxtree_format::detached::Detached;
use oxtree_repo::Repo;
use oxtree_repo::sign::Signer;
use oxtree_sign::{Engine, PublicKeys, SecretKey, keys};

use crate::context::Context;
use crate::error::Usage;
use crate::signing;

/// Options of `sign`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A KEY-ID is a key itself: a secret one to sign with, or with --verify or --delete a public one.
For ed25519 a secret key is the base64 of 64 bytes (the seed and the public key), a public one that
of 32; for spki they are the base64 of PKCS #8 and of SubjectPublicKeyInfo, as `openssl genpkey`
and `openssl pkey -pubout` write them. Everybody on the machine can see what is on a command line:
secret keys belong into a file.

Without KEY-ID and --keys-file, --verify trusts the keys in trusted.TYPE and trusted.TYPE.d/ of
/etc/ostree and /usr/share/ostree, unless they are in revoked.TYPE or revoked.TYPE.d/ there.

libostree takes --delete, too, and signs.

Examples:
  oxtree sign --keys-file=secret.ed25519 main
  oxtree sign --verify --keys-file=trusted.ed25519 main
  oxtree sign --sign-type=spki --keys-file=key.pem main")]
pub(crate) struct Args {
    /// Delete the signatures that one of the keys has made
    #[arg(long, short)]
    delete: bool,
    /// Verify instead of signing: succeed if one of the keys has signed
    #[arg(long)]
    verify: bool,
    /// How to sign: ed25519, spki or dummy
    #[arg(long, short, value_name = "NAME", default_value = "ed25519")]
    sign_type: String,
    /// A file of keys: one a line in base64, or PEM
    #[arg(long, value_name = "NAME")]
    keys_file: Option<PathBuf>,
    /// Where to look for trusted and revoked keys, instead of /etc/ostree and /usr/share/ostree
    #[arg(long, value_name = "NAME")]
    keys_dir: Option<PathBuf>,
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// Keys
    #[arg(value_name = "KEY-ID")]
    keys: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let both = args.delete && args.verify;
    context.contradictions(&[(both, "--delete and --verify exclude each other")])?;
    let repo = context.open_repo()?;
    let Some(commit) = &args.commit else {
        return Err(Usage("Need a COMMIT to sign or verify".to_owned()).into());
    };
    if !args.verify && args.keys_file.is_none() && args.keys.is_empty() {
        return Err(Usage("Need at least one KEY-ID to sign with".to_owned()).into());
    }
    let commit = repo.resolve_rev(commit)?;
    let engine = Engine::from_name(&args.sign_type)?;
    let dummy = signing::dummy(context);
    if args.verify {
        let message = args.verify(&repo, commit, engine, dummy)?;
        return context.out.line(&message);
    }
    if args.delete {
        let keys = args.public_keys(engine, dummy)?;
        let count = repo.edit_detached_metadata(commit, |data, detached| {
            keys.delete_signatures(data, detached)
        })?;
        return context.out.line(&format!("Signatures deleted: {count}"));
    }
    let mut secrets = Vec::new();
    for key in &args.keys {
        secrets.push(SecretKey::parse(engine, key, dummy)?);
    }
    if let Some(file) = &args.keys_file {
        secrets.extend(SecretKey::read(engine, file, dummy)?);
    }
    let signers: Vec<&dyn Signer> = secrets.iter().map(|key| key as &dyn Signer).collect();
    Ok(repo.sign_commit(commit, &signers)?)
}

impl Args {
    /// The keys that were named.
    fn public_keys(&self, engine: Engine, dummy: bool) -> Result<PublicKeys> {
        let mut keys = PublicKeys::new(engine, dummy)?;
        for key in &self.keys {
            keys.add(key)?;
        }
        if let Some(file) = &self.keys_file {
            keys.add_file(file)?;
        }
        Ok(keys)
    }

    /// What to tell the user, if one of the keys has signed.
    fn verify(&self, repo: &Repo, commit: CommitId, engine: Engine, dummy: bool) -> Result<String> {
        let data = repo.load_commit(commit)?;
        let detached = repo.load_detached_metadata(commit)?.unwrap_or_default();
        let detached =
            Detached::parse(&detached).with_context(|| format!("detached metadata of {commit}"))?;
        let signatures = detached.signatures(engine.metadata_key())?;
        // One key is enough, and one that is none is no worse than one that has not signed.
        for key in &self.keys {
            let verified = PublicKeys::new(engine, dummy).and_then(|mut keys| {
                keys.add(key)?;
                keys.verify(&data, &signatures)
            });
            if let Ok(message) = verified {
                return Ok(message);
            }
        }
        if !self.keys.is_empty() && self.keys_file.is_none() {
            return Err(anyhow::anyhow!("No valid signatures found"));
        }
        let mut keys = PublicKeys::new(engine, dummy)?;
        match (&self.keys_file, &self.keys_dir) {
            (Some(file), _) => keys.add_file(file)?,
            (None, Some(dir)) => keys.add_dirs(&[dir])?,
            (None, None) => keys.add_dirs(&keys::DIRS)?,
        }
        if detached.value(engine.metadata_key()).is_none() {
            return Err(oxtree_sign::Error::NotSigned(engine.name()).into());
        }
        Ok(keys.verify(&data, &signatures)?)
    }
}
