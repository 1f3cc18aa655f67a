// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository's `config` file, and what its keys mean.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use oxtree_format::keyfile::KeyFile;
use oxtree_format::refs::CollectionId;

use crate::Mode;

/// The settings of a repository, defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// `core.mode`.
    pub mode: Mode,
    /// `core.fsync`: whether what was written is made durable before it is published.
    pub fsync: bool,
    /// `core.per-object-fsync`: one at a time instead of all at the end.
    pub per_object_fsync: bool,
    /// `core.disable-xattrs`: extended attributes are neither read nor written.
    pub disable_xattrs: bool,
    /// `archive.zlib-level`, 1 to 9.
    pub zlib_level: u32,
    /// `core.parent`: where objects and refs are looked up that are not here.
    pub parent: Option<PathBuf>,
    /// `core.collection-id`.
    pub collection_id: Option<CollectionId>,
    /// `core.tmp-expiry-secs`.
    pub tmp_expiry: Duration,
    /// `core.locking`.
    pub locking: bool,
    /// `core.lock-timeout-secs`; [`None`] waits for ever.
    pub lock_timeout: Option<Duration>,
    /// `core.min-free-space-size` or `core.min-free-space-percent`.
    pub min_free_space: MinFreeSpace,
    /// `core.enable-uncompressed-cache`: checkouts in user mode keep the files that they inflate.
    pub uncompressed_cache: bool,
    /// `core.tombstone-commits`: deleted commits leave a note.
    pub tombstone_commits: bool,
    /// `core.auto-update-summary` or `core.commit-update-summary`: whether each change of refs updates the
    /// summary; [`None`] if neither is there.
    pub auto_update_summary: Option<bool>,
    /// `core.indexed-deltas`: each commit to which static deltas lead has an index of them.
    pub indexed_deltas: bool,
    /// `core.sign-verify-deltas`.
    pub sign_verify_deltas: bool,
    /// `core.no-deltas-in-summary`.
    pub no_deltas_in_summary: bool,
    /// `ex-integrity.fsverity` (or `ex-fsverity.required`) is `yes`: no object without fs-verity.
    pub requires_fsverity: bool,
    /// The file as it stands.
    pub file: KeyFile,
}

/// How much of the disk is not to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinFreeSpace {
    /// `core.min-free-space-percent` of the file system.
    Percent(u8),
    /// `core.min-free-space-size`, in bytes.
    Bytes(u64),
}

impl fmt::Display for MinFreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "min-free-space-percent '{percent}%'"),
            Self::Bytes(bytes) => write!(f, "min-free-space-size {}MB", bytes >> 20),
        }
    }
}

impl Config {
    /// Reads the settings out of a parsed file. The error says which key has which fault.
    pub fn new(file: KeyFile) -> Result<Self, String> {
        let keys = Keys(&file);
        match keys.string("core", "repo_version")?.as_deref() {
            Some("1") => {}
            Some(other) => return Err(format!("Invalid repository version '{other}'")),
            None => return Err("no core.repo_version".to_owned()),
        }
        if keys.boolean("core", "archive", false)? {
            return Err(
                "This version of OSTree no longer supports \"archive\" repositories; \
                        use archive-z2 instead"
                    .to_owned(),
            );
        }
        let mode = keys
            .string("core", "mode")?
            .unwrap_or_else(|| "bare".to_owned());
        let collection_id = match keys
            .string("core", "collection-id")?
            .filter(|id| !id.is_empty())
        {
            Some(id) => Some(
                id.parse()
                    .map_err(|error| format!("core.collection-id: {error}"))?,
            ),
            None => None,
        };
        let level = keys.integer("archive", "zlib-level", 6)?;
        let timeout = keys.integer("core", "lock-timeout-secs", 300)?;
        let auto_update_summary = ["auto-update-summary", "commit-update-summary"]
            .into_iter()
            .map(|key| keys.maybe("core", key))
            .collect::<Result<Vec<_>, _>>()?;
        // One of them is enough, and being there counts for more than not being there.
        let auto_update_summary = auto_update_summary.into_iter().max().flatten();
        Ok(Self {
            mode: mode
                .parse()
                .map_err(|error: crate::Error| error.to_string())?,
            fsync: keys.boolean("core", "fsync", true)?,
            per_object_fsync: keys.boolean("core", "per-object-fsync", false)?,
            disable_xattrs: keys.boolean("core", "disable-xattrs", false)?,
            zlib_level: u32::try_from(level)
                .ok()
                .filter(|level| (1..=9).contains(level))
                .unwrap_or(6),
            parent: keys
                .string("core", "parent")?
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            collection_id,
            tmp_expiry: Duration::from_secs(
                u64::try_from(keys.integer("core", "tmp-expiry-secs", 86_400)?).unwrap_or(0),
            ),
            locking: keys.boolean("core", "locking", true)?,
            lock_timeout: u64::try_from(timeout).ok().map(Duration::from_secs),
            min_free_space: keys.min_free_space()?,
            uncompressed_cache: keys.boolean("core", "enable-uncompressed-cache", true)?,
            tombstone_commits: keys.boolean("core", "tombstone-commits", false)?,
            auto_update_summary,
            indexed_deltas: keys.boolean("core", "indexed-deltas", false)?,
            sign_verify_deltas: keys.boolean("core", "sign-verify-deltas", false)?,
            no_deltas_in_summary: keys.boolean("core", "no-deltas-in-summary", false)?,
            requires_fsverity: keys.requires_fsverity()?,
            file,
        })
    }

