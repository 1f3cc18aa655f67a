// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys by which a static delta may be signed, and whether it is.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use oxtree_repo::delta::DeltaFiles;
use oxtree_sign::{Engine, PublicKeys, keys};

use crate::context::Context;
use crate::signing;

/// Options about keys to verify with.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// How it is signed: ed25519, spki or dummy
    #[arg(long, value_name = "NAME", default_value = "ed25519")]
    sign_type: String,
    /// A file of keys: one a line in base64, or PEM
    #[arg(long, value_name = "NAME")]
    keys_file: Option<PathBuf>,
    /// Where to look for trusted and revoked keys, instead of /etc/ostree and /usr/share/ostree
    #[arg(long, value_name = "NAME")]
    keys_dir: Option<PathBuf>,
    /// Public keys that are trusted
    #[arg(value_name = "KEY-ID")]
    keys: Vec<String>,
}

impl Options {
    /// The keys that were named or, if none were, those that the system trusts. [`None`] if that does not trust
    /// any.
    pub(super) fn trusted(&self, context: &Context<'_>) -> Result<Option<PublicKeys>> {
        let engine = Engine::from_name(&self.sign_type)?;
        let dummy = signing::dummy(context);
        if self.keys.is_empty() && self.keys_file.is_none() && self.keys_dir.is_none() {
            let system = PublicKeys::new(engine, dummy).and_then(|mut keys| {
                keys.add_dirs(&keys::DIRS)?;
                Ok(keys)
            });
            return Ok(system.ok());
        }
        let mut trusted = PublicKeys::new(engine, dummy)?;
        for key in &self.keys {
            trusted.add(key)?;
        }
        match (&self.keys_file, &self.keys_dir) {
            (Some(file), _) => trusted.add_file(file)?,
            (None, Some(dir)) if self.keys.is_empty() => trusted.add_dirs(&[dir])?,
            _ => {}
        }
        Ok(Some(trusted))
    }
}

/// Says by which key a delta is signed; an error if it is by none of these.
pub(super) fn verify(files: &DeltaFiles, trusted: &PublicKeys) -> Result<String> {
    let Some(signed) = files.signed()? else {
        bail!("no signatures in static-delta");
    };
    let key = trusted.engine().metadata_key();
    let signatures = signed.signatures.signatures(key)?;
    let verified = trusted.verify(signed.superblock, &signatures);
    verified.map_err(|error| anyhow!("signature: {error}"))
}
