// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of static deltas: `TO` for one from scratch, `FROM-TO` for one between two commits, each
//! with 64 hexadecimal digits. Summaries and delta indexes use them as keys.

use std::fmt;
use std::str::FromStr;

use crate::{CommitId, Error};

/// Which commit a static delta leads to, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeltaName {
    /// The commit one needs to have; [`None`] for a delta from scratch.
    pub from: Option<CommitId>,
    /// The commit one gets.
    pub to: CommitId,
}

impl fmt::Display for DeltaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(from) = &self.from {
            write!(f, "{from}-")?;
        }
        fmt::Display::fmt(&self.to, f)
    }
}

impl FromStr for DeltaName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |_| Error::DeltaName(text.to_owned());
        let (from, to) = match text.split_once('-') {
            Some((from, to)) => (Some(from.parse().map_err(wrong)?), to),
            None => (None, text),
        };
        let to = to.parse().map_err(wrong)?;
        Ok(Self { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Checksum;

    #[test]
    fn round_trip_and_refusal() {
        let [a, b] = [b"a", b"b"].map(|bytes| CommitId(Checksum::of(bytes)));
        for from in [None, Some(a)] {
            let name = DeltaName { from, to: b };
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for text in [
            "",
            "-",
            &format!("{a}-"),
            &format!("-{a}"),
            &format!("{a}-{a}-{a}"),
        ] {
            let error = Error::DeltaName(text.to_owned());
            assert_eq!(text.parse::<DeltaName>(), Err(error));
        }
    }
}
