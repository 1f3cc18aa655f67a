// SPDX-License-Identifier: MIT OR Apache-2.0
//! The summary of a remote and its signatures: fetched, verified, and kept until they change.

use oxtree_format::refs::RemoteName;
use oxtree_repo::Repo;
use oxtree_repo::sign::{Subject, Verifier};
use oxtree_repo::summary_cache::{Kept, Part, SummaryCache};

use super::fetch::{Conditions, Download, Fetcher, Fresh, Mirrors};
use crate::error::{Result, invalid};
use crate::http::date;

/// The largest summary that is fetched, in bytes.
pub(super) const MAX: u64 = 128 << 20;

const SUMMARY: &str = "summary";
const SIGNATURES: &str = "summary.sig";

/// The summary of a remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The summary, which is not parsed yet; [`None`] if there is none.
    pub bytes: Option<Vec<u8>>,
    /// Its signatures (`a{sv}`).
    pub signatures: Option<Vec<u8>>,
}

/// The summary of a repository on this machine, with signatures that `verifier` accepts.
pub(crate) fn of_repository(source: &Repo, verifier: Option<&dyn Verifier>) -> Result<Summary> {
    let bytes = source.read_summary()?;
    let signatures = source.read_summary_signatures()?;
    verify(verifier, bytes.as_deref(), signatures.as_deref())?;
    Ok(Summary { bytes, signatures })
}

/// Where summaries are fetched from, and kept.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) mirrors: &'a Mirrors,
    pub(super) cache: Option<(SummaryCache, RemoteName)>,
    /// That what is kept has wrong signatures is an error: for tests.
    pub(super) trust_cache: bool,
}

impl Source<'_> {
    /// The summary, with signatures that `verifier` is content with. `known` is the summary if it is
    /// known already.
    pub(super) async fn fetch(
        &self,
        verifier: Option<&dyn Verifier>,
        known: Option<Vec<u8>>,
    ) -> Result<Summary> {
        let kept_signatures = self.load(Part::Signatures)?;
        let fetched = self.fresh(SIGNATURES, kept_signatures.as_ref()).await?;
        let Some(signatures) = fetched else {
            let bytes = match known {
                Some(bytes) => Some(bytes),
                None => self.fetcher.find(self.mirrors, SUMMARY, MAX).await?,
            };
            verify(verifier, bytes.as_deref(), None)?;
            return Ok(Summary {
                bytes,
                signatures: None,
            });
        };
        let found = |summary: Vec<u8>, signatures: &Kept| Summary {
            bytes: Some(summary),
            signatures: Some(signatures.bytes.clone()),
        };
        if let Some(bytes) = known {
            verify(verifier, Some(&bytes), Some(&signatures.bytes))?;
            return Ok(found(bytes, &signatures));
        }
        let kept = self.load(Part::Summary)?;
        let same = kept_signatures.is_some_and(|kept| kept.bytes == signatures.bytes);
        if let (Some(kept), true) = (&kept, same) {
            match verify(verifier, Some(&kept.bytes), Some(&signatures.bytes)) {
                Ok(()) => return Ok(found(kept.bytes.clone(), &signatures)),
                Err(_) if self.trust_cache => {
                    return Err(invalid("OSTREE_REPO_TEST_ERROR_INVALID_CACHE"));
                }
                Err(error) => tracing::debug!("the summary that is kept is not good: {error}"),
            }
        }
        let usable = kept.as_ref().filter(|_| !same);
        let Some(mut summary) = self.fresh(SUMMARY, usable).await? else {
            verify(verifier, None, Some(&signatures.bytes))?;
            return Ok(Summary::default());
        };
        let verified = verify(verifier, Some(&summary.bytes), Some(&signatures.bytes));
        if verified.is_err() && usable.is_some_and(|kept| kept.bytes == summary.bytes) {
            // The server says that it has not changed, but it may be damaged here.
            if let Some(again) = self.fresh(SUMMARY, None).await? {
                summary = again;
            }
            verify(verifier, Some(&summary.bytes), Some(&signatures.bytes))?;
        } else {
            verified?;
        }
        self.keep(Part::Summary, &summary, kept.as_ref());
        self.keep(
            Part::Signatures,
            &signatures,
            self.load(Part::Signatures)?.as_ref(),
        );
        Ok(found(summary.bytes, &signatures))
    }

    fn load(&self, part: Part) -> Result<Option<Kept>> {
        match &self.cache {
            Some((cache, remote)) => Ok(cache.load(remote, part)?),
            None => Ok(None),
        }
    }

    /// What cannot be kept is fetched again the next time.
    fn keep(&self, part: Part, new: &Kept, old: Option<&Kept>) {
        if old.is_some_and(|old| old.bytes == new.bytes) {
            return;
        }
        if let Some((cache, remote)) = &self.cache
            && let Err(error) = cache.store(remote, part, new)
        {
            tracing::debug!("{error}");
        }
    }

    /// A file as it is now; [`None`] if there is none.
    async fn fresh(&self, path: &str, kept: Option<&Kept>) -> Result<Option<Kept>> {
        let conditions = kept.map(conditions).unwrap_or_default();
        let download = Download::new(
            self.fetcher.clone(),
            self.mirrors.clone(),
            path.to_owned(),
            MAX,
        );
        match download.unless(conditions).await {
            Ok(Fresh::Unchanged) => Ok(kept.cloned()),
            Ok(Fresh::New(bytes, told)) => Ok(Some(Kept {
                bytes,
                etag: told.etag,
                modified: told.modified.as_deref().map_or(0, seconds),
            })),
            Err(error) if error.is_missing_file() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn conditions(kept: &Kept) -> Conditions {
    let seconds = i64::try_from(kept.modified).ok();
    Conditions {
        etag: kept.etag.clone(),
        modified: seconds.and_then(date::format),
    }
}

/// An HTTP date in seconds since 1970; 0 if it is none.
fn seconds(date: &str) -> u64 {
    let seconds = date::parse(date).and_then(|seconds| u64::try_from(seconds).ok());
    seconds.unwrap_or(0)
}

fn verify(
    verifier: Option<&dyn Verifier>,
    summary: Option<&[u8]>,
    signatures: Option<&[u8]>,
) -> Result<()> {
    let Some(verifier) = verifier else {
        return Ok(());
    };
    let Some(summary) = summary else {
        return Err(invalid(NO_SUMMARY));
    };
    verifier
        .verify(Subject::Summary, summary, signatures)
        .map_err(|error| invalid(error.to_string()))
}

/// There is no summary where it has to be signed.
pub(crate) const NO_SUMMARY: &str = "GPG verification enabled, but no summary found \
                                     (use gpg-verify-summary=false in remote config to disable)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let kept = Kept {
            modified: 784_111_777,
            ..Kept::default()
        };
        let date = conditions(&kept).modified.unwrap();
        assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(seconds(&date), 784_111_777);
        assert_eq!(seconds("yesterday"), 0);
    }
}
