// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dates as users write them: the syntax of date(1), which libostree's options take.
//!
//! `@SECONDS`, or words in any order: a date (`2026-01-02`, `20260102`, `1/2/2026`, `2 Jan 2026`,
//! `Jan 2, 2026`), a time (`03:04`, `03:04:05.6`, `3pm`), a zone (`Z`, `UTC`, `+0100`, `UTC+1`), a
//! weekday, and any number of shifts (`yesterday`, `2 days ago`, `+1 week`, `next month`). What is
//! not said is that of now, but a date without a time is its midnight. Years and months are
//! shifted before days, and a day that a month does not have runs over into the next.

mod scan;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use scan::{Scanner, meridian, month, weekday, year, zone};

/// What a date is, for those whose date is none.
pub(crate) const DATES: &str =
    "a date is such as 2026-01-31, '2 days ago' or @SECONDS, between the years 1 and 9999";

/// Not a date.
#[derive(Debug, thiserror::Error)]
#[error("Could not parse '{0}'")]
pub(crate) struct BadDate(String);

/// The moment that `text` means at `now`, in the time zone of `now` unless it names one.
pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Timestamp, BadDate> {
    let trimmed = text.trim();
    let moment = match trimmed.strip_prefix('@') {
        Some(seconds) => parse_seconds(seconds),
        None => Items::parse(trimmed).and_then(|items| items.resolve(now)),
    };
    moment.ok_or_else(|| BadDate(text.to_owned()))
}

/// How long ago `text` is, or how long it says: `2 days`, `2 days ago`, `12h`, or a date.
pub(crate) fn age(text: &str, now: &Zoned) -> Result<Duration, BadDate> {
    if let Some(age) = short_duration(text.trim()) {
        return Ok(age);
    }
    // As a date, nothing would be the beginning of the day.
    if text.trim().is_empty() {
        return Err(BadDate(text.to_owned()));
    }
    let distance = parse(text, now)?.duration_since(now.timestamp());
    Ok(distance.unsigned_abs())
}

/// A number and one of the letters `s`, `m`, `h`, `d`, `w`.
fn short_duration(text: &str) -> Option<Duration> {
    let unit = text.bytes().last()?;
    let count: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    let seconds = match unit {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        b'w' => 7 * 86_400,
        _ => return None,
    };
    count.checked_mul(seconds).map(Duration::from_secs)
}

/// `SECONDS` since 1970, with digits after a point that are rounded down.
fn parse_seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, "0"));
    let seconds: i64 = whole.parse().ok()?;
    let rounded = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    fraction
        .bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| Timestamp::from_second(seconds.checked_sub(i64::from(rounded))?).ok())?
}

/// What the words said.
#[derive(Debug, Default)]
struct Items {
    /// Year (if it was said), month, day.
    date: Option<(Option<i16>, i8, i8)>,
    time: Option<Time>,
    zone: Option<Offset>,
    /// A weekday from 0 for Sunday, and how many of them ahead.
    weekday: Option<(i64, i64)>,
    shift: Shift,
    /// True if a shift was said, even one by nothing such as `today`.
    shifted: bool,
}

/// How far from there.
#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    months: i64,
    days: i64,
    seconds: i64,
}

impl Shift {
    /// `count` units.
    fn of(count: i64, unit: &str) -> Option<Self> {
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        let (months, days, seconds) = match unit {
            "year" => (12, 0, 0),
            "month" => (1, 0, 0),
            "fortnight" => (0, 14, 0),
            "week" => (0, 7, 0),
            "day" => (0, 1, 0),
            "hour" => (0, 0, 3600),
            "minute" | "min" => (0, 0, 60),
            "second" | "sec" => (0, 0, 1),
            _ => return None,
        };
        let times = |n: i64| count.checked_mul(n);
        Some(Self {
            months: times(months)?,
            days: times(days)?,
            seconds: times(seconds)?,
        })
    }

    fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            months: self.months.checked_add(other.months)?,
            days: self.days.checked_add(other.days)?,
            seconds: self.seconds.checked_add(other.seconds)?,
        })
    }
}

impl Items {
    fn parse(text: &str) -> Option<Self> {
        let mut items = Self::default();
        let mut scan = Scanner { rest: text };
        loop {
            scan.skip_space();
            match scan.rest.chars().next() {
                None => return Some(items),
                Some(c) if c.is_ascii_digit() => items.number(&mut scan)?,
                Some(c) if c.is_ascii_alphabetic() => items.word(&mut scan)?,
                Some('+' | '-') => {
                    let count = scan.signed()?;
                    scan.skip_space();
                    let unit = scan.word();
                    items.add_shift(Shift::of(count, &unit)?, &mut scan)?;
                }
                Some(_) => return None,
            }
        }
    }

