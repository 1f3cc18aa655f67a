// SPDX-License-Identifier: MIT OR Apache-2.0
//! The records of extended headers.

use std::io;

use super::invalid;

pub(super) fn number(digits: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| invalid("an extended header that is no number"))
}

/// Splits the records of an extended header.
pub(super) fn records(mut bytes: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let malformed = || invalid("a malformed extended header");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes
            .iter()
            .take(20)
            .position(|byte| *byte == b' ')
            .ok_or_else(malformed)?;
        let len = usize::try_from(number(&bytes[..space])?).map_err(|_| malformed())?;
        let (record, rest) = bytes.split_at_checked(len).ok_or_else(malformed)?;
        let record = record
            .get(space + 1..)
            .and_then(|record| record.strip_suffix(b"\n"))
            .ok_or_else(malformed)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(malformed)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = rest;
    }
    Ok(records)
}
