// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes: `a(ayay)`, each name with its trailing NUL, sorted by name.

use oxtree_gvariant::{Seq, from_bytes, to_bytes};

use crate::Error;

/// The GVariant type of a list of extended attributes.
pub type XattrsVariant<'a> = Seq<'a, (&'a [u8], &'a [u8])>;

/// A list of extended attributes, sorted by name, names without the NUL that the format adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattrs(Vec<(Vec<u8>, Vec<u8>)>);

impl Xattrs {
    /// No attributes.
    pub const NONE: Self = Self(Vec::new());

    /// Takes attributes in any order; names must not be empty, hold a NUL or occur twice.
    pub fn new(mut list: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, Error> {
        list.sort();
        for (name, _) in &list {
            if name.is_empty() || name.contains(&0) {
                return Err(Error::XattrName(String::from_utf8_lossy(name).into_owned()));
            }
        }
        if let Some(pair) = list.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::Unsorted(
                String::from_utf8_lossy(&pair[0].0).into_owned(),
            ));
        }
        Ok(Self(list))
    }

    /// Checks a list as it was parsed. A hostile list that is unsorted or holds a name twice is
    /// refused, since two tools could read it as two different things.
    pub fn from_variant(variant: &XattrsVariant<'_>) -> Result<Self, Error> {
        let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(variant.len().min(64));
        for (name, value) in variant.iter() {
            let bad = || Error::XattrName(String::from_utf8_lossy(name).into_owned());
            let name = name.strip_suffix(&[0]).ok_or_else(bad)?;
            if name.is_empty() || name.contains(&0) {
                return Err(bad());
            }
            if list.last().is_some_and(|(last, _)| last.as_slice() >= name) {
                return Err(Error::Unsorted(String::from_utf8_lossy(name).into_owned()));
            }
            list.push((name.to_vec(), value.to_vec()));
        }
        Ok(Self(list))
    }

    /// Parses a serialized list, as `bare-split-xattrs` repositories store it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_variant(&from_bytes(bytes)?)
    }

    /// The serialized list.
    pub fn to_bytes(&self) -> Vec<u8> {
        with_nul(self, |list| to_bytes(list))
    }

    /// Names (without NUL) and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of the attribute called `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let at = self
            .0
            .binary_search_by(|(n, _)| n.as_slice().cmp(name))
            .ok()?;
        Some(&self.0[at].1)
    }
}

/// Runs `f` on the list in the shape that the format writes: names with their NUL.
pub(crate) fn with_nul<R>(xattrs: &Xattrs, f: impl FnOnce(&Vec<(&'_ [u8], &'_ [u8])>) -> R) -> R {
    let names: Vec<Vec<u8>> = xattrs
        .0
        .iter()
        .map(|(name, _)| [name, &[0][..]].concat())
        .collect();
    let list = names
        .iter()
        .zip(&xattrs.0)
        .map(|(name, (_, value))| (&name[..], &value[..]));
    f(&list.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_round_trips() {
        let pairs = vec![
            (b"user.zz".to_vec(), b"1".to_vec()),
            (b"user.aa".to_vec(), b"22".to_vec()),
        ];
        let xattrs = Xattrs::new(pairs).unwrap();
        assert_eq!(xattrs.get(b"user.aa"), Some(&b"22"[..]));
        assert_eq!(Xattrs::parse(&xattrs.to_bytes()).unwrap(), xattrs);
        assert!(Xattrs::NONE.to_bytes().is_empty());
    }

    #[test]
    fn unsorted_and_unnamed_are_refused() {
        let list = |names: &[&[u8]]| {
            Xattrs::parse(&to_bytes(
                &names.iter().map(|n| (*n, &b""[..])).collect::<Vec<_>>(),
            ))
        };
        assert!(list(&[b"user.a\0", b"user.b\0"]).is_ok());
        let bad: [&[&[u8]]; 6] = [
            &[b"b\0", b"a\0"],
            &[b"a\0", b"a\0"],
            &[b"ab"],
            &[b"\0"],
            &[b""],
            &[b"a\0b\0"],
        ];
        for names in bad {
            assert!(list(names).is_err(), "{names:?}");
        }
    }
}
