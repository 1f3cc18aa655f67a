// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote add-cookie`, `remote delete-cookie` and `remote list-cookies`.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use oxtree_format::refs::RemoteName;
use oxtree_repo::Repo;
use oxtree_transfer::http::{Cookie, Cookies};

use crate::context::Context;
use crate::error::Usage;
use crate::text;

/// How long a cookie is sent: 25 years, as with libostree.
const LIFE: Duration = Duration::from_secs(25 * 365 * 24 * 60 * 60);

/// Options of `remote add-cookie`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Everybody on the machine can see the value while the command runs. It is kept in NAME.cookies.txt in
the repository.

Examples:
  oxtree remote add-cookie origin example.org / token 4711")]
pub(crate) struct Add {
    /// NAME DOMAIN PATH COOKIE_NAME VALUE: the remote, which host gets the cookie, and below which path
    #[arg(value_name = "NAME DOMAIN PATH COOKIE_NAME VALUE", num_args = 0..)]
    words: Vec<String>,
}

/// Options of `remote delete-cookie`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  oxtree remote delete-cookie origin example.org / token")]
pub(crate) struct Delete {
    /// NAME DOMAIN PATH COOKIE_NAME: the remote, and of what it is
    #[arg(value_name = "NAME DOMAIN PATH COOKIE_NAME", num_args = 0..)]
    words: Vec<String>,
}

/// Options of `remote list-cookies`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  oxtree remote list-cookies origin")]
pub(crate) struct List {
    /// The remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn add(args: &Add, context: &Context<'_>) -> Result<()> {
    let [remote, domain, path, name, value] = &args.words[..] else {
        let message = "NAME, DOMAIN, PATH, COOKIE_NAME and VALUE must be specified";
        return Err(Usage(message.to_owned()).into());
    };
    for word in [domain, path, name, value] {
        if word.contains(['\t', '\n', '\r']) {
            bail!("A cookie cannot hold tabs and line ends: {word:?}");
        }
    }
    let (repo, remote, mut cookies) = open(remote, context)?;
    let expires = SystemTime::now() + LIFE;
    let expires = expires.duration_since(SystemTime::UNIX_EPOCH);
    cookies.set(Cookie {
        domain: domain.clone(),
        subdomains: false,
        path: path.clone(),
        secure: false,
        expires: expires.unwrap_or_default().as_secs(),
        name: name.clone(),
        value: value.clone(),
    });
    Ok(repo.write_remote_cookies(&remote, cookies.to_text().as_bytes())?)
}

pub(crate) fn delete(args: &Delete, context: &Context<'_>) -> Result<()> {
    // A fifth word is let pass: libostree's own tests name the value, too.
    let ([remote, domain, path, name] | [remote, domain, path, name, _]) = &args.words[..] else {
        let message = "NAME, DOMAIN, PATH and COOKIE_NAME must be specified";
        return Err(Usage(message.to_owned()).into());
    };
    let (repo, remote, mut cookies) = open(remote, context)?;
    if !cookies.remove(domain, path, name) {
        bail!("Cookie not found in jar");
    }
    Ok(repo.write_remote_cookies(&remote, cookies.to_text().as_bytes())?)
}

pub(crate) fn list(args: &List, context: &Context<'_>) -> Result<()> {
    let Some(remote) = &args.name else {
        return Err(Usage("NAME must be specified".to_owned()).into());
    };
    let (_, _, cookies) = open(remote, context)?;
    for cookie in &cookies.0 {
        let Cookie {
            domain,
            path,
            name,
            value,
            ..
        } = cookie;
        let expires = text::local_time(cookie.expires);
        for line in [
            "--",
            &format!("Domain: {domain}"),
            &format!("Path: {path}"),
            &format!("Name: {name}"),
            "Secure: no",
            &format!("Expires: {expires}"),
            &format!("Value: {value}"),
        ] {
            context.out.line(line)?;
        }
    }
    Ok(())
}

fn open(remote: &str, context: &Context<'_>) -> Result<(Repo, RemoteName, Cookies)> {
    let remote: RemoteName = remote.parse()?;
    let repo = context.open_repo()?;
    let bytes = repo.remote_cookies(&remote)?.unwrap_or_default();
    let cookies = Cookies::parse(&String::from_utf8_lossy(&bytes));
    Ok((repo, remote, cookies))
}
