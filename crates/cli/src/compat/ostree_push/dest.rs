// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEST of `ostree-push`: `ssh://[user@]host[:port]/path` or `[user@]host:path`, in all the forms
//! that the original takes, and with its words for those that it does not.

use anyhow::{Result, bail};
use oxtree_transfer::url::SshUrl;

pub(super) fn parse(text: &str) -> Result<SshUrl> {
    let url = match split_url(text) {
        Some((scheme, _)) if scheme != "ssh" => {
            bail!("Destination scheme \"{scheme}\" not allowed")
        }
        Some((_, rest)) => ssh_url(rest)?,
        None => scp_form(text)?,
    };
    // Neither may pass for an option of ssh, or for several words.
    let bad = |word: &str| {
        word.is_empty()
            || word.starts_with('-')
            || word.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if bad(&url.host) || url.user.as_deref().is_some_and(bad) {
        bail!("Invalid destination host {}", url.login());
    }
    if url.path.contains(['\0', '\n', '\r']) {
        bail!("Destination repo has a line break in it");
    }
    Ok(url)
}

/// The scheme in small letters, and what follows `://`, if there is a host in that.
fn split_url(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let first = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest_ok = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let host = !rest.starts_with(['/', '?', '#']) && !rest.is_empty();
    (first && scheme.chars().all(rest_ok) && host).then(|| (scheme.to_ascii_lowercase(), rest))
}

fn ssh_url(rest: &str) -> Result<SshUrl> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() {
        bail!("Destintion repo missing");
    }
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let (host, port) = match host.strip_prefix('[') {
        Some(address) => match address.split_once(']') {
            Some((address, port)) => (address, port.strip_prefix(':').unwrap_or(port)),
            None => bail!("Invalid IPv6 URL"),
        },
        None => host.split_once(':').unwrap_or((host, "")),
    };
    if host.is_empty() {
        bail!("Destination host missing");
    }
    let user = login.map(|login| login.split(':').next().unwrap_or_default());
    Ok(SshUrl {
        user: user.map(str::to_owned),
        host: host.to_lowercase(),
        port: port_of_url(port)?,
        path: path.to_owned(),
    })
}

/// None and 0 are ssh's own default.
fn port_of_url(text: &str) -> Result<Option<u16>> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("Port could not be cast to integer value as '{text}'");
    }
    match text.parse() {
        Ok(port) => Ok(Some(port).filter(|port| *port > 0)),
        Err(_) => bail!("Port out of range 0-65535"),
    }
}

fn scp_form(text: &str) -> Result<SshUrl> {
    let Some((login, path)) = text.split_once(':') else {
        bail!("Destination not in form \"host:repo\"");
    };
    if login.is_empty() {
        bail!("Destination host missing");
    }
    if path.is_empty() {
        bail!("Destination repo missing");
    }
    let (user, host) = match login.split_once('@') {
        Some((user, host)) if user.is_empty() || host.is_empty() => {
            bail!("Invalid destination host {login}")
        }
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, login),
    };
    Ok(SshUrl {
        user,
        host: host.to_owned(),
        port: None,
        path: path.to_owned(),
    })
}
