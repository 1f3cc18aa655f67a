// SPDX-License-Identifier: MIT OR Apache-2.0
//! Metalinks: documents that say where a summary is, how large, and with which checksum.
//!
//! Version 3 of the format, of which only this much is looked at:
//!
//! ```text
//! <metalink><files><file name="summary">
//!   <size>1234</size>
//!   <verification><hash type="sha256">…</hash></verification>
//!   <resources><url protocol="http" preference="100">http://host/repo/summary</url></resources>
//! </file></files></metalink>
//! ```

use reqwest::Url;
use sha2::{Digest, Sha256, Sha512};

use super::fetch::Fetcher;
use super::mirrors::{one, web};
use super::summary;
use super::xml::{Event, Reader};
use crate::error::{Error, FetchFault, Result, invalid};

/// What a metalink says of the summary.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct File {
    size: Option<u64>,
    sha256: Option<String>,
    sha512: Option<String>,
    /// The best first.
    urls: Vec<(u32, String)>,
}

/// So deep documents are read.
const MAX_DEPTH: usize = 64;

/// Reads a metalink. The error says what is wrong with it.
pub(crate) fn parse(bytes: &[u8]) -> Result<File, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let mut reader = Reader::new(text);
    let mut path: Vec<String> = Vec::new();
    let mut file = None;
    let mut done = None;
    let mut attributes = Vec::new();
    let mut content = String::new();
    while let Some(event) = reader.next()? {
        match event {
            Event::Start(name, given) => {
                path.push(name.to_owned());
                if path.len() > MAX_DEPTH {
                    return Err("elements are too deep in each other".to_owned());
                }
                attributes = given;
                content.clear();
                if is(&path, &["metalink", "files", "file"]) && done.is_none() {
                    let summary = attribute(&attributes, "name") == Some("summary");
                    file = summary.then(File::default);
                }
            }
            Event::Text(text) => content.push_str(&text),
            Event::End => {
                if let Some(file) = &mut file {
                    file.element(&path, &attributes, content.trim())?;
                }
                if is(&path, &["metalink", "files", "file"]) {
                    done = done.or(file.take());
                }
                path.pop();
                content.clear();
            }
        }
    }
    let mut file = done.ok_or("No <file name=\"summary\"> found")?;
    if file.sha256.is_none() && file.sha512.is_none() {
        return Err("No <verification> with known <hash>: sha256 or sha512".to_owned());
    }
    if file.urls.is_empty() {
        return Err("No <url> with the method http or https among the elements".to_owned());
    }
    file.urls
        .sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
    Ok(file)
}

fn is(path: &[String], names: &[&str]) -> bool {
    path.iter().map(String::as_str).eq(names.iter().copied())
}

type Attributes<'t> = Vec<(&'t str, String)>;

fn attribute<'a>(attributes: &'a Attributes<'_>, name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value.as_str())
}

impl File {
    /// The end of an element within the summary's.
    fn element(
        &mut self,
        path: &[String],
        attributes: &Attributes<'_>,
        content: &str,
    ) -> Result<(), String> {
        let Some(inside) = path.get(3..) else {
            return Ok(());
        };
        if is(inside, &["size"]) {
            let size = content.parse();
            self.size = Some(size.map_err(|_| format!("Invalid size {content}"))?);
        } else if is(inside, &["verification", "hash"]) {
            let kind = attribute(attributes, "type").unwrap_or_default();
            let (hash, digits) = match kind {
                "sha256" => (&mut self.sha256, 64),
                "sha512" => (&mut self.sha512, 128),
                _ => return Ok(()),
            };
            let hex = content.bytes().all(|byte| byte.is_ascii_hexdigit());
            if content.len() != digits || !hex {
                return Err(format!("Invalid hash digest for {kind}"));
            }
            *hash = Some(content.to_ascii_lowercase());
        } else if is(inside, &["resources", "url"]) {
            let protocol = attribute(attributes, "protocol").unwrap_or_default();
            if protocol == "http" || protocol == "https" {
                let preference = attribute(attributes, "preference");
                let preference = preference.and_then(|text| text.trim().parse().ok());
                self.urls
                    .push((preference.unwrap_or(0), content.to_owned()));
            }
        }
        Ok(())
    }

