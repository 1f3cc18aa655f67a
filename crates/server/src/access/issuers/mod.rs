// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON Web Tokens of outside issuers (RFC 7519): a CI system says who runs a job, and rules here say
//! what that one may do, so that nobody has to keep a secret.

mod jwt;
mod keys;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oxtree_repo::refs::pattern::fits;
use oxtree_transfer::limits::Caps;
use serde_json::Value;

use self::jwt::{Claims, Unverified};
use self::keys::{KeySet, Times};
use super::{Client, Permission};

/// An issuer whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The claim `iss`.
    pub issuer: String,
    /// The required value of the claim `aud`: tokens made for other servers are rejected.
    pub audience: String,
    /// Where the keys are.
    pub keys: KeySource,
    /// The permissions; the first matching rule applies.
    pub rules: Vec<Rule>,
}

/// Where a set of keys (RFC 7517) is.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// On a web server.
    Url(String),
}

/// The permissions of tokens with these claims.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Claims with patterns, of which one has to fit.
    pub when: Vec<(String, Vec<String>)>,
    /// The permissions.
    pub permissions: Vec<Permission>,
    /// In which repositories.
    pub repos: Option<Vec<String>>,
    /// With which refs.
    pub refs: Option<Vec<String>>,
    /// How much.
    pub limits: Caps,
}

impl Rule {
    fn fits(&self, claims: &Claims) -> bool {
        let has = |(name, patterns): &(String, Vec<String>)| {
            let fits = |value: &str| patterns.iter().any(|pattern| fits(pattern, value));
            match claims.all.get(name) {
                Some(Value::String(value)) => fits(value),
                Some(Value::Number(value)) => fits(&value.to_string()),
                Some(Value::Bool(value)) => fits(&value.to_string()),
                Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).any(fits),
                _ => false,
            }
        };
        self.when.iter().all(has)
    }
}

/// Whether a token is signed by a key of this set, whatever it says. For the fuzz targets.
pub(crate) fn is_signed(token: &str, keys: &[u8]) -> bool {
    let (Some(token), Ok(keys)) = (Unverified::parse(token), keys::parse(keys)) else {
        return false;
    };
    // Its times and audience are read, but do not count here.
    let _ = token.claims.check("", 0);
    token.verify(&keys).is_ok()
}

/// All whose tokens count.
#[derive(Debug, Default)]
pub(crate) struct Issuers(Vec<Issuer>);

#[derive(Debug)]
struct Issuer {
    config: IssuerConfig,
    keys: Arc<KeySet>,
}

/// When the keys of a server are asked for again.
const TIMES: Times = Times {
    lasts: Duration::from_secs(600),
    pause: Duration::from_secs(30),
    first_pause: Duration::from_secs(5),
};

impl Issuers {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn new(all: Vec<IssuerConfig>) -> Self {
        Self::with(all, TIMES)
    }

    fn with(all: Vec<IssuerConfig>, times: Times) -> Self {
        let issuers = all.into_iter().map(|config| Issuer {
            keys: KeySet::new(config.keys.clone(), times),
            config,
        });
        Self(issuers.collect())
    }

    /// The client of this token, or why the token is rejected; [`None`] if it is no JSON Web Token.
    pub(crate) async fn client(&self, token: &str, now: u64) -> Option<Result<Client, String>> {
        if self.0.is_empty() {
            return None;
        }
        let unverified = Unverified::parse(token)?;
        Some(self.judge(&unverified, now).await)
    }

    async fn judge(&self, token: &Unverified<'_>, now: u64) -> Result<Client, String> {
        let issuer = self
            .0
            .iter()
            .find(|issuer| Some(issuer.config.issuer.as_str()) == token.claims.text("iss"))
            .ok_or("a token of an issuer that is not known here")?;
        let keys = issuer.keys.get(token.header.kid.as_deref()).await?;
        token.verify(&keys)?;
        token.claims.check(&issuer.config.audience, now)?;
        let who = token.claims.text("sub").unwrap_or_default();
        let rule = issuer.config.rules.iter();
        let rule = rule
            .into_iter()
            .find(|rule| rule.fits(&token.claims))
            .ok_or_else(|| format!("no rule fits {who} of {}", issuer.config.issuer))?;
        Ok(Client {
            // No other issuer and no token can be called so.
            name: Some(format!("{}#{who}", issuer.config.issuer)),
            id: None,
            permissions: rule.permissions.iter().copied().collect(),
            repos: rule.repos.clone(),
            refs: rule.refs.clone(),
            caps: rule.limits,
        })
    }
}