    /// A boolean of ours, such as `receive.deny-deletes`.
    pub fn boolean(&self, group: &str, key: &str, default: bool) -> Result<bool, String> {
        Keys(&self.file).boolean(group, key, default)
    }
}

/// Whether to use something: `maybe` is where it is possible.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tristate {
    Yes,
    No,
    Maybe,
}

struct Keys<'a>(&'a KeyFile);

impl Keys<'_> {
    fn string(&self, group: &str, key: &str) -> Result<Option<String>, String> {
        self.0
            .string(group, key)
            .map_err(|error| format!("{group}.{key}: {error}"))
    }

    fn boolean(&self, group: &str, key: &str, default: bool) -> Result<bool, String> {
        Ok(self.maybe(group, key)?.unwrap_or(default))
    }

    fn maybe(&self, group: &str, key: &str) -> Result<Option<bool>, String> {
        let value = self.0.boolean(group, key);
        value.map_err(|error| format!("{group}.{key}: {error}"))
    }

    fn integer(&self, group: &str, key: &str, default: i64) -> Result<i64, String> {
        let value = self
            .0
            .integer(group, key)
            .map_err(|error| format!("{group}.{key}: {error}"))?;
        Ok(value.unwrap_or(default))
    }

    fn requires_fsverity(&self) -> Result<bool, String> {
        // This one says how an image is made when a commit is deployed.
        self.tristate("ex-integrity", "composefs")?;
        let old = match self.boolean("ex-fsverity", "required", false)? {
            true => Tristate::Yes,
            false => Tristate::No,
        };
        self.boolean("ex-fsverity", "opportunistic", false)?;
        let new = self.tristate("ex-integrity", "fsverity")?;
        Ok(new.unwrap_or(old) == Tristate::Yes)
    }

    fn tristate(&self, group: &str, key: &str) -> Result<Option<Tristate>, String> {
        match self.string(group, key)?.as_deref() {
            None => Ok(None),
            Some("yes" | "true" | "1") => Ok(Some(Tristate::Yes)),
            Some("no" | "false" | "0") => Ok(Some(Tristate::No)),
            Some("maybe") => Ok(Some(Tristate::Maybe)),
            Some(other) => Err(format!("Invalid tri-state value: {other}")),
        }
    }

    fn min_free_space(&self) -> Result<MinFreeSpace, String> {
        if let Some(size) = self.string("core", "min-free-space-size")? {
            return parse_size(&size)
                .map(MinFreeSpace::Bytes)
                .ok_or_else(|| format!("Invalid min-free-space-size '{size}'"));
        }
        let percent = self.integer("core", "min-free-space-percent", 3)?;
        match u8::try_from(percent) {
            Ok(percent @ 0..=99) => Ok(MinFreeSpace::Percent(percent)),
            _ => Err(format!("Invalid min-free-space-percent '{percent}'")),
        }
    }
}

/// Reads `NMB`, `NGB` or `NTB` (powers of 1024, as libostree counts).
fn parse_size(text: &str) -> Option<u64> {
    let shift = match text.get(text.len().checked_sub(2)?..)? {
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    text[..text.len() - 2]
        .parse::<u64>()
        .ok()?
        .checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        Config::new(KeyFile::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn defaults() {
        let config = config("[core]\nrepo_version=1\nmode=archive\n").unwrap();
        assert_eq!(config.mode, Mode::Archive);
        assert!(config.fsync && config.locking && !config.per_object_fsync);
        assert_eq!(config.zlib_level, 6);
        assert_eq!(config.min_free_space, MinFreeSpace::Percent(3));
        assert_eq!(config.lock_timeout, Some(Duration::from_secs(300)));
    }

    #[test]
    fn faults_name_the_key() {
        let faulty = |key: &str| config(&format!("[core]\nrepo_version=1\n{key}\n")).unwrap_err();
        assert!(faulty("fsync=maybe").contains("core.fsync"));
        assert!(faulty("mode=odd").contains("odd"));
        assert!(faulty("min-free-space-size=12").contains("min-free-space-size"));
        assert!(faulty("min-free-space-percent=100").contains("min-free-space-percent"));
        assert!(faulty("collection-id=x").contains("collection-id"));
        assert!(
            config("[core]\nrepo_version=2\n")
                .unwrap_err()
                .contains('2')
        );
    }

    #[test]
    fn fsverity() {
        let requires = |section: &str| {
            config(&format!("[core]\nrepo_version=1\n{section}\n"))
                .map(|config| config.requires_fsverity)
        };
        for (section, expected) in [
            ("", false),
            ("[ex-integrity]\nfsverity=yes", true),
            ("[ex-integrity]\nfsverity=maybe", false),
            ("[ex-fsverity]\nrequired=true", true),
            (
                "[ex-fsverity]\nrequired=true\n[ex-integrity]\nfsverity=no",
                false,
            ),
            ("[ex-integrity]\ncomposefs=yes", false),
        ] {
            assert_eq!(requires(section), Ok(expected), "{section}");
        }
        for key in ["fsverity", "composefs"] {
            let error = requires(&format!("[ex-integrity]\n{key}=odd")).unwrap_err();
            assert_eq!(error, "Invalid tri-state value: odd");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("5MB"), Some(5 << 20));
        assert_eq!(parse_size("1TB"), Some(1 << 40));
        for bad in ["", "MB", "5", "5KB", "-1MB", "99999999999999TB", "ä"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