    fn check(&self, bytes: &[u8]) -> Result<()> {
        if let Some(size) = self.size.filter(|size| *size != bytes.len() as u64) {
            return Err(invalid(format!(
                "Expected size is {size} bytes but content is {} bytes",
                bytes.len()
            )));
        }
        let hex =
            |digest: &[u8]| -> String { digest.iter().map(|byte| format!("{byte:02x}")).collect() };
        let sha512 = self.sha512.as_ref();
        let (expected, actual) = match (sha512, self.sha256.as_ref()) {
            (Some(expected), _) => (expected, hex(&Sha512::digest(bytes))),
            (None, Some(expected)) => (expected, hex(&Sha256::digest(bytes))),
            (None, None) => return Ok(()),
        };
        match *expected == actual {
            true => Ok(()),
            false => Err(invalid(format!(
                "Expected checksum is {expected} but actual is {actual}"
            ))),
        }
    }
}

/// The first summary that is as the metalink says, and the repository that it is in.
pub(super) async fn summary(fetcher: &Fetcher, file: &File) -> Result<(Url, Vec<u8>)> {
    let mut why = invalid("the metalink names no place");
    for (_, text) in &file.urls {
        let fetched = match web(text) {
            Ok(url) => get(fetcher, url, file).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(found) => return Ok(found),
            Err(error) => {
                tracing::debug!("{text}: {error}");
                why = error;
            }
        }
    }
    Err(why)
}

async fn get(fetcher: &Fetcher, url: Url, file: &File) -> Result<(Url, Vec<u8>)> {
    let (base, name) = url.path().rsplit_once('/').unwrap_or_default();
    if name != "summary" {
        tracing::debug!("{url} is called otherwise than a summary");
    }
    let limit = file.size.unwrap_or(summary::MAX).min(summary::MAX);
    let bytes = match fetcher.get(&one(url.clone())?, "", limit).await {
        Err(Error::Fetch {
            fault: FetchFault::TooLarge,
            ..
        }) => {
            return Err(invalid(format!(
                "Expected size is {limit} bytes but content is larger"
            )));
        }
        got => got?,
    };
    file.check(&bytes)?;
    let mut place = url.clone();
    place.set_path(base);
    Ok((place, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(inside: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<metalink version='3.0'>\n<deeply><nested>x</nested></deeply>\
             <files><file name=\"other\"><size>1</size></file><file name=\"summary\">{inside}</file>\
             </files></metalink>"
        )
    }

    #[test]
    fn documents() {
        let sha256 = "ab".repeat(32);
        let good = document(&format!(
            "<size>12</size><verification><hash type=\"md5\">x</hash><hash type=\"sha256\">{sha256}\
             </hash></verification><resources><url protocol='http' preference=\"1\">http://a/summary\
             </url><url protocol=\"rsync\">rsync://b</url><url protocol='https' preference='7'>\
             https://c/r/summary?a=1&amp;b=2</url></resources>"
        ));
        let file = parse(good.as_bytes()).unwrap();
        assert_eq!((file.size, file.sha512), (Some(12), None));
        assert_eq!(file.sha256, Some(sha256));
        let urls: Vec<&str> = file.urls.iter().map(|(_, url)| &**url).collect();
        assert_eq!(urls, ["https://c/r/summary?a=1&b=2", "http://a/summary"]);
        for (inside, why) in [
            (
                "<verification><hash type='sha512'>bacon</hash></verification>",
                "Invalid hash digest for sha512",
            ),
            ("<size>x</size>", "Invalid size x"),
            ("", "No <verification>"),
            ("<size>1", "</file> where </size>"),
        ] {
            let error = parse(document(inside).as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(
            parse(b"bacon\n")
                .unwrap_err()
                .contains("must begin with an element")
        );
        assert!(parse(b"<a/>").unwrap_err().contains("No <file"));
        let deep = "<a>".repeat(100);
        assert!(parse(deep.as_bytes()).unwrap_err().contains("too deep"));
    }
}
