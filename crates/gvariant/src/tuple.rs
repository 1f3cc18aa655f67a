// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tuples of one to eight members, and dictionary entries.

use crate::framing::{TupleFrame, align_up, pad, put_offsets};
use crate::{Decode, Encode, Error, Result, Type};

macro_rules! tuple { ($n:literal: $($t:ident $i:tt),*) => {
    impl<$($t: Type),*> Type for ($($t,)*) {
        const ALIGN: usize = {
            let mut align = 1;
            $( if $t::ALIGN > align { align = $t::ALIGN } )*
            align
        };
        const FIXED: Option<usize> = {
            let mut size = Some(0);
            $( size = match (size, $t::FIXED) {
                (Some(before), Some(own)) => Some(align_up(before, $t::ALIGN) + own),
                _ => None,
            }; )*
            match size {
                Some(size) => Some(align_up(size, Self::ALIGN)),
                None => None,
            }
        };
        fn sig(s: &mut String) {
            s.push('(');
            $( $t::sig(s); )*
            s.push(')');
        }
    }
    impl<$($t: Encode),*> Encode for ($($t,)*) {
        fn put(&self, w: &mut Vec<u8>) {
            let start = w.len();
            let mut ends = [0; $n];
            let mut count = 0;
            $(
                pad(w, $t::ALIGN);
                self.$i.put(w);
                if $t::FIXED.is_none() && $i + 1 < $n {
                    ends[count] = w.len() - start;
                    count += 1;
                }
            )*
            if Self::FIXED.is_some() {
                pad(w, Self::ALIGN);
            } else {
                put_offsets(w, start, ends[..count].iter().rev().copied());
            }
        }
    }
    impl<'a, $($t: Decode<'a>),*> Decode<'a> for ($($t,)*) {
        fn get(b: &'a [u8], depth: u8) -> Result<Self> {
            let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
            if Self::FIXED.is_some_and(|size| size != b.len()) {
                return Err(Error::Length);
            }
            let mut frame = TupleFrame::new(b, framed(&[$($t::FIXED),*]))?;
            let members = ($(
                $t::get(frame.next_bytes($t::ALIGN, $t::FIXED, $i + 1 == $n)?, depth)?,
            )*);
            frame.finish(Self::FIXED.is_some())?;
            Ok(members)
        }
        fn reread(b: &'a [u8]) -> Result<Self> {
            let mut frame = TupleFrame::new(b, framed(&[$($t::FIXED),*]))?;
            Ok(($(
                $t::reread(frame.next_bytes($t::ALIGN, $t::FIXED, $i + 1 == $n)?)?,
            )*))
        }
    }
} }
tuple!(1: A 0);
tuple!(2: A 0, B 1);
tuple!(3: A 0, B 1, C 2);
tuple!(4: A 0, B 1, C 2, D 3);
tuple!(5: A 0, B 1, C 2, D 3, E 4);
tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(7: A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// How many members, given their fixed sizes, have a framing offset: the last one never has.
fn framed(sizes: &[Option<usize>]) -> usize {
    sizes.split_last().map_or(0, |(_, framed)| {
        framed.iter().filter(|f| f.is_none()).count()
    })
}

/// A dictionary entry: laid out as a pair, only its type string differs.
///
/// A dictionary is an array of entries. Neither order nor uniqueness of the keys is part of the
/// format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<K, V>(pub K, pub V);

impl<K: Type, V: Type> Type for Entry<K, V> {
    const ALIGN: usize = <(K, V)>::ALIGN;
    const FIXED: Option<usize> = <(K, V)>::FIXED;
    fn sig(s: &mut String) {
        s.push('{');
        K::sig(s);
        V::sig(s);
        s.push('}');
    }
}
impl<K: Encode, V: Encode> Encode for Entry<K, V> {
    fn put(&self, w: &mut Vec<u8>) {
        (&self.0, &self.1).put(w);
    }
}
impl<'a, K: Decode<'a>, V: Decode<'a>> Decode<'a> for Entry<K, V> {
    fn get(b: &'a [u8], depth: u8) -> Result<Self> {
        <(K, V)>::get(b, depth).map(|(k, v)| Entry(k, v))
    }
    fn reread(b: &'a [u8]) -> Result<Self> {
        <(K, V)>::reread(b).map(|(k, v)| Entry(k, v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Be, Seq, from_bytes, to_bytes, type_string};

    #[test]
    fn fixed_tuples_are_padded_to_their_alignment() {
        assert_eq!(<(u8, u32, u8)>::FIXED, Some(12));
        let bytes = to_bytes(&(1_u8, 2_u32, 3_u8));
        assert_eq!(bytes, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(from_bytes(&bytes), Ok((1_u8, 2_u32, 3_u8)));
        let mut dirty = bytes;
        dirty[11] = 1;
        assert_eq!(from_bytes::<(u8, u32, u8)>(&dirty), Err(Error::Padding));
    }

    #[test]
    fn ends_stand_in_reverse_and_the_last_member_has_none() {
        let bytes = to_bytes(&("ab", 7_u8, "c", "d"));
        assert_eq!(bytes, *b"ab\0\x07c\0d\0\x06\x03");
        assert_eq!(from_bytes(&bytes), Ok(("ab", 7_u8, "c", "d")));
    }

    #[test]
    fn a_zero_length_tuple_with_framed_members_is_refused() {
        // GLib takes an empty file for a dirtree with no files and no directories, and would write
        // that dirtree as one zero byte. Only the latter is accepted.
        type DirTree<'a> = (
            Seq<'a, (&'a str, &'a [u8])>,
            Seq<'a, (&'a str, &'a [u8], &'a [u8])>,
        );
        assert_eq!(from_bytes::<DirTree<'_>>(&[]), Err(Error::Offset));
        let empty: DirTree<'_> = from_bytes(&[0]).unwrap();
        assert!(empty.0.is_empty() && empty.1.is_empty());
        // With a single member there is no offset to miss: this is what GLib writes.
        assert_eq!(to_bytes(&(Vec::<u8>::new(),)), []);
        assert_eq!(from_bytes::<(&[u8],)>(&[]), Ok((&[][..],)));
    }

    #[test]
    fn known_bytes() {
        // OSTree's directory metadata for root:root 0755 without xattrs.
        type DirMeta = (Be<u32>, Be<u32>, Be<u32>, Vec<(Vec<u8>, Vec<u8>)>);
        assert_eq!(type_string::<DirMeta>(), "(uuua(ayay))");
        let bytes = to_bytes::<DirMeta>(&(Be(0), Be(0), Be(0o40755), vec![]));
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 0xed]);
    }

    #[test]
    fn entries_are_pairs_with_braces() {
        let dict = vec![Entry("k", 1_u32), Entry("l", 2)];
        assert_eq!(type_string::<Vec<Entry<&str, u32>>>(), "a{su}");
        let bytes = to_bytes(&dict);
        let read: Seq<'_, Entry<&str, u32>> = from_bytes(&bytes).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), dict);
    }
}
