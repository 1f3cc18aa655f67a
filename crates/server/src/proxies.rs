// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the client behind a proxy by `Forwarded` (RFC 7239), or `X-Forwarded-For` and
//! `X-Forwarded-Proto`.
//!
//! Any client can send such a header. So only proxies named by the configuration are trusted, each for
//! its statement about the sender before it, the last in the list. If both kinds of headers exist and
//! disagree, the proxy has written one and passed on the other, and the server cannot know which: then
//! the proxy itself is the client.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// From where.
    pub(crate) address: IpAddr,
    /// Whether by TLS.
    pub(crate) tls: bool,
}

/// The trusted proxies.
#[derive(Debug)]
pub(crate) struct Proxies(pub(crate) Vec<IpNet>);

impl Proxies {
    /// The client of a request from this peer.
    pub(crate) fn client(&self, peer: Peer, headers: &HeaderMap) -> Peer {
        if !self.believes(peer.address) {
            return peer;
        }
        let new = forwarded(headers);
        let old = x_forwarded(headers);
        let hops = match (new, old) {
            (new, old) if old.is_empty() => new,
            (new, old) if new.is_empty() => old,
            (new, old) if self.first(&new, peer) == self.first(&old, peer) => new,
            _ => Vec::new(),
        };
        self.first(&hops, peer)
    }

    pub(crate) fn believes(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The nearest address that is no trusted proxy, or else the last one.
    fn first(&self, hops: &[Hop], peer: Peer) -> Peer {
        let mut client = peer;
        for hop in hops.iter().rev() {
            // One that does not want to be known, or is none.
            let Some(address) = hop.address else { break };
            client = Peer {
                address,
                tls: hop.tls.unwrap_or(client.tls),
            };
            if !self.believes(address) {
                break;
            }
        }
        client
    }
}

/// A proxy's statement about its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hop {
    address: Option<IpAddr>,
    tls: Option<bool>,
}

/// All lines of a header, as the one list that they are.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter();
    // A header that is no text names no client.
    let lines = lines.map(|line| line.to_str().unwrap_or_default());
    lines
        .flat_map(|line| line.split(','))
        .map(|word| word.trim().to_ascii_lowercase())
        .collect()
}

fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let hop = |element: &String| {
        let mut hop = Hop::default();
        for pair in element.split(';') {
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match key.trim() {
                "for" => hop.address = address(value),
                "proto" => hop.tls = Some(value == "https"),
                _ => {}
            }
        }
        hop
    };
    list(headers, &FORWARDED).iter().map(hop).collect()
}

fn x_forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let mut hops: Vec<Hop> = list(headers, &FOR)
        .iter()
        .map(|word| Hop {
            address: address(word),
            tls: None,
        })
        .collect();
    // The last is what the proxy before us says; most set but that one.
    if let (Some(hop), Some(proto)) = (hops.last_mut(), list(headers, &PROTO).pop()) {
        hop.tls = Some(proto == "https");
    }
    hops
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => host,
            _ => text,
        },
    };
    host.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXY: Peer = Peer {
        address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        tls: false,
    };

    fn client(peer: Peer, lines: &[(HeaderName, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        let proxies = Proxies(vec![
            "10.0.0.0/8".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ]);
        let client = proxies.client(peer, &headers);
        let scheme = if client.tls { "https" } else { "http" };
        format!("{scheme} {}", client.address)
    }

    #[test]
    fn a_proxy_is_believed_what_it_has_seen_itself() {
        for (lines, expected) in [
            (&[][..], "http 10.0.0.1"),
            (&[(FOR, "192.0.2.1")], "http 192.0.2.1"),
            (&[(FOR, "192.0.2.1"), (PROTO, "https")], "https 192.0.2.1"),
            // Statements that the client sent to the proxy are not trusted.
            (&[(FOR, "1.1.1.1, 192.0.2.1")], "http 192.0.2.1"),
            (
                &[(FOR, "1.1.1.1"), (FOR, "192.0.2.1:4711")],
                "http 192.0.2.1",
            ),
            // One proxy behind the other.
            (&[(FOR, "1.1.1.1, 192.0.2.1, 10.9.9.9")], "http 192.0.2.1"),
            (&[(FOR, "10.9.9.9")], "http 10.9.9.9"),
            (&[(FOR, "192.0.2.1, unknown")], "http 10.0.0.1"),
            (&[(FOR, "192.0.2.1, unknown, 10.9.9.9")], "http 10.9.9.9"),
            (&[(FOR, "192.0.2.1,")], "http 10.0.0.1"),
            (&[(FOR, "[2001:db8::1]:80")], "http 2001:db8::1"),
            (&[(FOR, "::ffff:192.0.2.1")], "http 192.0.2.1"),
            (
                &[(FORWARDED, "for=192.0.2.1;proto=https;by=_x")],
                "https 192.0.2.1",
            ),
            (
                &[(FORWARDED, "For=\"[2001:db8::1]\", For=fd00::1")],
                "http 2001:db8::1",
            ),
            (&[(FORWARDED, "for=_hidden")], "http 10.0.0.1"),
            (&[(FORWARDED, "proto=https")], "http 10.0.0.1"),
            // It writes the one, and passes on the other: which?
            (
                &[(FORWARDED, "for=1.1.1.1"), (FOR, "192.0.2.1")],
                "http 10.0.0.1",
            ),
            (
                &[(FORWARDED, "for=192.0.2.1"), (FOR, "192.0.2.1")],
                "http 192.0.2.1",
            ),
        ] {
            assert_eq!(client(PROXY, lines), expected, "{lines:?}");
        }
        let stranger = Peer {
            address: "192.0.2.9".parse().unwrap(),
            tls: true,
        };
        assert_eq!(client(stranger, &[(FOR, "192.0.2.1")]), "https 192.0.2.9");
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd(text in "[\\x20-\\x7e]{0,60}", spoofed in "[0-9.:a-f,\\[\\] ]{0,40}") {
            client(PROXY, &[(FOR, &text)]);
            client(PROXY, &[(FORWARDED, &text)]);
            // Whatever a client says to a proxy, the client's own address is used.
            let said = format!("{spoofed}, 192.0.2.1");
            prop_assert_eq!(client(PROXY, &[(FOR, &said)]), "http 192.0.2.1");
        }
    }
}
