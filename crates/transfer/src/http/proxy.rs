// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proxies: which one a request goes through, and who has set it.
//!
//! A remote's key `proxy` comes before the variables of the environment. Hosts of `no_proxy` are asked without
//! any proxy, and so is this machine (`localhost` and loopback addresses) unless the remote's key says
//! otherwise: a proxy on another machine cannot reach it, and would read the token that is sent to it.
//!
//! ```
//! use oxtree_transfer::http::proxy::{Proxies, Rules};
//!
//! let variables = |name: &str| (name == "http_proxy").then(|| "me:secret@proxy:3128".to_owned());
//! let rules = Rules::new(&Proxies::of(variables), None)?;
//! let server = "http://example.org/repo".parse().unwrap();
//! assert_eq!(rules.through(&server), " (through the proxy http://proxy:3128 of $http_proxy)");
//! assert_eq!(rules.through(&"http://127.0.0.1:8080/repo".parse().unwrap()), "");
//! # Ok::<(), oxtree_transfer::Error>(())
//! ```

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::{ClientBuilder, StatusCode, Url};

use crate::error::{Error, Result};

/// What a proxy's address may begin with.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// The port of a SOCKS proxy whose address has none.
const SOCKS_PORT: u16 = 1080;

/// A proxy as the user has set it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxySetting {
    /// Its address, with or without a scheme, perhaps with a name and a password.
    pub address: String,
    /// Where it is set: `$http_proxy`, say.
    pub origin: String,
}

impl fmt::Debug for ProxySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxySetting({})", self.origin)
    }
}

/// The proxies of the environment.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<ProxySetting>,
    /// For `https://`.
    pub https: Option<ProxySetting>,
    /// `no_proxy`: hosts that are asked without a proxy.
    pub except: Option<String>,
}

impl Proxies {
    /// Reads the usual variables, as curl does. A variable that is empty is to be [`None`].
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let setting = |names: &[&str]| {
            names.iter().find_map(|name| {
                let address = variable(name)?;
                let origin = format!("${name}");
                Some(ProxySetting { address, origin })
            })
        };
        Self {
            // A request's header `Proxy` would set HTTP_PROXY for a CGI program.
            http: setting(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: setting(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            except: ["no_proxy", "NO_PROXY"].into_iter().find_map(variable),
        }
    }
}

/// A proxy that a request goes through. It is shown without its password.
#[derive(Clone)]
pub struct Proxy(Arc<(Url, String)>);

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Proxy {
    fn parse(setting: &ProxySetting) -> Result<Self> {
        let ProxySetting { address, origin } = setting;
        // It may have a password in it, so it is not shown.
        let wrong = |what: &str| {
            let reason =
                format!("{origin} is no address of a proxy ({what}): write http://HOST:PORT");
            Error::from(oxtree_repo::Error::Invalid(reason))
        };
        let full = match address.contains("://") {
            true => address.trim().to_owned(),
            false => format!("http://{}", address.trim()),
        };
        let mut url = Url::parse(&full).map_err(|error| wrong(&error.to_string()))?;
        if !SCHEMES.contains(&url.scheme()) {
            return Err(wrong("a proxy speaks http, https or SOCKS"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("there is no host"));
        }
        if url.scheme().starts_with("socks") && url.port().is_none() {
            // It has a host, so it can have a port.
            let _ = url.set_port(Some(SOCKS_PORT));
        }
        Ok(Self(Arc::new((url, origin.clone()))))
    }

    /// Whether it is on this machine.
    pub fn is_here(&self) -> bool {
        is_this_machine(&self.0.0)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, origin) = &*self.0;
        let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
        match url.port() {
            Some(port) => write!(f, "{scheme}://{host}:{port} of {origin}"),
            None => write!(f, "{scheme}://{host} of {origin}"),
        }
    }
}

/// Which proxy a request goes through.
#[derive(Clone, Debug, Default)]
pub struct Rules(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    http: Option<Proxy>,
    https: Option<Proxy>,
    /// They are a remote's own.
    is_of_remote: bool,
    except: Vec<Exception>,
}

impl Rules {
    /// Those of the environment, unless a remote has a proxy of its own.
    pub fn new(environment: &Proxies, of_remote: Option<&ProxySetting>) -> Result<Self> {
        let of_remote = of_remote.filter(|setting| !setting.address.is_empty());
        let (http, https) = match of_remote {
            Some(setting) => (Some(setting), Some(setting)),
            None => (environment.http.as_ref(), environment.https.as_ref()),
        };
        Ok(Self(Arc::new(Inner {
            http: http.map(Proxy::parse).transpose()?,
            https: https.map(Proxy::parse).transpose()?,
            is_of_remote: of_remote.is_some(),
            except: environment
                .except
                .as_deref()
                .map_or_else(Vec::new, exceptions),
        })))
    }

    /// The proxy that a request to this URL goes through.
    pub fn proxy(&self, url: &Url) -> Option<&Proxy> {
        let inner = &*self.0;
        let proxy = match url.scheme() {
            "https" => inner.https.as_ref(),
            _ => inner.http.as_ref(),
        }?;
        let is_direct = !inner.is_of_remote && is_this_machine(url);
        let excepted = || inner.except.iter().any(|except| except.fits(url));
        (!is_direct && !excepted()).then_some(proxy)
    }

    /// For a message on a request that has failed: through which proxy it went, if any.
    pub fn through(&self, url: &Url) -> String {
        let proxy = self.proxy(url);
        proxy.map_or_else(String::new, |proxy| format!(" (through the proxy {proxy})"))
    }

    /// The same where there is an answer, which is not the proxy's if it only tunnels.
    pub fn through_to(&self, url: &Url, status: StatusCode) -> String {
        match url.scheme() == "https" && status != StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            true => String::new(),
            false => self.through(url),
        }
    }

