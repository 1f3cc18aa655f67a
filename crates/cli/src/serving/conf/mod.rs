// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration of `oxtree serve`, in YAML: what is served, where, and to whom. It is explained
//! in `docs/serve.md`. What is not known in it is an error: it may have been a restriction.

mod reader;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oxtree_server::{
    Address, Caps, IpNet, IssuerConfig, KeySource, Permission, Retention, RetentionRule, Rule,
    TlsFiles, Webhook,
};

pub(crate) use self::reader::time;
use self::reader::{Map, Result};
use crate::yaml::{self, Value};

/// Where it is, unless another file is named.
pub(crate) const PATH: &str = "/etc/oxtree/serve.yaml";

/// Larger files are no configuration.
const MAX_FILE: u64 = 1 << 20;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct ServeConf {
    pub(crate) listen: Vec<Address>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) insecure_http: bool,
    pub(crate) tokens: Option<PathBuf>,
    pub(crate) issuers: Vec<IssuerConfig>,
    /// What those may read who show no token; [`None`]: what is said elsewhere.
    pub(crate) anonymous: Option<Anonymous>,
    /// Whether a push needs no token.
    pub(crate) allow_anonymous_push: bool,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) access_log: Option<PathBuf>,
    pub(crate) audit_log: Option<PathBuf>,
    pub(crate) header_timeout: Option<Duration>,
    pub(crate) shutdown_delay: Option<Duration>,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_connections_per_client: Option<usize>,
    pub(crate) push_lifetime: Option<Duration>,
    pub(crate) repos: Vec<RepoConf>,
}

/// What those may read who show no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Anonymous {
    /// Nothing.
    Nothing,
    /// All.
    All,
    /// These refs.
    Refs(Vec<String>),
}

/// A repository.
#[derive(Debug, Default)]
pub(crate) struct RepoConf {
    /// Its path below the server's root; empty for the root.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Keys of `ostree-receive.conf`.
    pub(crate) receive: Vec<(String, Value)>,
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) retention: Option<Retention>,
}

/// Whether the summary is written after a push: a key of `ostree-receive.conf` that can also stand for itself here.
const UPDATE: &str = "update";

impl RepoConf {
    /// Whatever the files say: the summary is left alone.
    pub(crate) fn turn_updates_off(&mut self) {
        self.receive.retain(|(key, _)| key != UPDATE);
        self.receive.push((UPDATE.to_owned(), Value::Bool(false)));
    }
}

impl ServeConf {
    /// Whether any client can push.
    pub(crate) fn takes_pushes(&self) -> bool {
        self.tokens.is_some() || !self.issuers.is_empty() || self.allow_anonymous_push
    }

    /// Reads a file.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let wrong = |reason: String| anyhow::anyhow!("{}: {reason}", path.display());
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
        read.map_err(|error| wrong(error.to_string()))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut map = Map::new("", &yaml::parse(text)?)?;
        let mut listen = addresses(&mut map, "listen", false)?;
        listen.extend(addresses(&mut map, "listen_tls", true)?);
        let conf = Self {
            listen,
            tls: tls(&mut map)?,
            insecure_http: map.flag("insecure_http")?.unwrap_or(false),
            tokens: map.text("tokens")?.map(PathBuf::from),
            issuers: issuers(&mut map)?,
            anonymous: anonymous(&mut map)?,
            allow_anonymous_push: map.flag("allow_anonymous_push")?.unwrap_or(false),
            trusted_proxies: networks(&mut map, "trusted_proxies")?,
            access_log: map.text("access_log")?.map(PathBuf::from),
            audit_log: map.text("audit_log")?.map(PathBuf::from),
            header_timeout: map.time("header_timeout")?,
            shutdown_delay: map.time("shutdown_delay")?,
            send_timeout: map.time("send_timeout")?,
            max_connections: number(&mut map, "max_connections")?,
            max_connections_per_client: number(&mut map, "max_connections_per_client")?,
            push_lifetime: map.time("push_lifetime")?,
            repos: repos(&mut map)?,
        };
        map.end()?;
        Ok(conf)
    }
}

