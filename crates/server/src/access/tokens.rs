// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tokens, and the file that they are kept in: a JSON document, of which only its owner can read
//! anything, and which holds no secret. `docs/http.md` describes it.
//!
//! A token is 256 random bits, so a fast hash of it reveals nothing.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use oxtree_format::Checksum;
use oxtree_format::checksum::hex;
use oxtree_transfer::limits::Caps;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, OFlags};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{Client, Permission};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The prefix of tokens, so that scanners for secrets find them in logs and sources.
const PREFIX: &str = "oxtree_";

/// Why tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is one of that name.
    #[error("there is a token called {0} already; revoke it first, or take another name")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no token called {0}")]
    NotFound(String),
    /// A client that may create tokens can create one for everything.
    #[error(
        "a token that allows admin is for all repositories and refs: whoever has it can make others for them"
    )]
    AdminOfSome,
    /// A name that is none.
    #[error("'{0}' is no name of a token: letters, digits and any of . _ - make one")]
    Name(String),
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// The SHA-256 of the secret, in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub created: u64,
    /// When it ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Patterns of repositories; all, if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repos: Option<Vec<String>>,
    /// Patterns of refs; all, if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refs: Option<Vec<String>>,
    /// Its permissions.
    pub permissions: Vec<Permission>,
    /// The limits of a push.
    #[serde(default, skip_serializing_if = "Caps::is_none")]
    pub limits: Caps,
}

impl Token {
    /// The client that uses it. A token with `admin` for some repositories or refs, which cannot be
    /// created here, has all the other permissions there.
    pub fn client(&self) -> Client {
        let mut permissions: BTreeSet<Permission> = self.permissions.iter().copied().collect();
        if self.is_admin_of_some() {
            permissions.extend(Permission::ALL);
            permissions.remove(&Permission::Admin);
        }
        Client {
            name: Some(self.name.clone()),
            // Enough to tell two hashes apart.
            id: self.hash.get(..16).map(str::to_owned),
            permissions,
            repos: self.repos.clone(),
            refs: self.refs.clone(),
            caps: self.limits,
        }
    }

    fn is_admin_of_some(&self) -> bool {
        let is_bound = self.repos.is_some() || self.refs.is_some();
        is_bound && self.permissions.contains(&Permission::Admin)
    }

    /// Whether it has ended.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    tokens: Vec<Token>,
}

/// Identifies one state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

type Known = Option<(Stamp, Arc<Vec<Token>>)>;

/// The token file. Changes by other processes apply from the next request on.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    known: Mutex<Known>,
}

