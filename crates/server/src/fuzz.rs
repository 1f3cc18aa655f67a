// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entry points of the fuzz targets. Each panics if a property is violated that must hold for all
//! bytes. Nothing else uses them.

use std::net::{IpAddr, Ipv4Addr};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use oxtree_repo::public::Lasts;
use oxtree_transfer::http::date;

use crate::access::{issuers, tokens};
use crate::files::stored::{Wanted, is_known, wanted};
use crate::proxies::{Peer, Proxies};

/// A JSON Web Token, and a set of keys.
pub fn json_web_token(token: &str, keys: &[u8]) {
    if issuers::is_signed(token, keys) {
        // The signature covers all of it.
        for at in 0..token.rfind('.').unwrap_or(0) {
            let mut other = token.as_bytes().to_vec();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("a signed token is ASCII");
            assert!(!issuers::is_signed(&other, keys), "{other} counts, too");
        }
    }
}

/// A file with tokens: what was read is written and read as the same.
pub fn token_file(bytes: &[u8]) {
    let Ok(document) = tokens::Document::parse(bytes) else {
        return;
    };
    let written = document.to_bytes().expect("it can be written");
    let again = tokens::Document::parse(&written).expect("it was written");
    assert_eq!(again, document);
}

/// Lines of a head (`name: value`), for a file of this size, from a trusted proxy.
pub fn head(lines: &[u8], size: u64) {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts
            .next()
            .and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts.next().unwrap_or_default().trim_ascii();
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    if let Wanted::Part(start, end) = wanted(&headers, "\"a\"", None, size) {
        assert!(start < end && end <= size);
    }
    for lasts in [Lasts::Forever, Lasts::Long, Lasts::Short] {
        is_known(&headers, "\"a\"", 1_000_000_000, lasts);
    }
    let values = headers.values().filter_map(|value| value.to_str().ok());
    for then in values.filter_map(date::parse) {
        if let Some(text) = date::format(then) {
            assert_eq!(date::parse(&text), Some(then), "{text}");
        }
    }
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let client = Peer {
        address,
        tls: false,
    };
    Proxies(vec![address.into()]).client(client, &headers);
    assert_eq!(Proxies(Vec::new()).client(client, &headers), client);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the fuzz target would look at nothing but refusals.
    #[test]
    fn seeds_count() {
        for seed in ["ed", "es"] {
            let path = format!("../../fuzz/seeds/http_tokens/{seed}");
            let seed = std::fs::read(&path).unwrap();
            let at = seed.iter().rposition(|byte| *byte == b'\n').unwrap();
            let token = std::str::from_utf8(&seed[at + 1..]).unwrap();
            assert!(issuers::is_signed(token, &seed[..at]), "{path}");
            json_web_token(token, &seed[..at]);
        }
    }
}