fn number(map: &mut Map, key: &str) -> Result<Option<usize>> {
    let number = map.size(key)?;
    Ok(number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
}

fn addresses(map: &mut Map, key: &str, tls: bool) -> Result<Vec<Address>> {
    let all = map.list(key)?.unwrap_or_default();
    let parse = |text: &String| {
        let address = address(text).map_err(|error| format!("{key}: {error}"))?;
        Ok(Address { address, tls })
    };
    all.iter().map(parse).collect()
}

fn networks(map: &mut Map, key: &str) -> Result<Vec<IpNet>> {
    let all = map.list(key)?.unwrap_or_default();
    let parse = |text: &String| {
        let network = text.parse().or_else(|_| text.parse().map(IpAddr::into));
        network.map_err(|_| format!("{key}: '{text}' is neither an address nor a network"))
    };
    all.iter().map(parse).collect()
}

/// Where to listen. Of names, `localhost` alone is always the same.
pub(crate) fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    let here = text.strip_prefix("localhost:");
    let number = here.map(|port| format!("127.0.0.1:{port}"));
    let parsed = number.as_deref().unwrap_or(text).parse();
    parsed.map_err(|_| format!("'{text}' is no address such as 127.0.0.1:8080 or [::]:443"))
}

fn tls(map: &mut Map) -> Result<Option<TlsFiles>> {
    let client_ca = map.text("tls_client_ca")?.map(PathBuf::from);
    match (map.text("tls_certificate")?, map.text("tls_key")?) {
        (None, None) if client_ca.is_some() => {
            Err("tls_client_ca needs a tls_certificate".to_owned())
        }
        (None, None) => Ok(None),
        (Some(certificates), Some(key)) => Ok(Some(TlsFiles {
            certificates: certificates.into(),
            key: key.into(),
            client_ca,
        })),
        _ => Err("tls_certificate and tls_key go together".to_owned()),
    }
}

fn anonymous(map: &mut Map) -> Result<Option<Anonymous>> {
    let Some(words) = map.list("anonymous")? else {
        return Ok(None);
    };
    Ok(Some(
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["read"] => Anonymous::All,
            ["none"] => Anonymous::Nothing,
            _ if words.len() > 1 && words.iter().any(|word| is_word(word)) => {
                let what =
                    "anonymous: 'read' and 'none' stand alone, the rest are patterns of refs";
                let hint = "allow_anonymous_push: yes lets clients push without a token";
                return Err(format!("{what}; {hint}"));
            }
            ["push"] => {
                return Err(
                    "anonymous: push is not a value: write allow_anonymous_push: yes".to_owned(),
                );
            }
            _ => Anonymous::Refs(words),
        },
    ))
}

/// Whether this is a value of `anonymous` rather than a pattern.
fn is_word(word: &str) -> bool {
    ["read", "none", "push"].contains(&word)
}

fn permissions(map: &mut Map) -> Result<Vec<Permission>> {
    let words = map.list("permissions")?.unwrap_or_default();
    words.iter().map(|word| permission(word)).collect()
}

/// A permission by its name.
pub(crate) fn permission(word: &str) -> Result<Permission> {
    serde_json::from_value(word.into()).map_err(|_| {
        let known = "read, push, force, delete, promote and admin";
        format!("'{word}' is no permission; there are {known}")
    })
}

