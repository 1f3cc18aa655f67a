// SPDX-License-Identifier: MIT OR Apache-2.0
//! How things are written for people, in libostree's words: sizes, times, commits, variants.

use std::fmt::Write;

use anyhow::{Context as _, Result, bail};
use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use oxtree_format::gvariant::{Variant, text};
use oxtree_format::{Commit, CommitId, ObjectId, ObjectKind};
use oxtree_repo::Error;

use crate::locale::LOCALE;
use crate::output::Output;

/// A number of refs, in words.
pub(crate) fn refs(count: usize) -> String {
    match count {
        1 => "1 ref".to_owned(),
        count => format!("{count} refs"),
    }
}

/// A number of bytes as GLib's `g_format_size` writes it: in powers of 1000, after a no-break
/// space.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (1_000_000_000_000_000_000, "EB"),
        (1_000_000_000_000_000, "PB"),
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    match UNITS.iter().find(|(factor, _)| bytes >= *factor) {
        Some((factor, unit)) => {
            let amount = bytes as f64 / *factor as f64;
            format!("{amount:.1}\u{a0}{unit}")
        }
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

/// Seconds since 1970 as `2026-11-22 00:41:45 +0000`.
pub(crate) fn timestamp(seconds: u64) -> Result<String> {
    // libostree reads the number as signed: dates before 1970 are large numbers.
    let duration = SignedDuration::from_secs(seconds.cast_signed());
    match date(1970, 1, 1).at(0, 0, 0, 0).checked_add(duration) {
        Ok(time) if time.year() >= 1 => Ok(time.strftime("%Y-%m-%d %H:%M:%S +0000").to_string()),
        _ => bail!("Invalid timestamp: {seconds}"),
    }
}

/// Seconds since 1970 as `2026-11-22T00:41:45+00`, in the local time zone.
pub(crate) fn local_time(seconds: u64) -> String {
    match Timestamp::from_second(seconds.cast_signed()) {
        Ok(time) => {
            let local = time.to_zoned(TimeZone::system());
            local.strftime("%Y-%m-%dT%H:%M:%S%:::z").to_string()
        }
        Err(_) => "invalid".to_owned(),
    }
}

/// Seconds since 1970 as the locale has them: `Tue Sep 10 02:29:42 2013` in C, in the local time zone.
pub(crate) fn c_time(seconds: u64) -> String {
    match Timestamp::from_second(seconds.cast_signed()) {
        Ok(time) => LOCALE.date_and_time(&time.to_zoned(TimeZone::system())),
        Err(_) => "invalid".to_owned(),
    }
}

/// A value as GVariant text. Objects keep numbers in big-endian order, so libostree swaps all that
/// it prints, unless told not to, even numbers that users put into metadata.
pub(crate) fn variant(value: Variant<'_>, swap: bool) -> Result<String> {
    Ok(match swap {
        true => text::print(value.byteswapped()?.as_ref(), true)?,
        false => text::print(value, true)?,
    })
}

/// What to print of an object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dump {
    /// The value itself.
    pub(crate) raw: bool,
    /// The value itself, with the bytes in its numbers as they are. A commit is explained too.
    pub(crate) unswapped: bool,
}

/// A commit, dirtree or dirmeta as `log` and `show` print it.
pub(crate) fn object(id: &ObjectId, bytes: &[u8], dump: Dump, to: &Output) -> Result<String> {
    let mut out = format!("{} {}\n", id.kind.name(), id.checksum);
    let corrupt = |reason: &dyn std::error::Error| Error::corrupt(*id, reason.to_string());
    if dump.raw || dump.unswapped {
        let value = Variant::new(variant_type(id.kind), bytes).map_err(|error| corrupt(&error))?;
        writeln!(out, "{}", variant(value, !dump.unswapped)?)?;
        if !dump.unswapped {
            return Ok(out);
        }
    }
    if id.kind == ObjectKind::Commit {
        let commit = Commit::parse(bytes).map_err(|error| corrupt(&error))?;
        explain_commit(&mut out, &commit, to)
            .with_context(|| format!("Failed to read commit {}", id.checksum))?;
    }
    Ok(out)
}

/// A commit as `log` and `show` print it.
pub(crate) fn commit(id: CommitId, bytes: &[u8], dump: Dump, to: &Output) -> Result<String> {
    object(&id.into(), bytes, dump, to)
}

/// The GVariant type of a metadata object.
fn variant_type(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Commit => "(a{sv}aya(say)sstayay)",
        ObjectKind::DirTree => "(a(say)a(sayay))",
        ObjectKind::DirMeta => "(uuua(ayay))",
        _ => "a{sv}",
    }
}

fn explain_commit(out: &mut String, commit: &Commit<'_>, to: &Output) -> Result<()> {
    if let Some(parent) = commit.parent {
        writeln!(out, "Parent:  {parent}")?;
    }
    writeln!(out, "ContentChecksum:  {}", commit.content_checksum())?;
    writeln!(out, "Date:  {}", timestamp(commit.timestamp)?)?;
    if let Some(version) = commit.metadata_str("version") {
        writeln!(out, "Version: {}", to.part(version))?;
    }
    match commit.subject {
        "" => out.push_str("(no subject)\n"),
        subject => indent(out, subject),
    }
    if !commit.body.is_empty() {
        indent(out, commit.body);
    }
    out.push('\n');
    Ok(())
}

/// A blank line, then the text with four spaces before each line.
fn indent(out: &mut String, text: &str) {
    out.push('\n');
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push_str("    ");
        out.push_str(line);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_glib_writes_them() {
        let nbsp = '\u{a0}';
        for (bytes, text) in [
            (0, "0 bytes".to_owned()),
            (1, "1 byte".to_owned()),
            (999, "999 bytes".to_owned()),
            (1000, format!("1.0{nbsp}kB")),
            (1049, format!("1.0{nbsp}kB")),
            (1051, format!("1.1{nbsp}kB")),
            (999_999, format!("1000.0{nbsp}kB")),
            (3_145_728, format!("3.1{nbsp}MB")),
            (u64::MAX, format!("18.4{nbsp}EB")),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times() {
        assert_eq!(timestamp(0).unwrap(), "1970-01-01 00:00:00 +0000");
        let last = timestamp(253_402_300_799).unwrap();
        assert_eq!(last, "9999-12-31 23:59:59 +0000");
        assert!(timestamp(253_402_300_800).is_err());
        let before = timestamp((-5_i64).cast_unsigned()).unwrap();
        assert_eq!(before, "1969-12-31 23:59:55 +0000");
        assert!(timestamp(1 << 63).is_err());
    }
}
