// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arrays: `Vec` to write, [`Seq`] to read.

use std::fmt;
use std::marker::PhantomData;

use crate::framing::{ArrayFrame, pad, put_offsets};
use crate::{Decode, Encode, Error, Result, Type};

/// An array that was checked as a whole and is read element by element, without allocating.
pub struct Seq<'a, T> {
    frame: ArrayFrame<'a>,
    element: PhantomData<T>,
}

impl<'a, T: Decode<'a>> Seq<'a, T> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frame.count()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i`, counted from 0. Takes the same time wherever it is.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<T> {
        if i >= self.len() {
            return None;
        }
        let element = self.frame.get(i).and_then(T::reread);
        debug_assert!(
            element.is_ok(),
            "an element was accepted once and refused later"
        );
        element.ok()
    }

    /// The elements from first to last.
    #[must_use]
    pub fn iter(&self) -> Iter<'a, T> {
        Iter { seq: *self, at: 0 }
    }
}

impl<'a, T> Seq<'a, T> {
    /// The bytes that the array was read from.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.frame.bytes()
    }
}

// By hand, because a derive would ask the same of `T`.
impl<T> Clone for Seq<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Seq<'_, T> {}
/// Equal bytes: in normal form that is equal elements.
impl<T> PartialEq for Seq<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}
impl<T> Eq for Seq<'_, T> {}
impl<'a, T: Decode<'a> + fmt::Debug> fmt::Debug for Seq<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator over the elements of a [`Seq`].
#[derive(Debug)]
pub struct Iter<'a, T: Decode<'a>> {
    seq: Seq<'a, T>,
    at: usize,
}

impl<'a, T: Decode<'a>> Iterator for Iter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let element = self.seq.get(self.at)?;
        self.at += 1;
        Some(element)
    }

    fn nth(&mut self, n: usize) -> Option<T> {
        self.at = self.at.saturating_add(n).min(self.seq.len());
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.seq.len() - self.at;
        (left, Some(left))
    }
}
impl<'a, T: Decode<'a>> ExactSizeIterator for Iter<'a, T> {}

impl<'a, T: Decode<'a>> IntoIterator for Seq<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
impl<'a, T: Decode<'a>> IntoIterator for &Seq<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Type> Type for Seq<'_, T> {
    const ALIGN: usize = T::ALIGN;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push('a');
        T::sig(s);
    }
}
impl<'a, T: Decode<'a>> Decode<'a> for Seq<'a, T> {
    fn get(b: &'a [u8], depth: u8) -> Result<Self> {
        let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
        let frame = ArrayFrame::new(b, T::ALIGN, T::FIXED)?;
        for i in 0..frame.count() {
            T::get(b.get(frame.check(i)?).ok_or(Error::Offset)?, depth)?;
        }
        Ok(Seq {
            frame,
            element: PhantomData,
        })
    }
}
/// Copies the bytes: they are in normal form, so writing each element again would give the same.
impl<T: Type> Encode for Seq<'_, T> {
    fn put(&self, w: &mut Vec<u8>) {
        w.extend_from_slice(self.as_bytes());
    }
}

impl<T: Type> Type for Vec<T> {
    const ALIGN: usize = T::ALIGN;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push('a');
        T::sig(s);
    }
}
impl<T: Encode> Encode for Vec<T> {
    fn put(&self, w: &mut Vec<u8>) {
        let start = w.len();
        let mut ends = Vec::with_capacity(if T::FIXED.is_none() { self.len() } else { 0 });
        for element in self {
            pad(w, T::ALIGN);
            element.put(w);
            if T::FIXED.is_none() {
                ends.push(w.len() - start);
            }
        }
        put_offsets(w, start, ends.into_iter());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{from_bytes, to_bytes};

    #[test]
    fn fixed_elements_follow_each_other() {
        let bytes = to_bytes(&vec![1_u16, 2, 3]);
        assert_eq!(bytes, [1, 0, 2, 0, 3, 0]);
        let seq: Seq<'_, u16> = from_bytes(&bytes).unwrap();
        assert_eq!(seq.iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((seq.get(2), seq.get(3)), (Some(3), None));
        assert_eq!(from_bytes::<Seq<'_, u16>>(&bytes[..5]), Err(Error::Length));
    }

    #[test]
    fn other_elements_are_followed_by_their_ends() {
        let bytes = to_bytes(&vec!["ab", "", "c"]);
        assert_eq!(bytes, *b"ab\0\0c\0\x03\x04\x06");
        let seq: Seq<'_, &str> = from_bytes(&bytes).unwrap();
        assert_eq!(seq.iter().collect::<Vec<_>>(), ["ab", "", "c"]);
        assert_eq!(seq.iter().nth(2), Some("c"));
        assert_eq!(seq.iter().nth(usize::MAX), None);
        assert_eq!(to_bytes(&seq), bytes);
        assert_eq!(format!("{seq:?}"), r#"["ab", "", "c"]"#);
    }

    #[test]
    fn an_array_of_one_empty_array_is_one_byte() {
        // Two published crates write nothing here; GLib writes the offset.
        let bytes = to_bytes(&vec![Vec::<u32>::new()]);
        assert_eq!(bytes, [0]);
        assert_eq!(
            from_bytes::<Seq<'_, Seq<'_, u32>>>(&bytes).unwrap().len(),
            1
        );
        assert!(from_bytes::<Seq<'_, Seq<'_, u32>>>(&[]).unwrap().is_empty());
    }

    #[test]
    fn offsets_are_as_narrow_as_they_can_be() {
        for (text, width) in [(253, 1), (254, 2), (65_532, 2), (65_533, 4)] {
            let text = "x".repeat(text);
            let bytes = to_bytes(&vec![text.as_str()]);
            assert_eq!(bytes.len(), text.len() + 1 + width);
            assert_eq!(
                from_bytes::<Seq<'_, &str>>(&bytes).unwrap().get(0),
                Some(text.as_str())
            );
        }
        // The same value with a wider offset is not in normal form.
        let mut wide = vec![b'x'; 253];
        wide.extend([0, 254, 0]);
        assert_eq!(from_bytes::<Seq<'_, &str>>(&wide), Err(Error::Offset));
    }

    #[test]
    fn hostile_offsets_are_refused() {
        for bytes in [
            &b"\x01"[..],          // the table would begin behind itself
            b"a\0b\0\x04\x02",     // ends go backwards
            b"a\0b\0\x02\x04\x09", // the last end lies outside
            b"a\0\x02\x00",        // no room for an element's end
        ] {
            assert!(from_bytes::<Seq<'_, &str>>(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn padding_between_elements_is_checked() {
        let mut bytes = to_bytes(&vec![(1_u32, "x"), (2, "y")]);
        assert!(from_bytes::<Seq<'_, (u32, &str)>>(&bytes).is_ok());
        assert_eq!(bytes[6], 0);
        bytes[6] = 1;
        assert_eq!(
            from_bytes::<Seq<'_, (u32, &str)>>(&bytes),
            Err(Error::Padding)
        );
    }
}