    /// A client whose requests go through these proxies, and no others.
    pub fn apply(&self, client: ClientBuilder) -> ClientBuilder {
        let client = client.no_proxy();
        if self.0.http.is_none() && self.0.https.is_none() {
            return client;
        }
        let rules = self.clone();
        client.proxy(reqwest::Proxy::custom(move |url| {
            rules.proxy(url).map(|proxy| proxy.0.0.clone())
        }))
    }
}

/// Whether a URL is of this machine itself: `localhost`, or a loopback address. Name servers are asked for
/// all other names, `x.localhost` too.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host.eq_ignore_ascii_case("localhost")
        || address(host).is_some_and(|address| address.is_loopback())
}

fn address(host: &str) -> Option<IpAddr> {
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inside.unwrap_or(host).parse().ok()
}

/// An entry of `no_proxy`.
#[derive(Debug)]
enum Exception {
    All,
    Address(IpAddr),
    Network(IpNet),
    /// A domain and all below it, without a dot before or after it.
    Domain(String),
}

fn exceptions(text: &str) -> Vec<Exception> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    let words = words.filter(|word| !word.is_empty());
    let exception = |word: &str| {
        if word == "*" {
            return Exception::All;
        }
        match (word.parse(), address(word)) {
            (Ok(network), _) => Exception::Network(network),
            (_, Some(address)) => Exception::Address(address),
            _ => Exception::Domain(word.trim_matches('.').to_ascii_lowercase()),
        }
    };
    words.map(exception).collect()
}

impl Exception {
    fn fits(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        match (self, address(host)) {
            (Self::All, _) => true,
            (Self::Address(one), Some(address)) => *one == address,
            (Self::Network(network), Some(address)) => network.contains(&address),
            (Self::Domain(domain), None) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let below = host.strip_suffix(domain.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(variables: &[(&str, &str)], of_remote: Option<&str>) -> Rules {
        let find = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let of_remote = of_remote.map(|address| ProxySetting {
            address: address.to_owned(),
            origin: "the key".to_owned(),
        });
        Rules::new(&Proxies::of(find), of_remote.as_ref()).unwrap()
    }

    fn shown(rules: &Rules, url: &str) -> Option<String> {
        let url = url.parse().unwrap();
        rules.proxy(&url).map(ToString::to_string)
    }

    #[test]
    fn variables_as_curl_reads_them() {
        let all = rules(
            &[("ALL_PROXY", "socks5h://s"), ("https_proxy", "p:1")],
            None,
        );
        let http = shown(&all, "http://h/").unwrap();
        assert_eq!(http, "socks5h://s:1080 of $ALL_PROXY");
        assert_eq!(
            shown(&all, "https://h/").unwrap(),
            "http://p:1 of $https_proxy"
        );
        let none = rules(&[("HTTP_PROXY", "p:1")], None);
        assert_eq!(shown(&none, "http://h/"), None);
    }

    #[test]
    fn this_machine_is_asked_directly() {
        let rules_of_environment = rules(&[("all_proxy", "http://p:1")], None);
        let own = rules(&[], Some("http://p:1"));
        for (url, is_direct) in [
            ("http://localhost:8080/", true),
            ("http://LOCALHOST/", true),
            ("http://127.0.0.1/", true),
            ("http://127.255.0.9/", true),
            ("http://0x7f000001/", true),
            ("https://[::1]:8443/", true),
            ("http://x.localhost/", false),
            ("http://localhost.example.org/", false),
            ("http://127.0.0.1.example.org/", false),
            ("http://10.0.0.1/", false),
            ("http://[::2]/", false),
        ] {
            assert_eq!(
                shown(&rules_of_environment, url).is_none(),
                is_direct,
                "{url}"
            );
            assert!(shown(&own, url).is_some(), "{url}");
        }
    }

    #[test]
    fn exceptions_are_hosts_domains_and_networks() {
        let except = "a.example, .b.example 10.0.0.0/8,192.0.2.1,[2001:db8::1],c.example.";
        let some = rules(&[("http_proxy", "p"), ("no_proxy", except)], None);
        let own = rules(&[("NO_PROXY", except)], Some("p"));
        for (host, is_direct) in [
            ("a.example", true),
            ("x.A.example", true),
            ("xa.example", false),
            ("b.example", true),
            ("x.b.example", true),
            ("c.example", true),
            ("a.example.", true),
            ("10.1.2.3", true),
            ("11.1.2.3", false),
            ("192.0.2.1", true),
            ("192.0.2.10", false),
            ("[2001:db8::1]", true),
            ("[2001:db8::2]", false),
        ] {
            let url = format!("http://{host}/");
            assert_eq!(shown(&some, &url).is_none(), is_direct, "{host}");
            assert_eq!(shown(&own, &url).is_none(), is_direct, "{host}");
        }
        let all = rules(&[("http_proxy", "p"), ("no_proxy", "*")], None);
        assert_eq!(shown(&all, "http://h/"), None);
    }

    #[test]
    fn no_password_is_shown() {
        let some = rules(&[("http_proxy", "me:s3cret@p:1")], None);
        let url = "http://h/".parse().unwrap();
        assert_eq!(
            some.through(&url),
            " (through the proxy http://p:1 of $http_proxy)"
        );
        for address in [
            "me:s3cret@",
            "http://me:s3cret@:99999/",
            "ftp://me:s3cret@h/",
        ] {
            let setting = ProxySetting {
                address: address.to_owned(),
                origin: "$x".to_owned(),
            };
            let error = Rules::new(&Proxies::default(), Some(&setting)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("$x is no address of a proxy"), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
            assert!(!format!("{setting:?}").contains("s3cret"));
        }
    }
}