fn issuers(map: &mut Map) -> Result<Vec<IssuerConfig>> {
    let mut issuers = Vec::new();
    for mut one in map.list_of_maps("issuers")? {
        let keys = one.needed("keys")?;
        let is_local = |url: &str| {
            ["http://127.0.0.1", "http://localhost", "http://[::1]"]
                .iter()
                .any(|here| {
                    url.strip_prefix(here)
                        .is_some_and(|r| r.starts_with([':', '/']))
                })
        };
        let keys = match keys.split_once("://") {
            None => KeySource::File(keys.into()),
            Some(("https", _)) => KeySource::Url(keys),
            Some(("http", _)) if is_local(&keys) => KeySource::Url(keys),
            Some(_) => return Err(format!("issuers: '{keys}' is neither https nor a file")),
        };
        let mut rules = Vec::new();
        for mut rule in one.list_of_maps("rules")? {
            rules.push(Rule {
                when: match rule.map("when")? {
                    Some(when) => when.lists()?,
                    None => Vec::new(),
                },
                permissions: permissions(&mut rule)?,
                repos: rule.list("repos")?,
                refs: rule.list("refs")?,
                limits: Caps::from_keys(|key| rule.size(key))?,
            });
            rule.end()?;
        }
        let of_some = |rule: &Rule| {
            let is_bound = rule.repos.is_some() || rule.refs.is_some();
            is_bound && rule.permissions.contains(&Permission::Admin)
        };
        if rules.iter().any(of_some) {
            return Err(
                "issuers: a rule that allows admin is for all repositories and refs".to_owned(),
            );
        }
        let issuer = one.needed("issuer")?;
        if issuer.contains('#') {
            // It ends there in the names of its visitors.
            return Err(format!("issuers: '{issuer}' must not have a # in it"));
        }
        issuers.push(IssuerConfig {
            issuer,
            audience: one.needed("audience")?,
            keys,
            rules,
        });
        one.end()?;
    }
    Ok(issuers)
}

fn repos(map: &mut Map) -> Result<Vec<RepoConf>> {
    let mut repos = Vec::new();
    for (name, mut one) in map.maps("repos")? {
        let is_bad = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            part.is_empty() || part.starts_with('.') || !part.bytes().all(plain)
        };
        let name = if name == "/" { String::new() } else { name };
        if name == "api"
            || name.starts_with("api/")
            || !name.is_empty() && name.split('/').any(is_bad)
        {
            return Err(format!("repos: '{name}' cannot be a part of a URL here"));
        }
        let update = one.flag("update")?;
        let mut receive = one.map("receive")?.map_or_else(Vec::new, Map::entries);
        if let Some(update) = update {
            if receive.iter().any(|(key, _)| key == UPDATE) {
                let reason = "update stands beside receive and in it: remove one";
                return Err(format!("repos: '{name}': {reason}"));
            }
            receive.push((UPDATE.to_owned(), Value::Bool(update)));
        }
        repos.push(RepoConf {
            name,
            path: one.needed("path")?.into(),
            receive,
            webhooks: webhooks(&mut one)?,
            retention: retention(&mut one)?,
        });
        one.end()?;
    }
    Ok(repos)
}

fn webhooks(map: &mut Map) -> Result<Vec<Webhook>> {
    let mut webhooks = Vec::new();
    for mut one in map.list_of_maps("webhooks")? {
        let secret = match one.text("secret_file")? {
            None => Vec::new(),
            Some(path) => {
                let read = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
                let secret = read.trim_ascii();
                if secret.is_empty() {
                    return Err(format!(
                        "secret_file: {path} is empty: write a secret to it, for example by \
                         openssl rand -hex 32"
                    ));
                }
                secret.to_vec()
            }
        };
        webhooks.push(Webhook {
            url: one.needed("url")?,
            secret,
            refs: one.list("refs")?,
        });
        one.end()?;
    }
    Ok(webhooks)
}

/// What is younger than a day stays, unless something else is said: pushes count on it.
const GRACE: Duration = Duration::from_secs(86400);

fn retention(map: &mut Map) -> Result<Option<Retention>> {
    let grace = map.time("retention_grace")?.unwrap_or(GRACE);
    let mut rules = Vec::new();
    for (pattern, mut one) in map.maps("retention")? {
        let rule = RetentionRule {
            pattern,
            keep_last: one
                .size("keep_last")?
                .map(|last| u32::try_from(last).unwrap_or(u32::MAX)),
            keep_younger_than: one.time("keep_younger_than")?,
        };
        one.end()?;
        if rule.keep_last.is_none() && rule.keep_younger_than.is_none() {
            return Err(format!("retention of {} says nothing", rule.pattern));
        }
        rules.push(rule);
    }
    Ok((!rules.is_empty()).then_some(Retention { rules, grace }))
}
