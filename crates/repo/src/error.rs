// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong in a repository.

use std::io;
use std::path::PathBuf;

use oxtree_format::{Checksum, CommitId, ObjectId};

use crate::words::plain;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a repository failed. Each says on which object, ref or path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{action} {path}: {}", plain(&.source.to_string()))]
    Io {
        /// What was being done: "opening", "writing", …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no repository at this path.
    #[error("{path}: not an OSTree repository: {reason}")]
    NotARepo {
        /// The path.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The repository's `config` cannot be used.
    #[error("{path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The object is in neither the repository nor its parents.
    #[error("No such metadata object {0}")]
    MetadataNotFound(ObjectId),
    /// The file object is in neither the repository nor its parents.
    #[error("Couldn't find file object '{0}'")]
    FileNotFound(Checksum),
    /// An object's bytes are no object of its kind.
    #[error("Corrupted object {object}: {reason}")]
    Corrupt {
        /// The object.
        object: ObjectId,
        /// What is wrong with it.
        reason: String,
    },
    /// An object's bytes are not those that its name promises.
    #[error("Corrupted {} object; checksum expected='{}' actual='{actual}'", .expected.kind.name(), .expected.checksum)]
    ChecksumMismatch {
        /// The object's name.
        expected: ObjectId,
        /// The checksum of its bytes.
        actual: Checksum,
    },
    /// A commit that is not whole.
    #[error("commit {commit} is incomplete: {object} is missing, needed for {path}")]
    Incomplete {
        /// The commit.
        commit: CommitId,
        /// An object that is not there.
        object: ObjectId,
        /// Where in the commit it belongs.
        path: String,
    },
    /// Nothing is called so.
    #[error("Refspec '{0}' not found")]
    RefNotFound(String),
    /// A ref is there, but cannot be read.
    #[error("{0}")]
    DamagedRef(crate::refs::DamagedRef),
    /// The commit has no parent to go to.
    #[error("Commit {0} has no parent")]
    NoParent(CommitId),
    /// A ref is not what the caller thought it was.
    #[error("ref {name} is at {}, not at {}", show(.actual), show(.expected))]
    RefMoved {
        /// The ref.
        name: String,
        /// Where the caller thought it was.
        expected: Option<CommitId>,
        /// Where it is.
        actual: Option<CommitId>,
    },
    /// A ref cannot have a name with a slash after the name of another.
    #[error("Conflict: a part of {0} is a ref itself")]
    RefInTheWay(String),
    /// A ref cannot have a name that others have before a slash.
    #[error("Conflict: {found} exists under {name} when attempting write")]
    RefsBelow {
        /// The ref to be written.
        name: String,
        /// One of those below it.
        found: String,
    },
    /// A ref that an alias stands for is not deleted.
    #[error("Ref '{name}' has an active alias: '{alias}'")]
    HasAlias {
        /// The ref.
        name: String,
        /// The alias.
        alias: String,
    },
    /// What was asked for makes no sense, or not here.
    #[error("{0}")]
    Invalid(String),
    /// Another process holds the repository's lock.
    #[error(
        "Locking repo {kind} failed: {path} is locked by another process; gave up after {seconds} s"
    )]
    Locked {
        /// `shared` or `exclusive`.
        kind: &'static str,
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// Writing this would leave less free space than the repository's config demands.
    #[error("{rule} would be exceeded, at least {requested} bytes requested")]
    NoSpace {
        /// The config key with its value.
        rule: String,
        /// How much was to be written.
        requested: u64,
    },
    /// A path inside a commit does not exist.
    #[error("No such file or directory: {0}")]
    PathNotFound(String),
    /// A path inside a commit goes on below something that is no directory. (The field says what;
    /// the text is libostree's.)
    #[error("Not a directory")]
    NotADirectory(String),
    /// A path inside a commit is a directory, where a file was wanted.
    #[error("Can't open directory")]
    IsADirectory(String),
    /// A step of a checkout failed.
    #[error("{step}: {source}")]
    Checkout {
        /// The step and the name, in the words in which libostree puts it.
        step: String,
        /// The system's answer.
        source: io::Error,
    },
    /// What was to be written somewhere else than to a repository could not be.
    #[error("writing: {0}")]
    Output(#[source] io::Error),
    /// A signature could not be made, or is not good.
    #[error("{0}")]
    Signature(#[source] crate::sign::SignError),
    /// The bytes of something other than an object are not in order.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn show(commit: &Option<CommitId>) -> String {
    commit.map_or_else(|| "nothing".to_owned(), |id| id.to_string())
}

impl Error {
    /// For `map_err` on system calls: says what was done to which path.
    pub fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source: source.into(),
        }
    }

    /// What a parser says about a name that a user wrote.
    pub fn invalid<E: std::error::Error>(error: E) -> Self {
        Self::Invalid(error.to_string())
    }

    /// An object that does not parse.
    pub fn corrupt(object: impl Into<ObjectId>, reason: impl ToString) -> Self {
        Self::Corrupt {
            object: object.into(),
            reason: plain(&reason.to_string()).into_owned(),
        }
    }

    /// An object that is nowhere to be found.
    pub fn not_found(object: impl Into<ObjectId>) -> Self {
        let object = object.into();
        match object.kind {
            oxtree_format::ObjectKind::File => Self::FileNotFound(object.checksum),
            _ => Self::MetadataNotFound(object),
        }
    }

    /// True if this says that some object is not there.
    pub fn is_missing_object(&self) -> bool {
        matches!(self, Self::MetadataNotFound(_) | Self::FileNotFound(_))
    }

    /// True if an object is not what its name says, or not an object.
    pub fn is_bad_object(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::ChecksumMismatch { .. })
    }

    /// True if something that a commit needs is not there.
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Self::Incomplete { .. }) || self.is_missing_object()
    }

    /// True if somebody else has the repository for themselves, and may let go of it.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }

    /// True if there is no room for what was to be written.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. }) || self.io_kind() == Some(io::ErrorKind::StorageFull)
    }

    /// What the user could do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotARepo { path, .. } => {
                format!("`oxtree init --repo={}` makes a new one", path.display())
            }
            Self::RefNotFound(_) => "`oxtree refs` lists what there is".to_owned(),
            Self::DamagedRef(damaged) => {
                let name = damaged.refspec().map(|name| name.to_string());
                let name = name.as_deref().unwrap_or("NAME");
                format!(
                    "`oxtree refs --delete {name}` deletes the ref, `oxtree refs --force --create={name} COMMIT` sets it again"
                )
            }
            Self::Locked { .. } => {
                "wait for the other process, or raise core.lock-timeout-secs".to_owned()
            }
            Self::NoSpace { .. } => {
                "free some space, or lower the limit with `oxtree config set`".to_owned()
            }
            error => match error.io_kind()? {
                std::io::ErrorKind::PermissionDenied => {
                    "run as the repository's owner, or mend its permissions".to_owned()
                }
                std::io::ErrorKind::ReadOnlyFilesystem => {
                    "the file system is mounted read-only".to_owned()
                }
                std::io::ErrorKind::StorageFull => "the file system is full".to_owned(),
                _ => return None,
            },
        })
    }

    /// The kind of the system's error, where that is what this is.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } | Self::Output(source) => Some(source.kind()),
            _ => None,
        }
    }
}
