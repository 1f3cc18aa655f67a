// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of keys and signatures.

use std::io;
use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be signed, or is not signed well. Where libostree has words for it,
/// these are they.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of keys cannot be read.
    #[error("{action}({path}): {source}", path = .path.display())]
    Io {
        /// `opendir`, `open`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no engine of this name.
    #[error("Requested signature type is not implemented")]
    UnknownEngine,
    /// The dummy engine is not switched on.
    #[error("dummy signature type is only for ostree testing")]
    DummyDisabled,
    /// A public key that is none. (Says nothing of what it was.)
    #[error("Invalid {engine} public key: {reason}")]
    PublicKey {
        /// The engine's name.
        engine: &'static str,
        /// Why it is invalid.
        reason: String,
    },
    /// A secret key that is none. (Says nothing of what it was.)
    #[error("Invalid {engine} secret key: {reason}")]
    SecretKey {
        /// The engine's name.
        engine: &'static str,
        /// Why it is invalid.
        reason: String,
    },
    /// A path at which keys were expected in a file.
    #[error("File object '{}' is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// A file without keys.
    #[error("signature: {engine}: no valid keys in file '{}'", .path.display())]
    NoKeysInFile {
        /// The engine's name.
        engine: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// None of the places to look for keys has any.
    #[error("signature: {0}: no keys loaded")]
    NoKeys(&'static str),
    /// Nothing is signed in this way.
    #[error("{0}: commit have no signatures of my type")]
    NotSigned(&'static str),
    /// None of the signatures is by one of the keys.
    #[error("{engine}: {reason}")]
    NotVerified {
        /// The engine's name.
        engine: &'static str,
        /// The attempted operation.
        reason: String,
    },
    /// Detached metadata that cannot be read.
    #[error("reading signatures: {0}")]
    Detached(#[from] oxtree_format::Error),
    /// The cryptography failed.
    #[error("{engine}: Failed to sign: {reason}")]
    Signing {
        /// The engine's name.
        engine: &'static str,
        /// Why.
        reason: String,
    },
    /// A key or signature that is not OpenPGP.
    #[error("{what}: {reason}")]
    OpenPgp {
        /// Where it comes from.
        what: String,
        /// Why it is invalid.
        reason: String,
    },
    /// Untrusted input has more of something than is allowed.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// GPG signatures were demanded, and there are none.
    #[error(
        "GPG verification enabled, but no signatures found (use gpg-verify=false in remote config \
         to disable)"
    )]
    NoGpgSignatures,
    /// A summary without GPG signatures, where they are demanded.
    #[error("GPG verification enabled, but no signatures found")]
    NoGpgSummarySignatures,
    /// None of the GPG signatures is good; a description of each.
    #[error("{0}")]
    GpgNotVerified(String),
    /// The commit has this signature already.
    #[error("Commit is already signed with GPG key {0}")]
    AlreadySigned(String),
    /// `gpg` has no such secret key.
    #[error("No gpg key found with ID {id} (homedir: {homedir})")]
    NoGpgKey {
        /// The user's name for the key.
        id: String,
        /// Where it was looked for.
        homedir: String,
    },
    /// `gpg` could not be run or failed.
    #[error("gpg: {0}")]
    Gpg(String),
    /// A key that is asked for is not in the keyrings.
    #[error("GPG: Unable to find key \"{0}\"")]
    KeyNotFound(String),
    /// The repository's settings for a remote make no sense.
    #[error("{0}")]
    Config(String),
}

impl Error {
    /// For `map_err` on system calls.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
