// SPDX-License-Identifier: MIT OR Apache-2.0
//! A list of a keyring in libostree's words.

use std::fmt::Write as _;

use super::cert::{Certificate, fingerprint};
use super::describe::ShowTime;
use super::policy::{self, State};
use super::user::{UserName, directory_urls};

/// All about a keyring's certificates, as it is at the time `now`.
pub fn list(certificates: &[Certificate], now: u64, time: ShowTime) -> String {
    let mut out = String::new();
    for certificate in certificates {
        // Writing into a string never fails.
        let _ = write(&mut out, certificate, now, time);
    }
    out
}

fn write(
    out: &mut String,
    certificate: &Certificate,
    now: u64,
    time: ShowTime,
) -> std::fmt::Result {
    let primary = certificate.primary_at(now);
    let mark = |revoked| if revoked { " (revoked)" } else { "" };
    writeln!(
        out,
        "Key: {}{}",
        certificate.fingerprint(),
        mark(primary.revoked)
    )?;
    times(
        out,
        "  ",
        policy::born(&certificate.primary.content),
        &primary,
        now,
        time,
    )?;
    for user in certificate.users_at(now) {
        let id = String::from_utf8_lossy(user.id);
        writeln!(out, "  UID: {id}{}", mark(user.revoked || primary.revoked))?;
        if let Some((user, domain)) = UserName::parse(user.id).address() {
            // libgpgme hands out addresses in lower case (of ASCII letters only).
            let [advanced, direct] = directory_urls(&user.to_ascii_lowercase(), domain);
            writeln!(out, "  Advanced update URL: {advanced}")?;
            writeln!(out, "  Direct update URL: {direct}")?;
        }
    }
    for subkey in &certificate.subkeys {
        let state = certificate.subkey_at(subkey, now);
        writeln!(
            out,
            "  Subkey: {}{}",
            fingerprint(&subkey.content),
            mark(state.revoked || primary.revoked)
        )?;
        times(
            out,
            "    ",
            policy::born(&subkey.content),
            &state,
            now,
            time,
        )?;
    }
    Ok(())
}

fn times(
    out: &mut String,
    indent: &str,
    born: u64,
    state: &State,
    now: u64,
    time: ShowTime,
) -> std::fmt::Result {
    writeln!(out, "{indent}Created: {}", time(born))?;
    match state.expires {
        Some(end) if end <= now => writeln!(out, "{indent}Expired: {}", time(end)),
        Some(end) => writeln!(out, "{indent}Expires: {}", time(end)),
        None => Ok(()),
    }
}
