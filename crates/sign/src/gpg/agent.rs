// SPDX-License-Identifier: MIT OR Apache-2.0
//! `gpg` as a child, for what needs secret keys: those live in its agent or on a card, and it asks
//! for passphrases. Nothing secret goes through here.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use oxtree_format::detached::{Detached, NewDetached, keys};
use oxtree_format::gvariant::OwnedVariant;
use oxtree_repo::sign::{SignError, Signer};

use super::verify::issuers;
use crate::{Error, Result};

/// `gpg` with a home directory.
#[derive(Clone, Debug, Default)]
pub struct Gpg {
    homedir: Option<PathBuf>,
}

/// Signs with a secret key of `gpg`.
#[derive(Clone, Debug)]
pub struct GpgSigner {
    gpg: Gpg,
    /// The user's name for the key.
    id: String,
    found: OnceLock<Found>,
}

/// A secret key that `gpg` has.
#[derive(Clone, Debug)]
struct Found {
    /// What `gpg` is to sign with.
    key: String,
    /// The fingerprints of the key and its subkeys.
    fingerprints: Vec<String>,
}

impl Gpg {
    /// `gpg` with a home directory, or the user's own.
    pub fn new(homedir: Option<&Path>) -> Result<Self> {
        // A relative one would end up in the names of its agent's sockets.
        let absolute =
            |homedir: &Path| std::path::absolute(homedir).map_err(Error::io("looking up", homedir));
        Ok(Self {
            homedir: homedir.map(absolute).transpose()?,
        })
    }

    /// The secret key that the user means by `id`.
    pub fn signer(&self, id: &str) -> Result<GpgSigner> {
        let signer = self.signer_later(id);
        signer.found()?;
        Ok(signer)
    }

    /// The same, but `gpg` is run only once there is something to sign: whether it has such a key is
    /// known by then.
    pub fn signer_later(&self, id: &str) -> GpgSigner {
        GpgSigner {
            gpg: self.clone(),
            id: id.to_owned(),
            found: OnceLock::new(),
        }
    }

    /// Looks up the secret key that the user means by `id`.
    fn find(&self, id: &str) -> Result<Found> {
        let listed = self.run(&["--with-colons", "--list-secret-keys", "--", id], None)?;
        let fingerprints: Vec<String> = String::from_utf8_lossy(&listed.stdout)
            .lines()
            .filter_map(|line| {
                line.strip_prefix("fpr:")?
                    .split(':')
                    .nth(8)
                    .map(str::to_owned)
            })
            .collect();
        let Some(first) = fingerprints.first() else {
            let homedir = self.homedir.as_ref();
            return Err(Error::NoGpgKey {
                id: id.to_owned(),
                homedir: homedir.map_or_else(
                    || "<default>".to_owned(),
                    |homedir| homedir.display().to_string(),
                ),
            });
        };
        // With an exclamation mark the user insists on a certain subkey.
        let key = match id.ends_with('!') {
            true => id.to_owned(),
            false => first.clone(),
        };
        Ok(Found { key, fingerprints })
    }

    /// The fingerprints of the keys that the user means by `id`, as far as `gpg` knows them.
    pub fn fingerprints(&self, id: &str) -> Result<Vec<String>> {
        let listed = self.run(&["--with-colons", "--list-keys", "--", id], None)?;
        Ok(String::from_utf8_lossy(&listed.stdout)
            .lines()
            .filter_map(|line| {
                line.strip_prefix("fpr:")?
                    .split(':')
                    .nth(8)
                    .map(str::to_owned)
            })
            .collect())
    }

    /// The public keys that `ids` mean, or all, as a keyring.
    pub fn export(&self, ids: &[String]) -> Result<Vec<u8>> {
        let mut args = vec!["--export", "--"];
        args.extend(ids.iter().map(String::as_str));
        let output = self.run(&args, None)?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(Error::Gpg(complaint(&output))),
        }
    }

    fn run(&self, args: &[&str], input: Option<&[u8]>) -> Result<Output> {
        let mut words: Vec<OsString> = vec!["--batch".into()];
        if let Some(homedir) = &self.homedir {
            words.push("--homedir".into());
            words.push(homedir.into());
        }
        words.extend(args.iter().map(OsString::from));
        let mut child = Command::new("gpg")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Error::Gpg(format!("starting it: {error}")))?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // If gpg closes its input early, its own error says why.
                if let (Some(mut stdin), Some(input)) = (stdin, input) {
                    let _ = stdin.write_all(input);
                }
            });
            child.wait_with_output()
        })
        .map_err(|error| Error::Gpg(format!("waiting for it: {error}")))
    }
}

/// What `gpg` says went wrong.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    match last {
        Some(line) => line.trim_start_matches("gpg: ").to_owned(),
        None => format!("{}", output.status),
    }
}

impl GpgSigner {
    fn found(&self) -> Result<&Found> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = self.gpg.find(&self.id)?;
        Ok(self.found.get_or_init(|| found))
    }
}

impl Found {
    /// Whether the signature is by this key or one of its subkeys.
    fn has_made(&self, blob: &[u8]) -> bool {
        issuers(blob).iter().any(|issuer| {
            let own = |fingerprint: &String| fingerprint.ends_with(issuer.as_str());
            self.fingerprints.iter().any(own)
        })
    }
}

impl Signer for GpgSigner {
    fn metadata_key(&self) -> &'static str {
        keys::GPG
    }

    fn sign(&self, data: &[u8], earlier: &[&[u8]]) -> Result<Vec<u8>, SignError> {
        if self.has_signed(earlier) {
            return Err(Error::AlreadySigned(self.id.clone()).into());
        }
        let user = format!("--local-user={}", self.found()?.key);
        let args = [&*user, "--no-armor", "--detach-sign", "--output=-"];
        let output = self.gpg.run(&args, Some(data))?;
        match output.status.success() && !output.stdout.is_empty() {
            true => Ok(output.stdout),
            false => Err(Error::Gpg(complaint(&output)).into()),
        }
    }

    fn has_signed(&self, earlier: &[&[u8]]) -> bool {
        // A key that cannot be found has signed nothing; to sign with it fails, and says why.
        !earlier.is_empty()
            && self
                .found()
                .is_ok_and(|found| earlier.iter().any(|blob| found.has_made(blob)))
    }
}

/// Deletes the GPG signatures that are by one of these keys, each named by its fingerprint or the
/// end of it. Returns how many.
pub fn delete_signatures(
    detached: &mut NewDetached,
    makers: &[String],
) -> Result<usize, SignError> {
    let bytes = detached.to_bytes();
    let old = Detached::parse(&bytes)?.signatures(keys::GPG)?;
    let is_maker = |issuer: &String| {
        makers
            .iter()
            .any(|maker| issuer.ends_with(maker.as_str()) || maker.ends_with(issuer.as_str()))
    };
    let (gone, kept): (Vec<&[u8]>, Vec<&[u8]>) = old
        .into_iter()
        .partition(|blob| issuers(blob).iter().any(is_maker));
    if !gone.is_empty() {
        match kept.is_empty() {
            true => drop(detached.remove(keys::GPG)),
            false => detached.set(keys::GPG, OwnedVariant::of(&kept))?,
        }
    }
    Ok(gone.len())
}
