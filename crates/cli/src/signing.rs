// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the commands that sign have in common.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;
use oxtree_repo::sign::Signer;
use oxtree_sign::gpg::{self, Gpg};
use oxtree_sign::{Engine, SecretKey, Trust, keys};

use crate::context::Context;
use crate::text;

/// The default of `--sign-type`.
const SIGN_TYPE: &str = "ed25519";

/// Options about signatures, of `commit` and `summary`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Sign with this key of gpg
    #[arg(long, value_name = "KEY-ID")]
    gpg_sign: Vec<String>,
    /// Where gpg has its keys
    #[arg(long, value_name = "HOMEDIR")]
    gpg_homedir: Option<PathBuf>,
    /// Sign with this key of ed25519, spki or dummy. Everybody on the machine can see it:
    /// --sign-from-file is better
    #[arg(long = "sign", value_name = "KEY-ID")]
    keys: Vec<String>,
    /// Sign with the keys in this file: one a line in base64, or PEM
    #[arg(long, value_name = "PATH")]
    sign_from_file: Vec<PathBuf>,
    /// How to sign with --sign and --sign-from-file: ed25519, spki or dummy
    #[arg(long, value_name = "NAME", default_value = SIGN_TYPE)]
    sign_type: String,
}

impl Options {
    /// Where gpg has its keys, if that was said.
    pub(crate) fn gpg_homedir(&self) -> Option<&Path> {
        self.gpg_homedir.as_deref()
    }

    /// Finds options that have no effect: nothing would be signed.
    pub(crate) fn check(&self, context: &Context<'_>) -> Result<()> {
        let keys = !self.keys.is_empty() || !self.sign_from_file.is_empty();
        context.contradictions(&[
            (
                !keys && self.sign_type != SIGN_TYPE,
                "--sign-type has no effect without --sign or --sign-from-file: nothing is signed",
            ),
            (
                self.gpg_homedir.is_some() && self.gpg_sign.is_empty(),
                "--gpg-homedir has no effect without --gpg-sign: nothing is signed",
            ),
        ])
    }

    /// Whether something is to be signed.
    pub(crate) fn is_asked_for(&self) -> bool {
        !(self.gpg_sign.is_empty() && self.keys.is_empty() && self.sign_from_file.is_empty())
    }

    /// Those who are to sign, in the order of the options, GPG first.
    pub(crate) fn signers(&self, context: &Context<'_>) -> Result<Vec<Box<dyn Signer>>> {
        let mut signers: Vec<Box<dyn Signer>> = Vec::new();
        let gpg = Gpg::new(self.gpg_homedir.as_deref())?;
        for id in &self.gpg_sign {
            signers.push(Box::new(gpg.signer(id)?));
        }
        if self.keys.is_empty() && self.sign_from_file.is_empty() {
            return Ok(signers);
        }
        let engine = Engine::from_name(&self.sign_type)?;
        let dummy = dummy(context);
        for key in &self.keys {
            signers.push(Box::new(SecretKey::parse(engine, key, dummy)?));
        }
        for file in &self.sign_from_file {
            for key in SecretKey::read(engine, file, dummy)? {
                signers.push(Box::new(key));
            }
        }
        Ok(signers)
    }
}

/// Whether signatures that are none may be made and believed, for tests.
pub(crate) fn dummy(context: &Context<'_>) -> bool {
    context
        .var("OSTREE_DUMMY_SIGN_ENABLED")
        .is_some_and(|on| on == "1")
}

/// What is trusted here and now.
pub(crate) fn trust(context: &Context<'_>) -> Trust {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Trust {
        now: now.unwrap_or_default().as_secs(),
        show_time: text::c_time,
        gpg_dir: context
            .var("OSTREE_GPG_HOME")
            .map_or_else(|| gpg::TRUSTED_DIR.into(), PathBuf::from),
        key_dirs: keys::DIRS.map(PathBuf::from).to_vec(),
        dummy: dummy(context),
    }
}