impl TokenFile {
    /// The file at this path, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            known: Mutex::new(None),
        }
    }

    fn failed(&self) -> impl Fn(io::Error) -> TokenError + '_ {
        |source| TokenError::File {
            path: self.path.clone(),
            source,
        }
    }

    /// All tokens.
    pub fn all(&self) -> Result<Arc<Vec<Token>>, TokenError> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Arc::default());
            }
            file => file.map_err(self.failed())?,
        };
        let stat = file.metadata().map_err(self.failed())?;
        let stamp = Stamp {
            inode: stat.ino(),
            size: stat.size(),
            modified: (stat.mtime(), stat.mtime_nsec()),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, tokens)) = &*known
            && *at == stamp
        {
            return Ok(Arc::clone(tokens));
        }
        if stat.mode() & 0o077 != 0 {
            let reason = "others may read it; `chmod 600` it";
            return Err(self.failed()(io::Error::other(reason)));
        }
        let tokens = Arc::new(read(file).map_err(self.failed())?.tokens);
        *known = Some((stamp, Arc::clone(&tokens)));
        Ok(tokens)
    }

    /// The token with this secret, if it is valid. Takes the same time for every secret.
    pub fn find(&self, secret: &str, now: u64) -> Result<Option<Token>, TokenError> {
        let hash = hash(secret);
        let mut found = None;
        for token in self.all()?.iter() {
            let same: bool = token.hash.as_bytes().ct_eq(hash.as_bytes()).into();
            if same && !token.has_expired(now) {
                found = Some(token.clone());
            }
        }
        Ok(found)
    }

    /// Adds a token, and returns its secret, which is nowhere else.
    pub fn create(&self, mut token: Token) -> Result<String, TokenError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if token.name.is_empty() || token.name.len() > 64 || !token.name.bytes().all(plain) {
            return Err(TokenError::Name(token.name));
        }
        if token.is_admin_of_some() {
            return Err(TokenError::AdminOfSome);
        }
        let secret = secret().map_err(self.failed())?;
        token.hash = hash(&secret);
        self.change(|tokens| {
            if tokens.iter().any(|other| other.name == token.name) {
                return Err(TokenError::Exists(token.name.clone()));
            }
            tokens.push(token);
            Ok(())
        })?;
        Ok(secret)
    }

    /// Makes a token count no more.
    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        self.change(|tokens| {
            let before = tokens.len();
            tokens.retain(|token| token.name != name);
            match tokens.len() < before {
                true => Ok(()),
                false => Err(TokenError::NotFound(name.to_owned())),
            }
        })
    }

    /// Rewrites the file. Concurrent writers wait for each other.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Token>) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let failed = self.failed();
        let owner = self.owner().map_err(&failed)?;
        let lock = open_lock(&beside(&self.path, "lock"), owner).map_err(&failed)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
        let mut document = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Document::default(),
            file => file.and_then(read).map_err(&failed)?,
        };
        change(&mut document.tokens)?;
        let new = beside(&self.path, "new");
        let write = || -> io::Result<()> {
            // A file whose writer was killed.
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = create(&new, owner)?;
            file.write_all(&document.to_bytes()?)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            // A revoked token does not come back after a power cut.
            File::open(self.folder())?.sync_all()
        };
        write().map_err(&failed)
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent();
        let folder = folder.filter(|path| !path.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    /// The owner of the file, or of its folder if the file does not exist: root may change it for a
    /// server under another account, which must be able to read it.
    fn owner(&self) -> io::Result<Owner> {
        let stat = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::metadata(self.folder())?
            }
            stat => stat?,
        };
        Ok((stat.uid(), stat.gid()))
    }
}

/// A user and a group.
type Owner = (u32, u32);

/// Creates a file that only its owner can read. If another user owns the folder, an existing file may be
/// a trap: no existing file is opened, or given to that user.
fn create(path: &Path, owner: Owner) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    // Others than root leave their files to nobody.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(&file, Some(owner.0), Some(owner.1))?;
    }
    Ok(file)
}

fn open_lock(path: &Path, owner: Owner) -> io::Result<File> {
    match create(path, owner) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path),
        made => made,
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn read(file: File) -> io::Result<Document> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Document::parse(&bytes)
}

impl Document {
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let damaged = |error: serde_json::Error| {
            let what = match error.is_data() {
                true => format!("no list of tokens: {error}"),
                false => {
                    "it is empty, cut off or damaged; restore it, or delete it and make new tokens"
                        .to_owned()
                }
            };
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        serde_json::from_slice(bytes).map_err(damaged)
    }

    pub(crate) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(bytes)
}

fn secret() -> io::Result<String> {
    Ok(format!("{PREFIX}{}", hex(&random::<32>()?)))
}

