// SPDX-License-Identifier: MIT OR Apache-2.0
//! User ids: `Name (comment) <address>`.

/// The parts of a user id, split as GPGME does it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserName {
    /// The name.
    pub name: String,
    /// The mail address.
    pub email: String,
}

impl UserName {
    /// Splits a user id. Bytes that are not UTF-8 are replaced.
    pub fn parse(id: &[u8]) -> Self {
        let id = String::from_utf8_lossy(id);
        let id = id.trim();
        let (rest, email) = match id.strip_suffix('>').and_then(|id| id.rsplit_once('<')) {
            Some((rest, email)) => (rest.trim_end(), email.trim()),
            None if is_address(id) => ("", id),
            None => (id, ""),
        };
        let name = match rest
            .strip_suffix(')')
            .and_then(|rest| rest.rsplit_once('('))
        {
            Some((name, _)) => name.trim_end(),
            None => rest,
        };
        Self {
            name: name.to_owned(),
            email: email.to_owned(),
        }
    }

    /// The address as a user and a domain, both not empty.
    pub fn address(&self) -> Option<(&str, &str)> {
        let (user, domain) = self.email.rsplit_once('@')?;
        (!user.is_empty() && !domain.is_empty()).then_some((user, domain))
    }
}

fn is_address(text: &str) -> bool {
    let parts: Vec<&str> = text.split('@').collect();
    matches!(parts[..], [user, domain] if !user.is_empty() && !domain.is_empty())
        && !text.contains(|c: char| c.is_whitespace() || "<>()[]\\,;:\"".contains(c))
}

/// Where the owner of a mail address publishes keys, in the Web Key Directory's two ways: the
/// advanced and the direct one.
pub(crate) fn directory_urls(user: &str, domain: &str) -> [String; 2] {
    use sha1_checked::Digest;
    let lower = user.to_lowercase();
    let hash = zbase32(&sha1_checked::Sha1::digest(lower.as_bytes()));
    let user = escape(user);
    let domain = domain.to_lowercase();
    [
        format!("https://openpgpkey.{domain}/.well-known/openpgpkey/{domain}/hu/{hash}?l={user}"),
        format!("https://{domain}/.well-known/openpgpkey/hu/{hash}?l={user}"),
    ]
}

/// The bits of the bytes, five a letter, of an alphabet that is easy to tell.
fn zbase32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
        .collect();
    let number = |bits: &[u8]| (0..5).fold(0, |n, at| n << 1 | bits.get(at).copied().unwrap_or(0));
    bits.chunks(5)
        .map(|bits| char::from(LETTERS[usize::from(number(bits))]))
        .collect()
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (id, name, email) in [
            ("A B <a@b>", "A B", "a@b"),
            ("A B (c) <a@b>", "A B", "a@b"),
            ("A B", "A B", ""),
            ("a@b.c", "", "a@b.c"),
            ("<a@b>", "", "a@b"),
            ("A <b", "A <b", ""),
            ("", "", ""),
            ("(x)", "", ""),
        ] {
            let user = UserName::parse(id.as_bytes());
            assert_eq!(
                (user.name.as_str(), user.email.as_str()),
                (name, email),
                "{id}"
            );
        }
        assert_eq!(UserName::parse(b"x <@b>").address(), None);
    }

    #[test]
    fn directories() {
        // The example of the draft that specifies them.
        let [advanced, direct] = directory_urls("Joe.Doe", "Example.ORG");
        let hash = "iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe";
        assert_eq!(
            advanced,
            format!("https://openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/{hash}")
        );
        assert_eq!(
            direct,
            format!("https://example.org/.well-known/openpgpkey/hu/{hash}")
        );
        assert_eq!(escape("a+b c"), "a%2Bb%20c");
    }
}
