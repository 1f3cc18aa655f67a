// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words and numbers that dates are made of.

use jiff::tz::Offset;

/// A year; one of two digits is within 1969 to 2068.
pub(super) fn year(digits: &str) -> Option<i16> {
    let year: i16 = digits.parse().ok()?;
    Some(match (digits.len(), year) {
        (1 | 2, 0..=68) => 2000 + year,
        (1 | 2, _) => 1900 + year,
        _ => year,
    })
}

/// The hour from 0 to 23 of `hour` on a clock with twelve.
pub(super) fn meridian(hour: i64, word: &str) -> Option<i8> {
    let afternoon = match word {
        "am" => 0,
        "pm" => 12,
        _ => return None,
    };
    let hour = i8::try_from(hour)
        .ok()
        .filter(|hour| (1..=12).contains(hour))?;
    Some(hour % 12 + afternoon)
}

/// Where in `names` the one is that `word` is, or that it begins with three letters or more of.
fn position(names: &[&str], word: &str) -> Option<usize> {
    let fits = |name: &&str| word.len() >= 3 && name.starts_with(word);
    names.iter().position(fits)
}

pub(super) fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    position(&MONTHS, word).and_then(|at| i8::try_from(at + 1).ok())
}

pub(super) fn weekday(word: &str) -> Option<i64> {
    const DAYS: [&str; 7] = [
        "sunday",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
    ];
    position(&DAYS, word).and_then(|at| i64::try_from(at).ok())
}

/// Hours east of Greenwich of the zones that RFC 2822 names.
pub(super) fn zone(word: &str) -> Option<i8> {
    Some(match word {
        "z" | "ut" | "utc" | "gmt" => 0,
        "edt" => -4,
        "est" | "cdt" => -5,
        "cst" | "mdt" => -6,
        "mst" | "pdt" => -7,
        "pst" => -8,
        _ => return None,
    })
}

/// What is left of the text.
pub(super) struct Scanner<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    pub(super) fn skip_space(&mut self) {
        self.take(|c| c.is_ascii_whitespace() || c == ',');
    }

    pub(super) fn digits(&mut self) -> &'a str {
        self.take(|c| c.is_ascii_digit())
    }

    pub(super) fn word(&mut self) -> String {
        self.take(|c| c.is_ascii_alphabetic()).to_ascii_lowercase()
    }

    pub(super) fn eat(&mut self, c: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(c)?;
        Some(())
    }

    /// One or two digits.
    pub(super) fn two_digits(&mut self) -> Option<i8> {
        let digits = self.digits();
        (digits.len() <= 2).then(|| digits.parse().ok())?
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let negative = self.eat('-').is_some();
        if !negative {
            self.eat('+')?;
        }
        self.skip_space();
        let count: i64 = self.digits().parse().ok()?;
        Some(if negative { -count } else { count })
    }

    /// A year after a day and a month, if that is what comes: not a time.
    pub(super) fn year(&mut self) -> Option<i16> {
        let before = self.rest;
        self.skip_space();
        let digits = self.digits();
        if !digits.is_empty() && !self.rest.starts_with(':') {
            return year(digits);
        }
        self.rest = before;
        None
    }

    /// `±HH`, `±HHMM` or `±HH:MM`.
    pub(super) fn offset(&mut self) -> Option<Offset> {
        let sign = if self.eat('-').is_some() { -1 } else { 1 };
        let _ = self.eat('+');
        let digits = self.digits();
        let number: i32 = digits.parse().ok()?;
        let minutes = match (digits.len(), self.eat(':')) {
            (1 | 2, Some(())) => number * 60 + i32::from(self.two_digits()?),
            (1 | 2, None) => number * 60,
            (3 | 4, None) => number / 100 * 60 + number % 100,
            _ => return None,
        };
        Offset::from_seconds(sign * minutes * 60).ok()
    }
}
