// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where to push to: `ssh://[user@]host[:port]/path`, `[user@]host:path`, `http(s)://host[:port]/path`,
//! or a local path.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::http::proxy::is_this_machine;

/// A parsed destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Url {
    /// A repository on another machine.
    Ssh(SshUrl),
    /// A repository behind a web server.
    Http(HttpUrl),
    /// A repository on this one.
    Local(PathBuf),
}

/// A repository behind a web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(reqwest::Url);

/// A repository on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshUrl {
    /// Who to log in as, if not whom ssh's configuration says.
    pub user: Option<String>,
    /// The machine, as ssh knows it.
    pub host: String,
    /// The port, if not the one that ssh's configuration says.
    pub port: Option<u16>,
    /// The path there; a relative one starts where the login does.
    pub path: String,
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            |what: &str| Error::Destination(format!("invalid destination '{text}': {what}"));
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme {
                "ssh" => parse_ssh(rest, &wrong).map(Self::Ssh),
                "http" | "https" => HttpUrl::parse(text).map(Self::Http),
                "file" => Ok(Self::Local(PathBuf::from(rest))),
                scheme => Err(wrong(&format!(
                    "{scheme}:// is not supported; use ssh://[user@]host[:port]/path, \
                     [user@]host:path, https://host[:port]/path or a local path"
                ))),
            };
        }
        // As git and scp have it: a colon before any slash ends a host.
        let colon = text.find(':').filter(|colon| !text[..*colon].contains('/'));
        match colon {
            Some(colon) => {
                let (user, host) = split_user(&text[..colon], &wrong)?;
                let path = text[colon + 1..].to_owned();
                check_path(&path, &wrong)?;
                Ok(Self::Ssh(SshUrl {
                    user,
                    host,
                    port: None,
                    path,
                }))
            }
            None if text.is_empty() => Err(wrong("it is empty")),
            None => Ok(Self::Local(PathBuf::from(text))),
        }
    }
}

type Wrong<'a> = dyn Fn(&str) -> Error + 'a;

fn parse_ssh(rest: &str, wrong: &Wrong<'_>) -> Result<SshUrl> {
    let (authority, path) = rest
        .split_once('/')
        .ok_or_else(|| wrong("there is no path"))?;
    let path = format!("/{path}");
    // `/~/x` and `/~user/x` are relative to a home directory, as in git.
    let path = path.strip_prefix("/~/").map_or(path.clone(), str::to_owned);
    check_path(path.trim_start_matches('/'), wrong)?;
    let (authority, port) = split_port(authority, wrong)?;
    let (user, host) = split_user(authority, wrong)?;
    Ok(SshUrl {
        user,
        host,
        port,
        path,
    })
}

fn split_port<'t>(authority: &'t str, wrong: &Wrong<'_>) -> Result<(&'t str, Option<u16>)> {
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after_address..].find(':') {
        None => Ok((authority, None)),
        Some(colon) => {
            let colon = after_address + colon;
            let port = authority[colon + 1..]
                .parse::<u16>()
                .ok()
                .filter(|port| *port > 0);
            let port = port.ok_or_else(|| wrong("the port is no number from 1 to 65535"))?;
            Ok((&authority[..colon], Some(port)))
        }
    }
}

