// SPDX-License-Identifier: MIT OR Apache-2.0
//! A signature's report in libostree's words.

use std::fmt::Write as _;

use super::verify::{Report, Verdict};

/// Writes seconds since 1970 as people do where the user is.
pub type ShowTime = fn(u64) -> String;

/// The last 16 digits of a fingerprint.
fn short(fingerprint: &str) -> &str {
    fingerprint
        .len()
        .checked_sub(16)
        .and_then(|at| fingerprint.get(at..))
        .unwrap_or(fingerprint)
}

/// A few lines about a signature, each with `prefix` before it.
pub fn describe(report: &Report, prefix: &str, now: u64, time: ShowTime) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing into a string never fails.
        let _ = writeln!(out, "{prefix}{text}");
    };
    let id = match &report.key {
        Some(key) => short(&key.fingerprint),
        None => short(&report.issuer),
    };
    let (made, algorithm) = (time(report.created), report.algorithm);
    line(format!(
        "Signature made {made} using {algorithm} key ID {id}"
    ));
    let Some(key) = &report.key else {
        line("Can't check signature: public key not found".to_owned());
        return out;
    };
    let user = format!("\"{} <{}>\"", key.user.name, key.user.email);
    line(match report.verdict {
        Verdict::Good => format!("Good signature from {user}"),
        Verdict::KeyRevoked => "Key revoked".to_owned(),
        Verdict::SignatureExpired => format!("Expired signature from {user}"),
        Verdict::Bad(reason) => format!("BAD signature from {user}: {reason}"),
        Verdict::KeyExpired | Verdict::KeyMissing => format!("BAD signature from {user}"),
    });
    let is_subkey = key.fingerprint != key.primary;
    if is_subkey {
        line(format!("Primary key ID {}", short(&key.primary)));
    }
    let mut expiry = |what: &str, end: Option<u64>| {
        if let Some(end) = end {
            let tense = if end <= now { "expired" } else { "expires" };
            line(format!("{what} {tense} {}", time(end)));
        }
    };
    expiry("Signature", report.expires);
    expiry("Key", key.expires);
    if is_subkey {
        expiry("Primary key", key.primary_expires);
    }
    out
}
