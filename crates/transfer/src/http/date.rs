// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dates as HTTP writes them (RFC 9110).

use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

/// A time in seconds since 1970.
pub fn format(seconds: i64) -> Option<String> {
    let time = Timestamp::from_second(seconds).ok()?;
    DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .ok()
}

/// The seconds since 1970 of a date.
pub fn parse(date: &str) -> Option<i64> {
    let parsed = DateTimeParser::new().parse_timestamp(date);
    parsed.ok().map(Timestamp::as_second)
}
