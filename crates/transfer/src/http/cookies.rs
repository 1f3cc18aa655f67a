// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cookies that are sent to a remote: `NAME.cookies.txt` in the repository, in Netscape's format.
//!
//! A line a cookie, its fields with a tab between them: the domain, `TRUE` if its subdomains get it, too,
//! the path, `TRUE` if only https gets it, when it expires (seconds since 1970, 0 for never), its name and
//! its value. Lines that begin with `#` say nothing, but for `#HttpOnly_` before the domain.

use std::fmt::Write;

/// A cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The host that gets it.
    pub domain: String,
    /// The hosts below it get it, too.
    pub subdomains: bool,
    /// What is below this path gets it.
    pub path: String,
    /// Only over https.
    pub secure: bool,
    /// When it stops to be sent, in seconds since 1970; 0 for never.
    pub expires: u64,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// All cookies of a remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookies(pub Vec<Cookie>);

const HTTP_ONLY: &str = "#HttpOnly_";

impl Cookies {
    /// Reads a jar. Lines that are no cookies are passed over.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let line = line.strip_prefix(HTTP_ONLY).unwrap_or(line);
            let fields: Vec<&str> = line.split('\t').collect();
            let [domain, subdomains, path, secure, expires, name, value] = fields[..] else {
                return None;
            };
            (!domain.starts_with('#')).then(|| Cookie {
                domain: domain.to_owned(),
                subdomains: subdomains == "TRUE",
                path: path.to_owned(),
                secure: secure == "TRUE",
                expires: expires.parse().unwrap_or(0),
                name: name.to_owned(),
                value: value.to_owned(),
            })
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The jar as it stands in the file.
    pub fn to_text(&self) -> String {
        let flag = |flag: bool| if flag { "TRUE" } else { "FALSE" };
        let mut text = String::new();
        for cookie in &self.0 {
            let Cookie {
                domain,
                path,
                expires,
                name,
                value,
                ..
            } = cookie;
            let (subdomains, secure) = (flag(cookie.subdomains), flag(cookie.secure));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{domain}\t{subdomains}\t{path}\t{secure}\t{expires}\t{name}\t{value}"
            );
        }
        text
    }

    /// Puts a cookie in, in place of one of the same name for the same place.
    pub fn set(&mut self, cookie: Cookie) {
        self.remove(&cookie.domain, &cookie.path, &cookie.name);
        self.0.push(cookie);
    }

    /// Takes a cookie out; false if there is none.
    pub fn remove(&mut self, domain: &str, path: &str, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|cookie| {
            (&*cookie.domain, &*cookie.path, &*cookie.name) != (domain, path, name)
        });
        self.0.len() < before
    }

    /// The header for a request, if any cookie is for it.
    pub(crate) fn header(&self, url: &reqwest::Url, now: u64) -> Option<String> {
        let host = url.host_str()?;
        let is_for = |cookie: &&Cookie| {
            let domain = cookie.domain.trim_start_matches('.');
            let below = host
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'));
            let in_path = url
                .path()
                .strip_prefix(cookie.path.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            (host.eq_ignore_ascii_case(domain) || (cookie.subdomains && below))
                && in_path
                && (!cookie.secure || url.scheme() == "https")
                && (cookie.expires == 0 || cookie.expires > now)
        };
        let pairs: Vec<String> = self
            .0
            .iter()
            .filter(is_for)
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jars() {
        let text = "# Netscape HTTP Cookie File\n\
                    example.org\tTRUE\t/repo\tTRUE\t0\ta\tb c\n\
                    #HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t5\tx\ty\nnonsense\n";
        let mut jar = Cookies::parse(text);
        assert_eq!(jar.0.len(), 2);
        assert_eq!(Cookies::parse(&jar.to_text()), jar);
        let header = |jar: &Cookies, url: &str, now| jar.header(&url.parse().unwrap(), now);
        let yes = Some("a=b c".to_owned());
        assert_eq!(header(&jar, "https://example.org/repo/x", 0), yes);
        assert_eq!(header(&jar, "https://www.example.org/repo", 0), yes);
        for url in [
            "http://example.org/repo/x",
            "https://example.org/repository",
            "https://badexample.org/repo",
            "https://example.org/",
        ] {
            assert_eq!(header(&jar, url, 0), None, "{url}");
        }
        assert_eq!(
            header(&jar, "http://127.0.0.1:80/z", 4).as_deref(),
            Some("x=y")
        );
        assert_eq!(header(&jar, "http://127.0.0.1/z", 5), None);
        assert!(jar.remove("127.0.0.1", "/", "x"));
        assert!(!jar.remove("127.0.0.1", "/", "x"));
        jar.set(Cookie {
            value: "new".to_owned(),
            ..jar.0[0].clone()
        });
        assert_eq!((jar.0.len(), &*jar.0[0].value), (1, "new"));
    }
}