fn hash(secret: &str) -> String {
    Checksum::of(secret.as_bytes()).to_hex()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn token(name: &str) -> Token {
        Token {
            name: name.to_owned(),
            hash: String::new(),
            created: 1,
            expires: Some(100),
            repos: None,
            refs: Some(vec!["os/*".to_owned()]),
            permissions: vec![Permission::Push],
            limits: Caps::default(),
        }
    }

    #[test]
    fn tokens_are_kept_without_their_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        let (ours, theirs) = (TokenFile::new(&path), TokenFile::new(&path));
        assert!(ours.all().unwrap().is_empty());
        let secret = ours.create(token("ci")).unwrap();
        let other = ours.create(token("other")).unwrap();
        assert!(secret.starts_with(PREFIX) && secret.len() == PREFIX.len() + 64);
        assert_ne!(secret, other);
        let stored = std::fs::read_to_string(&path).unwrap();
        assert!(!stored.contains(&secret[PREFIX.len()..]), "{stored}");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Each sees the other's changes at once.
        let found = theirs.find(&secret, 99).unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.refs), ("ci", token("ci").refs));
        assert_eq!(theirs.find(&secret, 100).unwrap(), None);
        assert_eq!(theirs.find(&secret[1..], 1).unwrap(), None);
        assert_eq!(theirs.find("", 1).unwrap(), None);
        assert!(matches!(
            theirs.create(token("ci")),
            Err(TokenError::Exists(_))
        ));
        theirs.revoke("ci").unwrap();
        assert_eq!(ours.find(&secret, 1).unwrap(), None);
        assert!(ours.find(&other, 1).unwrap().is_some());
        assert!(matches!(ours.revoke("ci"), Err(TokenError::NotFound(_))));
        for bad in ["", "a b", "a/b", &"x".repeat(65)] {
            assert!(matches!(ours.create(token(bad)), Err(TokenError::Name(_))));
        }
    }

    #[test]
    fn who_may_make_tokens_is_bound_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::new(dir.path().join("tokens.json"));
        let admin = Token {
            permissions: vec![Permission::Admin],
            ..token("boss")
        };
        let refused = file.create(admin.clone());
        assert!(matches!(refused, Err(TokenError::AdminOfSome)));
        // A token written by hand does not become an administrator.
        let client = admin.client();
        assert!(!client.can(Permission::Admin) && client.can(Permission::Delete));
        assert!(!client.sees_all());
        let admin = Token {
            refs: None,
            ..admin
        };
        assert!(file.create(admin.clone()).is_ok());
        assert!(admin.client().can(Permission::Admin));
    }

    #[test]
    fn the_file_stays_with_whom_it_belongs_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        // The owner of the folder has put a link there.
        let other = dir.path().join("other");
        std::fs::write(&other, "kept").unwrap();
        std::os::unix::fs::symlink(&other, beside(&path, "new")).unwrap();
        std::os::unix::fs::symlink(&other, beside(&path, "lock")).unwrap();
        let file = TokenFile::new(&path);
        assert!(file.create(token("a")).is_err());
        std::fs::remove_file(beside(&path, "lock")).unwrap();
        let nobody = (65534, 65534);
        let chown = |path: &Path| {
            let is_root = rustix::process::geteuid().is_root();
            let chown = || std::os::unix::fs::chown(path, Some(nobody.0), Some(nobody.1));
            is_root.then(|| chown().unwrap()).is_some()
        };
        let owner = |path: &Path| {
            let stat = std::fs::symlink_metadata(path).unwrap();
            (stat.uid(), stat.gid())
        };
        // A new file gets the owner of the folder: the server may run under another account.
        let changed = chown(dir.path());
        file.create(token("a")).unwrap();
        let expected = owner(dir.path());
        assert_eq!(changed, expected == nobody);
        let all = [path.clone(), beside(&path, "lock")];
        assert!(all.iter().all(|path| owner(path) == expected));
        std::fs::remove_file(&all[1]).unwrap();
        file.revoke("a").unwrap();
        assert!(all.iter().all(|path| owner(path) == expected));
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "kept");
        assert_ne!(owner(&other), nobody);
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_not_understood_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        let file = TokenFile::new(&path);
        let secret = file.create(token("ci")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(TokenFile::new(&path).find(&secret, 1).is_err());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        for bad in [
            "",
            "{}",
            r#"{"tokens":[{"name":"x","permissions":["all"]}]}"#,
        ] {
            std::fs::write(&path, bad).unwrap();
            assert!(TokenFile::new(&path).find(&secret, 1).is_err(), "{bad}");
        }
    }
}
