// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the user's locale writes a date and time: C's `%c`, as GLib fills it in.
//!
//! libostree prints the times of signatures that way, so its output depends on the locale:
//! `Tue Dec  1 01:46:57 2026` in `C.UTF-8`, where a figure space (U+2007) pads the day,
//! `Tue Dec ?1 01:46:57 2026` in `C`, which cannot print that space, and
//! `Tue 01 Dec 2026 01:46:57 AM UTC` in `en_US.UTF-8`. The words and the pattern come from the
//! locales that glibc has installed ([`compiled`]). Alternative digits and eras are left out: such
//! locales get the form of `C.UTF-8`.

mod compiled;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use compiled::{Category, Installed, Kind};
use jiff::Zoned;

/// GLib pads numbers with it: as wide as a digit.
const FIGURE_SPACE: &str = "\u{2007}";
const C_PATTERN: &str = "%a %b %e %H:%M:%S %Y";

/// Where the items of `LC_TIME` stand.
const ABBREVIATED_DAYS: usize = 0;
const DAYS: usize = 7;
const ABBREVIATED_MONTHS: usize = 14;
const MONTHS: usize = 26;
const AM_PM: usize = 38;
const DATE_AND_TIME: usize = 40;
const DATE: usize = 41;
const TIME: usize = 42;
const TIME_AM_PM: usize = 43;
const DIGITS: usize = 47;
const STANDALONE_MONTHS: usize = 0x6f;
const STANDALONE_ABBREVIATED_MONTHS: usize = 0x87;
/// Where the name of the encoding stands in `LC_CTYPE`.
const ENCODING: usize = 14;

/// The environment's locale.
pub(crate) static LOCALE: LazyLock<Locale> = LazyLock::new(|| Locale::new(|n| std::env::var_os(n)));

/// What of a locale is needed for dates.
#[derive(Debug, Default)]
pub(crate) struct Locale {
    utf8: bool,
    time: Option<Category>,
}

impl Locale {
    /// The locale that these environment variables name. As in C, it is `C` if one of its
    /// categories is not installed.
    fn new(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let var = |name: &str| {
            let value = var(name)?.into_string().ok()?;
            (!value.is_empty()).then_some(value)
        };
        let name = |category: &str| {
            let named = var("LC_ALL")
                .or_else(|| var(category))
                .or_else(|| var("LANG"));
            named.unwrap_or_else(|| "C".to_owned())
        };
        let installed =
            Installed::new(var("LOCPATH").as_deref(), &PathBuf::from("/usr/lib/locale"));
        let is_there = |name: &str| {
            is_c(name) || is_c_utf8(name) || installed.read(name, Kind::Time).is_some()
        };
        if !compiled::CATEGORIES
            .iter()
            .all(|category| is_there(&name(category)))
        {
            return Self::default();
        }
        let (ctype, time) = (name("LC_CTYPE"), name("LC_TIME"));
        let encoding = || {
            installed
                .read(&ctype, Kind::Ctype)?
                .text(ENCODING)
                .map(<[u8]>::to_vec)
        };
        Self {
            utf8: is_c_utf8(&ctype) || (!is_c(&ctype) && encoding().is_some_and(|e| e == b"UTF-8")),
            time: match is_c(&time) || is_c_utf8(&time) {
                true => None,
                false => installed.read(&time, Kind::Time),
            },
        }
    }

    /// A moment as `%c` has it.
    pub(crate) fn date_and_time(&self, at: &Zoned) -> String {
        let pattern = self.text(DATE_AND_TIME);
        let text = pattern.and_then(|pattern| self.format(&pattern, at, 0));
        let text = text.or_else(|| Self::default().format(C_PATTERN, at, 0));
        let text = text.unwrap_or_default();
        match self.utf8 {
            true => text,
            false => text.replace(|c: char| !c.is_ascii(), "?"),
        }
    }

    /// An item of `LC_TIME`. What is not UTF-8 cannot be shown beside what we print.
    fn text(&self, item: usize) -> Option<String> {
        let bytes = self
            .time
            .as_ref()?
            .text(item)
            .filter(|bytes| !bytes.is_empty())?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Fills in a pattern; [`None`] if it has something that is not known here.
    fn format(&self, pattern: &str, at: &Zoned, depth: u8) -> Option<String> {
        let nested = |item, otherwise: &str| {
            let pattern = self.text(item);
            let pattern = pattern.as_deref().unwrap_or(otherwise);
            (depth < 2).then(|| self.format(pattern, at, depth + 1))?
        };
        let plain = |token: &str| at.strftime(token).to_string();
        let name = |first: usize, index: i8, token: &str| {
            let item = first + usize::try_from(index).unwrap_or(0);
            self.text(item).unwrap_or_else(|| plain(token))
        };
        let (weekday, month) = (at.weekday().to_sunday_zero_offset(), at.month() - 1);
        let mut out = String::with_capacity(pattern.len() * 4);
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let (mut padding, mut alternative) = (None, false);
            let conversion = loop {
                match chars.next()? {
                    c @ ('-' | '_' | '0') => padding = Some(c),
                    'O' => alternative = true,
                    c => break c,
                }
            };
            let piece = match (conversion, alternative) {
                ('a', _) => name(ABBREVIATED_DAYS, weekday, "%a"),
                ('A', _) => name(DAYS, weekday, "%A"),
                ('b' | 'h', false) => name(ABBREVIATED_MONTHS, month, "%b"),
                ('b' | 'h', true) => name(STANDALONE_ABBREVIATED_MONTHS, month, "%b"),
                ('B', false) => name(MONTHS, month, "%B"),
                ('B', true) => name(STANDALONE_MONTHS, month, "%B"),
                ('p', _) => name(AM_PM, at.hour() / 12, "%p").to_uppercase(),
                ('P', _) => name(AM_PM, at.hour() / 12, "%p").to_lowercase(),
                ('c', _) => nested(DATE_AND_TIME, C_PATTERN)?,
                ('x', _) => nested(DATE, "%m/%d/%y")?,
                ('X', _) => nested(TIME, "%H:%M:%S")?,
                ('r', _) => nested(TIME_AM_PM, "%I:%M:%S %p")?,
                ('%', _) => "%".to_owned(),
                (c, _) if "CdDeFgGHIjklmMnRStTuVwyYzZ".contains(c) => {
                    if alternative && self.text(DIGITS).is_some() {
                        return None;
                    }
                    let flag = padding.map(String::from).unwrap_or_default();
                    let number = plain(&format!("%{flag}{c}"));
                    match "ekl".contains(c) || padding == Some('_') {
                        true => number.replace(' ', FIGURE_SPACE),
                        false => number,
                    }
                }
                _ => return None,
            };
            out.push_str(&piece);
        }
        Some(out)
    }
}

fn is_c(name: &str) -> bool {
    matches!(name, "C" | "POSIX")
}

/// It is part of glibc.
fn is_c_utf8(name: &str) -> bool {
    name.strip_prefix("C.")
        .is_some_and(|encoding| compiled::normalized(encoding) == "utf8")
}
