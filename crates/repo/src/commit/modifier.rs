// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is changed or left out on the way from the outside into a commit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use oxtree_format::Xattrs;
use oxtree_format::dirmeta::{S_IFDIR, S_IFMT, S_IFREG};

use super::devino::DevInoCache;
use crate::selinux::{self, SePolicy};
use crate::{Error, Mode, Result};

/// Owner, mode and extended attributes of something that is about to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The mode with its type bits.
    pub mode: u32,
    /// The extended attributes.
    pub xattrs: Xattrs,
}

fn is_etc(path: &str) -> bool {
    path == "/etc" || path.starts_with("/etc/")
}

/// Attributes as they were read from a disk, for a commit: libostree leaves out those that have no
/// value, and its commits are to be ours.
pub(super) fn from_disk(xattrs: Xattrs) -> Xattrs {
    if xattrs.iter().all(|(_, value)| !value.is_empty()) {
        return xattrs;
    }
    let with_value = xattrs.iter().filter(|(_, value)| !value.is_empty());
    let list = with_value.map(|(name, value)| (name.to_vec(), value.to_vec()));
    // What is left of a valid list is one.
    Xattrs::new(list.collect()).unwrap_or_default()
}

/// Whether something becomes part of the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Take,
    /// It does not, nor does anything below it.
    Skip,
}

/// The rules for what is changed or left out. The default changes nothing.
#[derive(Debug, Default)]
pub struct CommitModifier {
    /// Everything belongs to this user.
    pub owner_uid: Option<u32>,
    /// Everything belongs to this group.
    pub owner_gid: Option<u32>,
    /// Owner root, modes cut down to `0755`, no extended attributes. Always so in a
    /// `bare-user-only` repository.
    pub canonical_permissions: bool,
    /// Extended attributes are left out.
    pub no_xattrs: bool,
    /// Nobody may write to files that somebody may execute.
    pub read_only_executables: bool,
    /// Modes of single paths.
    pub stat_overrides: StatOverrides,
    /// Paths to be left out.
    pub skip_list: PathSet,
    /// Files of the repository by device and inode, to recognise hard links into it.
    pub devino: Option<DevInoCache>,
    /// A file found in [`CommitModifier::devino`] is taken as it is in the repository, whatever
    /// the other rules say.
    pub devino_canonical: bool,
    /// Files on disk are not needed any more: where that can be, they become objects without being
    /// copied, with the owner and mode of such.
    pub consume: bool,
    /// Everything gets the label that this has for it. Not in a `bare-user-only` repository, which
    /// cannot hold labels.
    pub sepolicy: Option<SePolicy>,
    /// Below `/usr/etc`, labels are those of `/etc`.
    pub label_usr_etc_as_etc: bool,
}

impl CommitModifier {
    /// The rules for a repository of this mode.
    pub(crate) fn is_canonical(&self, mode: Mode) -> bool {
        self.canonical_permissions || mode == Mode::BareUserOnly
    }

    /// Whether everything stays as it is.
    pub(crate) fn changes_nothing(&self, mode: Mode) -> bool {
        self.owner_uid.is_none()
            && self.owner_gid.is_none()
            && !self.skips_xattrs(mode)
            && self.sepolicy.is_none()
            && !self.read_only_executables
            && self.stat_overrides.is_empty()
            && self.skip_list.0.is_empty()
    }

    /// Whether extended attributes need not even be read.
    pub(crate) fn skips_xattrs(&self, mode: Mode) -> bool {
        self.no_xattrs || self.is_canonical(mode)
    }

    /// [`CommitModifier::apply`] for a directory on disk or in a commit. libostree asks its rules
    /// twice about one that is not the root, and takes the second answer, when a line that adds
    /// bits to its mode is used up. Its commits are to be ours.
    pub(crate) fn apply_to_dir(
        &self,
        path: &str,
        attributes: &mut Attributes,
        mode: Mode,
    ) -> Result<Verdict> {
        if path != "/" && self.change(path, &mut attributes.clone(), mode) == Verdict::Skip {
            return Ok(Verdict::Skip);
        }
        self.apply(path, attributes, mode)
    }

    /// Applies the rules to what is at `path` (absolute, the committed directory being `/`).
    pub fn apply(&self, path: &str, attributes: &mut Attributes, mode: Mode) -> Result<Verdict> {
        let verdict = self.change(path, attributes, mode);
        if let (Some(policy), Verdict::Take) = (&self.sepolicy, verdict)
            && mode != Mode::BareUserOnly
        {
            let labelled_as = match path.strip_prefix("/usr") {
                Some(etc) if self.label_usr_etc_as_etc && is_etc(etc) => etc,
                _ => path,
            };
            if let Some(label) = policy.label(labelled_as, attributes.mode)? {
                attributes.xattrs = selinux::labelled(&attributes.xattrs, label);
            }
        }
        Ok(verdict)
    }

    fn change(&self, path: &str, attributes: &mut Attributes, mode: Mode) -> Verdict {
        if let Some(uid) = self.owner_uid {
            attributes.uid = uid;
        }
        if let Some(gid) = self.owner_gid {
            attributes.gid = gid;
        }
        let regular = attributes.mode & S_IFMT == S_IFREG;
        if self.read_only_executables && regular && attributes.mode & 0o111 != 0 {
            attributes.mode &= !0o222;
        }
        attributes.mode = self.stat_overrides.apply(path, attributes.mode);
        if self.skip_list.take(path) {
            return Verdict::Skip;
        }
        if self.is_canonical(mode) {
            attributes.uid = 0;
            attributes.gid = 0;
            if matches!(attributes.mode & S_IFMT, S_IFREG | S_IFDIR) {
                attributes.mode &= S_IFMT | 0o755;
            }
        }
        if self.skips_xattrs(mode) {
            attributes.xattrs = Xattrs::NONE;
        }
        Verdict::Take
    }
}