    fn number(&mut self, scan: &mut Scanner<'_>) -> Option<()> {
        let digits = scan.digits();
        let first: i64 = digits.parse().ok()?;
        match scan.rest.chars().next() {
            Some(':') => return self.clock(first, scan),
            Some('-') => return self.dashed_date(digits, scan),
            Some('/') => return self.slashed_date(digits, scan),
            _ => {}
        }
        let before = scan.rest;
        scan.skip_space();
        let word = scan.word();
        if let Some(shift) = Shift::of(first, &word) {
            return self.add_shift(shift, scan);
        }
        if let Some(month) = month(&word) {
            let year = scan.year();
            return self.set_date(year, month, first);
        }
        if let Some(hour) = meridian(first, &word) {
            return self.set_time(Time::new(hour, 0, 0, 0).ok()?);
        }
        scan.rest = before;
        match (digits.len(), &mut self.date) {
            // The year at the end of what date(1) prints.
            (4, Some((year @ None, ..))) => *year = Some(first.try_into().ok()?),
            (8, None) => {
                let (year, rest) = digits.split_at(4);
                let (month, day) = rest.split_at(2);
                let month = month.parse().ok()?;
                self.set_date(Some(year.parse().ok()?), month, day.parse().ok()?)?;
            }
            (1 | 2, _) => self.set_time(Time::new(first.try_into().ok()?, 0, 0, 0).ok()?)?,
            (4, _) => {
                let (hour, minute) = digits.split_at(2);
                let time = Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0);
                self.set_time(time.ok()?)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// `HH:MM[:SS[.FRACTION]] [am|pm] [±ZONE]`, from the first colon on.
    fn clock(&mut self, hour: i64, scan: &mut Scanner<'_>) -> Option<()> {
        scan.eat(':')?;
        let minute = scan.two_digits()?;
        let mut second = 0;
        if scan.eat(':').is_some() {
            second = scan.two_digits()?;
            if scan.eat('.').or_else(|| scan.eat(',')).is_some() && scan.digits().is_empty() {
                return None;
            }
        }
        let before = scan.rest;
        scan.skip_space();
        let hour = match meridian(hour, &scan.word()) {
            Some(hour) => hour,
            None => {
                scan.rest = before;
                i8::try_from(hour).ok()?
            }
        };
        self.set_time(Time::new(hour, minute, second, 0).ok()?)?;
        let before = scan.rest;
        scan.skip_space();
        match scan.rest.starts_with(['+', '-']) {
            true => self.set_zone(scan.offset()?),
            false => {
                scan.rest = before;
                Some(())
            }
        }
    }

    /// `YEAR-MONTH-DAY` or `DAY-Mon-YEAR`, from the first dash on.
    fn dashed_date(&mut self, first: &str, scan: &mut Scanner<'_>) -> Option<()> {
        scan.eat('-')?;
        let name = scan.word();
        if name.is_empty() {
            let month = scan.two_digits()?;
            scan.eat('-')?;
            let day = scan.two_digits()?;
            self.set_date(Some(year(first)?), month, day.into())?;
            // Of ISO 8601; a letter T elsewhere would be a time zone.
            if scan.rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) {
                let _ = scan.eat('T').or_else(|| scan.eat('t'));
            }
            return Some(());
        }
        scan.eat('-')?;
        let last = scan.digits();
        self.set_date(Some(year(last)?), month(&name)?, first.parse().ok()?)
    }

    /// `MONTH/DAY[/YEAR]` or `YEAR/MONTH/DAY`, from the first slash on.
    fn slashed_date(&mut self, first: &str, scan: &mut Scanner<'_>) -> Option<()> {
        scan.eat('/')?;
        let second = scan.digits();
        let third = scan.eat('/').map(|()| scan.digits());
        let (year_text, month, day) = match third {
            Some(day) if first.len() >= 4 => (Some(first), second, day),
            third => (third, first, second),
        };
        let year = match year_text {
            Some(text) => Some(year(text)?),
            None => None,
        };
        self.set_date(year, month.parse().ok()?, day.parse().ok()?)
    }

    fn word(&mut self, scan: &mut Scanner<'_>) -> Option<()> {
        let word = scan.word();
        let _ = scan.eat('.');
        let ahead = match word.as_str() {
            "now" | "today" => return self.add_shift(Shift::default(), scan),
            "yesterday" => return self.add_shift(Shift::of(-1, "day")?, scan),
            "tomorrow" => return self.add_shift(Shift::of(1, "day")?, scan),
            "last" => -1,
            "this" => 0,
            "next" => 1,
            _ => return self.single_word(&word, scan),
        };
        scan.skip_space();
        let what = scan.word();
        match weekday(&what) {
            Some(day) => self.set_weekday(day, ahead),
            None => self.add_shift(Shift::of(ahead, &what)?, scan),
        }
    }

    fn single_word(&mut self, word: &str, scan: &mut Scanner<'_>) -> Option<()> {
        if let Some(day) = weekday(word) {
            return self.set_weekday(day, 0);
        }
        if let Some(month) = month(word) {
            scan.skip_space();
            let day = scan.two_digits()?;
            let year = scan.year();
            return self.set_date(year, month, day.into());
        }
        if let Some(shift) = Shift::of(1, word) {
            return self.add_shift(shift, scan);
        }
        let hours = zone(word)?;
        let mut offset = Offset::from_hours(hours).ok()?;
        if scan.rest.starts_with(['+', '-']) {
            let more = scan.offset()?;
            offset = Offset::from_seconds(offset.seconds() + more.seconds()).ok()?;
        }
        self.set_zone(offset)
    }

    fn add_shift(&mut self, shift: Shift, scan: &mut Scanner<'_>) -> Option<()> {
        let before = scan.rest;
        scan.skip_space();
        let shift = match scan.word().as_str() {
            "ago" => Shift {
                months: -shift.months,
                days: -shift.days,
                seconds: -shift.seconds,
            },
            _ => {
                scan.rest = before;
                shift
            }
        };
        self.shift = self.shift.plus(shift)?;
        self.shifted = true;
        Some(())
    }

    fn set_date(&mut self, year: Option<i16>, month: i8, day: i64) -> Option<()> {
        let new = (year, month, i8::try_from(day).ok()?);
        self.date.replace(new).is_none().then_some(())
    }

    fn set_time(&mut self, time: Time) -> Option<()> {
        self.time.replace(time).is_none().then_some(())
    }

    fn set_zone(&mut self, zone: Offset) -> Option<()> {
        self.zone.replace(zone).is_none().then_some(())
    }

    fn set_weekday(&mut self, day: i64, ahead: i64) -> Option<()> {
        self.weekday.replace((day, ahead)).is_none().then_some(())
    }

    fn resolve(&self, now: &Zoned) -> Option<Timestamp> {
        let day = match self.date {
            None => now.date(),
            Some((year, month, day)) => Date::new(year.unwrap_or(now.year()), month, day).ok()?,
        };
        let absolute = self.date.is_some() || self.weekday.is_some();
        let time = match self.time {
            Some(time) => time,
            None if self.shifted && !absolute => now.time(),
            None => time(0, 0, 0, 0),
        };
        let mut day = shift_months(day, self.shift.months)?;
        if let (Some((weekday, ahead)), None) = (self.weekday, self.date) {
            let today = i64::from(day.weekday().to_sunday_zero_offset());
            let mut days = (weekday - today).rem_euclid(7) + 7 * ahead;
            if ahead > 0 && weekday != today {
                days -= 7;
            }
            day = shift_days(day, days)?;
        }
        let moment = DateTime::from_parts(shift_days(day, self.shift.days)?, time);
        let zone = match self.zone {
            Some(offset) => TimeZone::fixed(offset),
            None => now.time_zone().clone(),
        };
        let moment = zone.to_ambiguous_zoned(moment).compatible().ok()?;
        let seconds = SignedDuration::from_secs(self.shift.seconds);
        moment.timestamp().checked_add(seconds).ok()
    }
}

fn shift_months(day: Date, months: i64) -> Option<Date> {
    if months == 0 {
        return Some(day);
    }
    let month = (i64::from(day.year()) * 12 + i64::from(day.month()) - 1).checked_add(months)?;
    let year = i16::try_from(month.div_euclid(12)).ok()?;
    let first = Date::new(year, i8::try_from(month.rem_euclid(12) + 1).ok()?, 1).ok()?;
    shift_days(first, i64::from(day.day()) - 1)
}

fn shift_days(day: Date, days: i64) -> Option<Date> {
    let span = 0.days().try_days(days).ok()?;
    day.checked_add(span).ok()
}
