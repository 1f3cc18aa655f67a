// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of static deltas: `TO` for one from scratch, `FROM-TO` for one between two commits, each
//! with 64 hexadecimal digits. Summaries and delta indexes use them as keys. Paths have base64
//! instead: without padding, and with `_` instead of `/`.

use std::fmt;
use std::str::FromStr;

use crate::{Checksum, CommitId, Error};

/// OSTree's base64.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_";

/// Which commit a static delta leads to, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeltaName {
    /// The commit one needs to have; [`None`] for a delta from scratch.
    pub from: Option<CommitId>,
    /// The commit one gets.
    pub to: CommitId,
}

impl DeltaName {
    /// The folder of the delta below a repository, `deltas/AB/CD…`.
    pub fn folder(&self) -> String {
        let from = self.from.map(|from| encode(from.as_bytes()) + "-");
        let name = from.unwrap_or_default() + &encode(self.to.as_bytes());
        let (first, rest) = name.split_at(2);
        format!("deltas/{first}/{rest}")
    }

    /// The name of the delta in the folder `deltas/FIRST/REST`; [`None`] if that is no delta's.
    pub fn from_folder(first: &str, rest: &str) -> Option<Self> {
        let commit = |text: &str| decode(text).map(|bytes| CommitId(Checksum(bytes)));
        let name = format!("{first}{rest}");
        match name.split_once('-') {
            _ if first.len() != 2 => None,
            Some((from, to)) => Some(Self {
                from: Some(commit(from)?),
                to: commit(to)?,
            }),
            None => Some(Self {
                from: None,
                to: commit(&name)?,
            }),
        }
    }
}

/// A commit in base64, 43 letters.
pub(super) fn encode(bytes: &[u8; 32]) -> String {
    let mut text = String::with_capacity(43);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for letter in 0..=chunk.len() {
            let index = group >> (18 - 6 * letter) & 63;
            text.push(char::from(LETTERS[index as usize]));
        }
    }
    text
}

/// 43 letters, of whose 258 bits the last two are 0.
pub(super) fn decode(text: &str) -> Option<[u8; 32]> {
    if text.len() != 43 {
        return None;
    }
    let mut bytes = [0; 32];
    let (mut bits, mut count, mut at) = (0_u32, 0, 0);
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes[at] = (bits >> count & 0xff) as u8;
            at += 1;
        }
    }
    (bits & 3 == 0).then_some(bytes)
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

    #[test]
    fn folders_as_libostree_names_them() {
        let [from, to] = [
            "95e2e652e775e4a262120ad3d4dd7dd95016a0f733551a8bc619815e195b087d",
            "277b75cbc0a28e0256f55636ad292a8e1d8e81e5de141c38e92762bd08e13163",
        ]
        .map(|hex| hex.parse::<CommitId>().unwrap());
        let text = "J3t1y8CijgJW9VY2rSkqjh2OgeXeFBw46SdivQjhMWM";
        assert_eq!(encode(to.as_bytes()), text);
        let scratch = DeltaName { from: None, to };
        assert_eq!(scratch.folder(), format!("deltas/J3/{}", &text[2..]));
        for name in [
            scratch,
            DeltaName {
                from: Some(from),
                to,
            },
        ] {
            let folder = name.folder();
            let (first, rest) = folder["deltas/".len()..].split_once('/').unwrap();
            assert_eq!(DeltaName::from_folder(first, rest), Some(name));
        }
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let good = encode(&[0xff; 32]);
        assert_eq!(decode(&good), Some([0xff; 32]));
        // The bits that stand for nothing are 0, so that a commit has one name only.
        let odd = format!("{}9", &good[..42]);
        for text in [
            "",
            "superblock",
            &odd,
            &format!("{good}="),
            &good.replace('_', "/"),
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(
            DeltaName::from_folder("__", &good[2..]).map(|name| name.from),
            Some(None)
        );
        assert_eq!(DeltaName::from_folder("_", &good[1..]), None);
        assert_eq!(
            DeltaName::from_folder("__", &format!("{}-{good}-{good}", &good[2..])),
            None
        );
    }
}