/// Paths that are to be met on the way.
///
/// As in libostree, each counts once: in a second tree, laid over the first, it stays.
#[derive(Debug, Default)]
pub struct PathSet(HashMap<String, AtomicBool>);

impl PathSet {
    /// One path a line, absolute. Empty lines do not count.
    pub fn parse(text: &str) -> Self {
        let lines = text.split('\n').filter(|line| !line.is_empty());
        Self(lines.map(|line| (line.to_owned(), false.into())).collect())
    }

    /// Whether `path` is one of these and is met for the first time.
    fn take(&self, path: &str) -> bool {
        self.0
            .get(path)
            .is_some_and(|met| !met.swap(true, Ordering::Relaxed))
    }

    /// The paths that were not met, sorted.
    pub fn unmatched(&self) -> Vec<&str> {
        let left = self
            .0
            .iter()
            .filter(|(_, met)| !met.load(Ordering::Relaxed));
        let mut paths: Vec<&str> = left.map(|(path, _)| path.as_str()).collect();
        paths.sort_unstable();
        paths
    }
}

/// Modes of single paths, as `--statoverride` has them. As in libostree, a line that adds bits
/// counts once.
#[derive(Debug, Default)]
pub struct StatOverrides {
    add: HashMap<String, (u32, AtomicBool)>,
    replace: HashMap<String, u32>,
}

impl StatOverrides {
    /// Lines of `MODE PATH` (these bits are added) or `=MODE PATH` (the mode is replaced), MODE in
    /// decimal, PATH absolute. Empty lines do not count.
    pub fn parse(text: &str) -> Result<Self> {
        let mut overrides = Self::default();
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            let (mode, path) = line.split_once(' ').ok_or_else(|| {
                Error::Invalid("Malformed statoverride file (no space found)".to_owned())
            })?;
            let number = |text: &str| {
                parse_mode(text).ok_or_else(|| {
                    Error::Invalid(format!(
                        "Malformed statoverride file (mode '{text}' is not a decimal number of a mode)"
                    ))
                })
            };
            match mode.strip_prefix('=') {
                Some(mode) => {
                    overrides.replace.insert(path.to_owned(), number(mode)?);
                }
                None => {
                    overrides
                        .add
                        .insert(path.to_owned(), (number(mode)?, false.into()));
                }
            }
        }
        Ok(overrides)
    }

    fn apply(&self, path: &str, mode: u32) -> u32 {
        if let Some((bits, met)) = self.add.get(path)
            && !met.swap(true, Ordering::Relaxed)
        {
            return mode | bits;
        }
        match self.replace.get(path) {
            Some(bits) => (mode & S_IFMT) | bits,
            None => mode,
        }
    }

    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.replace.is_empty()
    }

    /// The paths whose bits were to be added and that were not met, sorted.
    pub fn unmatched(&self) -> Vec<&str> {
        let left = self
            .add
            .iter()
            .filter(|(_, (_, met))| !met.load(Ordering::Relaxed));
        let mut paths: Vec<&str> = left.map(|(path, _)| path.as_str()).collect();
        paths.sort_unstable();
        paths
    }
}

fn parse_mode(text: &str) -> Option<u32> {
    let mode: u32 = text.strip_prefix('+').unwrap_or(text).parse().ok()?;
    // The type bits may be there, but they do not make a file something else.
    (mode <= 0o177_777).then_some(mode & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(mode: u32) -> Attributes {
        Attributes {
            uid: 7,
            gid: 8,
            mode,
            xattrs: Xattrs::NONE,
        }
    }

    fn mode_after(modifier: &CommitModifier, path: &str, mode: u32) -> u32 {
        let mut attributes = attributes(mode);
        assert_eq!(
            modifier
                .apply(path, &mut attributes, Mode::Archive)
                .unwrap(),
            Verdict::Take
        );
        attributes.mode
    }

    #[test]
    fn modes_are_decimal() {
        let text = "2048 /su\n=384 /two words\n\n+1 /plus\n";
        let modifier = CommitModifier {
            stat_overrides: StatOverrides::parse(text).unwrap(),
            ..CommitModifier::default()
        };
        assert_eq!(mode_after(&modifier, "/su", 0o100_755), 0o104_755);
        assert_eq!(mode_after(&modifier, "/two words", 0o100_755), 0o100_600);
        assert_eq!(mode_after(&modifier, "/two", 0o100_755), 0o100_755);
        assert_eq!(modifier.stat_overrides.unmatched(), ["/plus"]);
        for bad in ["0755", "x /a", "65536 /a", "-1 /a", "== /a", " /a"] {
            assert!(StatOverrides::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn skipped_paths_are_remembered() {
        let modifier = CommitModifier {
            skip_list: PathSet::parse("/a\n/b c\n"),
            ..Default::default()
        };
        let skipped = modifier.apply("/a", &mut attributes(0o100_644), Mode::Archive);
        assert_eq!(skipped.unwrap(), Verdict::Skip);
        assert_eq!(modifier.skip_list.unmatched(), ["/b c"]);
    }

    #[test]
    fn canonical_permissions() {
        let modifier = CommitModifier::default();
        for (before, after) in [
            (0o104_777, 0o100_755),
            (0o041_777, 0o040_755),
            (0o120_777, 0o120_777),
            (0o100_640, 0o100_640),
        ] {
            let mut attributes = attributes(before);
            let taken = modifier.apply("/x", &mut attributes, Mode::BareUserOnly);
            assert_eq!(taken.unwrap(), Verdict::Take);
            assert_eq!(
                (attributes.uid, attributes.gid, attributes.mode),
                (0, 0, after)
            );
        }
    }
}