fn split_user(authority: &str, wrong: &Wrong<'_>) -> Result<(Option<String>, String)> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    // ssh wants an IPv6 address without the brackets that a URL needs.
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    // Neither may pass for an option of ssh, or for several words.
    let bad = |word: &str| {
        word.is_empty()
            || word.starts_with('-')
            || word.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if bad(host) {
        return Err(wrong("there is no valid host"));
    }
    if user.is_some_and(bad) {
        return Err(wrong("there is no valid user before the @"));
    }
    Ok((user.map(str::to_owned), host.to_owned()))
}

fn check_path(path: &str, wrong: &Wrong<'_>) -> Result<()> {
    if path.is_empty() {
        return Err(wrong("there is no path"));
    }
    if path.contains(['\0', '\n']) {
        return Err(wrong("the path has a NUL or a line break in it"));
    }
    Ok(())
}

impl HttpUrl {
    fn parse(text: &str) -> Result<Self> {
        // What is secret in it is not shown again.
        let wrong = |what: &str| {
            let shown = match text.split_once("://") {
                Some((scheme, rest)) if rest.contains('@') => format!("{scheme}://…"),
                _ => text.split(['?', '#']).next().unwrap_or_default().to_owned(),
            };
            Error::Destination(format!("invalid destination '{shown}': {what}"))
        };
        let mut url = reqwest::Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "a token does not belong into the URL, where others can see it",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("there is something after the path"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("there is no valid host"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The place of something below the repository.
    pub(crate) fn at(&self, path: &str) -> reqwest::Url {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/');
        let full = format!("{base}/{path}");
        url.set_path(&full);
        url
    }

    /// Whether nobody on the way can read what is said.
    pub fn is_private(&self) -> bool {
        self.0.scheme() == "https" || is_this_machine(&self.0)
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl SshUrl {
    /// `user@host` or `host`.
    pub fn login(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }

    /// The same where a port or a path follows.
    fn shown(&self) -> String {
        match self.host.contains(':') {
            false => self.login(),
            true => Self {
                host: format!("[{}]", self.host),
                ..self.clone()
            }
            .login(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Http(url) => url.fmt(f),
            Self::Ssh(url @ SshUrl { port: None, .. }) => write!(f, "{}:{}", url.shown(), url.path),
            Self::Ssh(
                url @ SshUrl {
                    port: Some(port),
                    path,
                    ..
                },
            ) => {
                write!(
                    f,
                    "ssh://{}:{port}/{}",
                    url.shown(),
                    path.trim_start_matches('/')
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(user: Option<&str>, host: &str, port: Option<u16>, path: &str) -> Url {
        let (user, host, path) = (user.map(str::to_owned), host.to_owned(), path.to_owned());
        Url::Ssh(SshUrl {
            user,
            host,
            port,
            path,
        })
    }

    #[test]
    fn good_destinations() {
        let cases = [
            ("ssh://host/repo", ssh(None, "host", None, "/repo")),
            (
                "ssh://u@host:22/a/b/",
                ssh(Some("u"), "host", Some(22), "/a/b/"),
            ),
            (
                "ssh://host/path/:/repo",
                ssh(None, "host", None, "/path/:/repo"),
            ),
            ("ssh://[::1]:2222/r", ssh(None, "::1", Some(2222), "/r")),
            ("ssh://[::1]/r", ssh(None, "::1", None, "/r")),
            ("ssh://host/~/r", ssh(None, "host", None, "r")),
            ("host:repo", ssh(None, "host", None, "repo")),
            (
                "u@host.example.com:path/to",
                ssh(Some("u"), "host.example.com", None, "path/to"),
            ),
            ("host:/path/:/repo", ssh(None, "host", None, "/path/:/repo")),
            ("/srv/repo", Url::Local("/srv/repo".into())),
            ("./a:b", Url::Local("./a:b".into())),
            ("repo", Url::Local("repo".into())),
            ("file:///srv/repo", Url::Local("/srv/repo".into())),
        ];
        for (text, url) in cases {
            assert_eq!(text.parse::<Url>().unwrap(), url, "{text}");
        }
        for (text, shown) in [
            ("ssh://u@[::1]:22/r", "ssh://u@[::1]:22/r"),
            ("ssh://[::1]/r", "[::1]:/r"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn web_servers() {
        for (text, shown, private) in [
            ("https://h/r/", "https://h/r", true),
            ("https://h:8443", "https://h:8443", true),
            ("http://h/a%20b", "http://h/a%20b", false),
            ("http://localhost:8080/r", "http://localhost:8080/r", true),
            ("http://127.0.0.2/", "http://127.0.0.2", true),
            ("http://[::1]:1/r", "http://[::1]:1/r", true),
            ("http://x.localhost/", "http://x.localhost", false),
            ("http://localhost./", "http://localhost.", false),
            (
                "http://127.0.0.1.example.com/",
                "http://127.0.0.1.example.com",
                false,
            ),
            (
                "http://localhost.example.com/",
                "http://localhost.example.com",
                false,
            ),
        ] {
            let Ok(Url::Http(url)) = text.parse() else {
                panic!("{text}");
            };
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.is_private(), private, "{text}");
            assert_eq!(url.at("api/x").as_str(), format!("{shown}/api/x"));
        }
        let error = "https://user:secret@h/r".parse::<Url>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn bad_destinations() {
        for text in [
            "",
            ":",
            ":r",
            "host:",
            "user@host:",
            "@:r",
            "@host:r",
            "user@:r",
            "ssh://host",
            "ssh://host/",
            "ssh:///r",
            "ssh://h:port/r",
            "ssh://h:/r",
            "ssh://h:0/r",
            "ssh://h:65536/r",
            "ssh://-oProxyCommand=x/r",
            "-oProxyCommand=x:r",
            "ssh://-l@h/r",
            "ssh://h h/r",
            "http://",
            "https:///",
            "https://h:port/r",
            "https://user@h/r",
            "https://:secret@h/r",
            "https://h/r?x",
            "https://h/r#x",
            "ftp://h/r",
            "host:a\nb",
        ] {
            assert!(
                matches!(text.parse::<Url>(), Err(Error::Destination(_))),
                "{text}"
            );
        }
    }
}
