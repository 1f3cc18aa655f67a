// SPDX-License-Identifier: MIT OR Apache-2.0
//! The locales that are installed, in the form in which glibc's `localedef` writes them.
//!
//! A category is a file `LC_TIME` in a directory named like the locale, or a part of
//! `locale-archive`. It begins with a magic number and the number of its items, and an offset
//! for each; items that are texts end in a zero byte. All numbers are of this machine's order.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What `LC_ALL` stands for.
pub(super) const CATEGORIES: [&str; 12] = [
    "LC_CTYPE",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_COLLATE",
    "LC_MONETARY",
    "LC_MESSAGES",
    "LC_PAPER",
    "LC_NAME",
    "LC_ADDRESS",
    "LC_TELEPHONE",
    "LC_MEASUREMENT",
    "LC_IDENTIFICATION",
];

const ARCHIVE_MAGIC: u32 = 0xde02_0109;
const MAX_NAMES: u32 = 1 << 16;
const MAX_CATEGORY: u64 = 4 << 20;

/// A category of a locale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ctype,
    Time,
}

impl Kind {
    /// The name of its file, and its number in an archive.
    fn place(self) -> (&'static str, u64) {
        match self {
            Self::Ctype => ("LC_CTYPE", 0),
            Self::Time => ("LC_TIME", 2),
        }
    }
}

/// The items of one category.
#[derive(Debug)]
pub(super) struct Category(Vec<u8>);

impl Category {
    /// An item that is a text, without the zero byte at its end.
    pub(super) fn text(&self, item: usize) -> Option<&[u8]> {
        let word = |index: usize| number(self.0.get(index.checked_mul(4)?..)?);
        let count = usize::try_from(word(1)?).ok()?;
        if item >= count {
            return None;
        }
        let text = self.0.get(usize::try_from(word(item + 2)?).ok()?..)?;
        text.split(|byte| *byte == 0).next()
    }
}

/// Where locales are looked for.
#[derive(Debug)]
pub(super) struct Installed {
    dirs: Vec<PathBuf>,
    archive: Option<PathBuf>,
}

impl Installed {
    /// In the directories of `LOCPATH`, and in the system's.
    pub(super) fn new(locpath: Option<&str>, system: &Path) -> Self {
        let named = locpath.unwrap_or_default().split(':');
        let named = named.filter(|dir| !dir.is_empty()).map(PathBuf::from);
        Self {
            dirs: named.chain([system.to_owned()]).collect(),
            archive: locpath.is_none().then(|| system.join("locale-archive")),
        }
    }

    /// A category of the locale of that name, if it is installed.
    pub(super) fn read(&self, name: &str, kind: Kind) -> Option<Category> {
        if name.contains('/') {
            return None;
        }
        let names = spellings(name);
        let archived = self.archive.as_ref().and_then(|path| {
            let archive = File::open(path).ok()?;
            names
                .iter()
                .find_map(|name| from_archive(&archive, name, kind))
        });
        let file = |dir: &PathBuf| {
            let mut paths = names.iter().map(|name| dir.join(name).join(kind.place().0));
            paths.find_map(|path| {
                let file = File::open(path).ok()?;
                let len = file.metadata().ok()?.len();
                read_at(&file, 0, len)
            })
        };
        let bytes = archived.or_else(|| self.dirs.iter().find_map(file))?;
        Some(Category(bytes))
    }
}

/// The locale's name, and the name with its encoding as glibc stores it.
fn spellings(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    let (base, modifier) = match name.split_once('@') {
        Some((base, modifier)) => (base, format!("@{modifier}")),
        None => (name, String::new()),
    };
    if let Some((language, encoding)) = base.split_once('.') {
        names.push(format!("{language}.{}{modifier}", normalized(encoding)));
    }
    names
}

/// `UTF-8` as `utf8`, `8859-1` as `iso88591`.
pub(super) fn normalized(encoding: &str) -> String {
    let letters = encoding.chars().filter(char::is_ascii_alphanumeric);
    let text: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => format!("iso{text}"),
        false => text,
    }
}

