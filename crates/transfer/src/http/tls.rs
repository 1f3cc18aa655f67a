// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why no connection with TLS has come about.

use std::error::Error as _;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Whose certificate it is that the other end does not believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distrusted {
    /// The server's: who has signed it is not known here.
    Issuer,
    /// The server's, for another reason.
    Server,
    /// Ours, or that we have none.
    Us,
}

/// Who is not believed, and why, if that is why a request has failed: it stays so.
pub(crate) fn distrusted(error: &reqwest::Error) -> Option<(Distrusted, String)> {
    match tls_error(error)? {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            let text = "the server's certificate is signed by nobody who is trusted here";
            Some((Distrusted::Issuer, text.to_owned()))
        }
        Error::InvalidCertificate(error) => Some((Distrusted::Server, server(error))),
        Error::AlertReceived(alert) => Some((Distrusted::Us, us(*alert)?.to_owned())),
        _ => None,
    }
}

fn server(error: &CertificateError) -> String {
    let date = |time: u64| {
        let time = i64::try_from(time).ok();
        let time = time.and_then(|time| jiff::Timestamp::from_second(time).ok());
        time.map_or_else(String::new, |time| time.to_string())
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            let then = date(not_after.as_secs());
            format!("the server's certificate has expired at {then}, if the clock is right here")
        }
        CertificateError::Expired => "the server's certificate has expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            let then = date(not_before.as_secs());
            format!("the server's certificate is good from {then} on, if the clock is right here")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let name = expected.to_str();
            let names = match presented.is_empty() {
                true => "it has none".to_owned(),
                false => presented.join(", "),
            };
            format!("the server's certificate is for another name than {name}: {names}")
        }
        error if error.to_string().contains("CaUsedAsEndEntity") => {
            "the server's certificate is one to sign others with (CA:TRUE): it needs one of its own"
                .to_owned()
        }
        error => format!("the server's certificate is not believed: {error}"),
    }
}

fn us(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as Alert;
    Some(match alert {
        Alert::CertificateRequired => "the server wants a certificate of ours",
        Alert::CertificateExpired => "our certificate has expired, says the server",
        Alert::CertificateRevoked => "our certificate was revoked, says the server",
        Alert::UnknownCA => "our certificate is signed by nobody whom the server trusts",
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::DecryptError => "the server does not believe our certificate",
        Alert::AccessDenied => "the server does not let in who has our certificate",
        _ => return None,
    })
}

/// What rustls has said, however deep down.
fn tls_error(error: &reqwest::Error) -> Option<&Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        // An I/O error leaves out what it holds.
        let held = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => cause.source(),
        };
    }
    None
}
