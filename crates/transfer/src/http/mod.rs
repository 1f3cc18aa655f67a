// SPDX-License-Identifier: MIT OR Apache-2.0
//! The HTTP client that pulls, pushes and tunnels share: TLS, trust, cookies, proxies and dates.
//!
//! [`Network`] holds the settings of the user, [`TlsOptions`] and [`Cookies`] those of one remote.
//! [`pull`](crate::pull) adds downloads that are retried and resumed, and
//! [`push::http`](crate::push::http) adds the requests of `oxtree serve`.

pub(crate) mod client;
mod cookies;
pub mod date;
pub mod proxy;
mod random;
mod runtime;
mod tls;
mod trust;

pub use self::client::{Network, TlsOptions, describe};
pub use self::cookies::{Cookie, Cookies};
pub(crate) use self::random::random;
pub(crate) use self::runtime::runtime;
pub(crate) use self::tls::{Distrusted, distrusted};