fn from_archive(archive: &File, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let head = read_at(archive, 0, 56)?;
    let head = |index: usize| number(head.get(index * 4..)?);
    if head(0)? != ARCHIVE_MAGIC {
        return None;
    }
    let count = head(4).filter(|count| *count <= MAX_NAMES)?;
    let table = read_at(archive, head(2)?.into(), u64::from(count) * 12)?;
    let strings = u64::from(head(5)?);
    let texts = read_at(archive, strings, head(6)?.into())?;
    let record = table.chunks_exact(12).find_map(|entry| {
        let at = u64::from(number(entry.get(4..)?)?).checked_sub(strings)?;
        let text = texts.get(usize::try_from(at).ok()?..)?;
        let found = text.split(|byte| *byte == 0).next()? == name.as_bytes();
        found.then(|| number(entry.get(8..)?))?
    })?;
    let place = u64::from(record) + 4 + kind.place().1 * 8;
    let place = read_at(archive, place, 8)?;
    let (offset, len) = (number(&place)?, number(place.get(4..)?)?);
    read_at(archive, offset.into(), len.into())
}

/// A part of a file that is not too large.
fn read_at(file: &File, offset: u64, len: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).ok().filter(|_| len <= MAX_CATEGORY)?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// Has `localedef` make a locale.
    fn localedef(words: &[&str]) {
        let mut command = Command::new("localedef");
        command.args(["-i", "en_US", "-f", "UTF-8"]).args(words);
        let status = command.status().expect("localedef");
        // It warns about its own sources with 1.
        assert!(status.code() <= Some(1), "{status}");
    }

    #[test]
    fn files_and_archives() {
        let dir = oxtree_testkit::temp_dir();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir_all(at("p/usr/lib/locale")).unwrap();
        localedef(&[&format!("--prefix={}", at("p")), "en_US.UTF-8"]);
        fs::create_dir(at("l")).unwrap();
        localedef(&["--no-archive", &at("l/en_US.UTF-8")]);
        let system = at("p/usr/lib/locale");
        assert!(Path::new(&system).join("locale-archive").exists());
        let archive = Installed::new(None, Path::new(&system));
        let files = Installed::new(Some(&at("l")), Path::new(&system));
        for installed in [archive, files] {
            let time = installed.read("en_US.UTF-8", Kind::Time).unwrap();
            assert_eq!(
                time.text(super::super::DATE_AND_TIME).unwrap(),
                b"%a %d %b %Y %r %Z"
            );
            assert_eq!(time.text(6).unwrap(), b"Sat");
            assert_eq!(time.text(1 << 20), None);
            let ctype = installed.read("en_US.UTF-8", Kind::Ctype).unwrap();
            assert_eq!(ctype.text(super::super::ENCODING).unwrap(), b"UTF-8");
            assert!(installed.read("xx_XX.UTF-8", Kind::Time).is_none());
            assert!(
                installed
                    .read("../locale/en_US.UTF-8", Kind::Time)
                    .is_none()
            );
        }
    }

    #[test]
    fn damaged_ones_have_no_items() {
        for bytes in [
            &b""[..],
            &[1; 7],
            &[255; 64],
            &[0, 0, 0, 0, 9, 0, 0, 0, 200, 0, 0, 0],
        ] {
            let category = Category(bytes.to_vec());
            assert_eq!(category.text(0), None, "{bytes:?}");
        }
        let dir = oxtree_testkit::temp_dir();
        let noise = [&ARCHIVE_MAGIC.to_ne_bytes()[..], &[255; 80]].concat();
        fs::write(dir.path().join("locale-archive"), noise).unwrap();
        let installed = Installed::new(None, dir.path());
        assert!(installed.read("en_US.UTF-8", Kind::Time).is_none());
    }

    #[test]
    fn names() {
        assert_eq!(spellings("de_DE"), ["de_DE"]);
        let other = spellings("de_DE.ISO-8859-15@euro");
        assert_eq!(other[1], "de_DE.iso885915@euro");
        assert_eq!(normalized("8859-1"), "iso88591");
    }
}
