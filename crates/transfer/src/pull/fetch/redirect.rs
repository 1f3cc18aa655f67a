// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a server sends us on to. Redirects are followed here and not by the HTTP client, which would take
//! headers of the user's along to other servers.

use reqwest::header::LOCATION;
use reqwest::{Response, StatusCode, Url};

/// Where the answer to a request for `at` leads; [`None`] if it is no redirect.
pub(super) fn sent_on(at: &Url, response: &Response) -> Result<Option<Url>, String> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let Some(place) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let place = String::from_utf8_lossy(place.as_bytes());
    next(at, &place).map(Some)
}

fn next(at: &Url, place: &str) -> Result<Url, String> {
    let next = at.join(place);
    let next = next.map_err(|error| format!("the server redirects to no valid URL: {error}"))?;
    match next.scheme() {
        "http" | "https" if next.has_host() => Ok(next),
        other => Err(format!(
            "the server redirects to a URL of {other}, which is not followed: only http and https are"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_servers_are_gone_to() {
        let at: Url = "https://h/a/b".parse().unwrap();
        for (place, leads_to) in [
            ("c", "https://h/a/c"),
            ("/c", "https://h/c"),
            ("//other/c", "https://other/c"),
            ("http://h:1/", "http://h:1/"),
        ] {
            assert_eq!(next(&at, place).unwrap().as_str(), leads_to);
        }
        for (place, reason) in [
            ("file:///etc/passwd", "a URL of file"),
            ("data:,x", "a URL of data"),
            ("http://", "no valid URL"),
        ] {
            let error = next(&at, place).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
