// SPDX-License-Identifier: MIT OR Apache-2.0
//! Variants: values that carry their own type.

use crate::dynamic::{DynType, split_variant};
use crate::{
    Decode, Encode, Entry, Error, MAX_DEPTH, Result, Seq, Type, from_bytes, to_bytes, type_string,
};

/// A value with its type string, borrowed.
///
/// Those that are read, or made with [`Variant::new`], were checked. The fields are public for
/// callers that know what they hold; bytes put together by hand are written as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant<'a> {
    /// Type string of the value, one complete type.
    pub sig: &'a str,
    /// The value's bytes.
    pub data: &'a [u8],
}

/// A dictionary from strings to variants, `a{sv}`: what OSTree calls metadata.
pub type Dict<'a> = Seq<'a, Entry<&'a str, Variant<'a>>>;

impl<'a> Variant<'a> {
    /// Checks that `data` is a value of the type `sig` in normal form.
    ///
    /// # Errors
    /// When it is not, or `sig` is not one complete type.
    pub fn new(sig: &'a str, data: &'a [u8]) -> Result<Self> {
        DynType::parse(sig)?.check(data, MAX_DEPTH)?;
        Ok(Variant { sig, data })
    }

    /// Whether the value has the type `T`.
    #[must_use]
    pub fn is<T: Type + ?Sized>(&self) -> bool {
        self.sig == type_string::<T>()
    }

    /// The value, if it has the type `T`.
    ///
    /// # Errors
    /// [`Error::TypeMismatch`] when it has another; what [`from_bytes`] says when the variant was
    /// put together by hand and wrong.
    pub fn as_<T: Decode<'a>>(&self) -> Result<T> {
        if self.is::<T>() {
            from_bytes(self.data)
        } else {
            Err(Error::TypeMismatch)
        }
    }

    /// A copy of its own.
    #[must_use]
    pub fn to_owned(&self) -> OwnedVariant {
        OwnedVariant {
            sig: self.sig.to_owned(),
            data: self.data.to_vec(),
        }
    }

    /// The value with the bytes of each number in the opposite order, also inside of variants that
    /// it holds. Framing offsets stay: they are little endian everywhere.
    ///
    /// Static deltas can be in either byte order, and `ostree show --raw` prints objects, whose own
    /// numbers are big endian, this way.
    ///
    /// # Errors
    /// When the variant was put together by hand and wrong.
    pub fn byteswapped(&self) -> Result<OwnedVariant> {
        let mut data = self.data.to_vec();
        DynType::parse(self.sig)?.swap(self.data, &mut data, MAX_DEPTH)?;
        Ok(OwnedVariant {
            sig: self.sig.to_owned(),
            data,
        })
    }
}

impl Type for Variant<'_> {
    const ALIGN: usize = 8;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push('v');
    }
}
impl Encode for Variant<'_> {
    fn put(&self, w: &mut Vec<u8>) {
        w.extend_from_slice(self.data);
        w.push(0);
        w.extend_from_slice(self.sig.as_bytes());
    }
}
impl<'a> Decode<'a> for Variant<'a> {
    fn get(b: &'a [u8], depth: u8) -> Result<Self> {
        let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
        let (sig, data) = split_variant(b)?;
        DynType::parse(sig)?.check(data, depth)?;
        Ok(Variant { sig, data })
    }
    fn reread(b: &'a [u8]) -> Result<Self> {
        split_variant(b).map(|(sig, data)| Variant { sig, data })
    }
}

/// A value with its type string, owned: what dictionaries are built from.
///
/// ```
/// use oxtree_gvariant::{Dict, Entry, OwnedVariant, from_bytes, to_bytes};
///
/// let metadata = vec![
///     Entry("version", OwnedVariant::of("1")),
///     Entry("ostree.ref-binding", OwnedVariant::of(&vec!["main"])),
/// ];
/// let bytes = to_bytes(&metadata);
/// let read: Dict<'_> = from_bytes(&bytes)?;
/// assert_eq!(read.lookup("version").unwrap().as_::<&str>()?, "1");
/// # Ok::<(), oxtree_gvariant::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedVariant {
    /// Type string of the value, one complete type.
    pub sig: String,
    /// The value's bytes.
    pub data: Vec<u8>,
}

impl OwnedVariant {
    /// A variant that holds `value`.
    #[must_use]
    pub fn of<T: Encode + ?Sized>(value: &T) -> Self {
        OwnedVariant {
            sig: type_string::<T>(),
            data: to_bytes(value),
        }
    }

    /// The same, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> Variant<'_> {
        Variant {
            sig: &self.sig,
            data: &self.data,
        }
    }
}

impl From<Variant<'_>> for OwnedVariant {
    fn from(v: Variant<'_>) -> Self {
        v.to_owned()
    }
}

impl Type for OwnedVariant {
    const ALIGN: usize = Variant::ALIGN;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        <Variant<'_>>::sig(s);
    }
}
impl Encode for OwnedVariant {
    fn put(&self, w: &mut Vec<u8>) {
        self.as_ref().put(w);
    }
}

impl<'a, V: Decode<'a>> Seq<'a, Entry<&'a str, V>> {
    /// The value of the first entry with this key. Goes through all entries: the format does not
    /// order them.
    #[must_use]
    pub fn lookup(&self, key: &str) -> Option<V> {
        self.iter().find(|e| e.0 == key).map(|e| e.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_ends_with_its_type() {
        let v = OwnedVariant::of(&5_u32);
        assert_eq!(to_bytes(&v), [5, 0, 0, 0, 0, b'u']);
        let bytes = to_bytes(&v);
        let read: Variant<'_> = from_bytes(&bytes).unwrap();
        assert_eq!(read, v.as_ref());
        assert_eq!(read.as_::<u32>(), Ok(5));
        assert_eq!(read.as_::<i32>(), Err(Error::TypeMismatch));
        assert!(read.is::<u32>() && !read.is::<str>());
    }

    #[test]
    fn bad_variants_are_refused() {
        for bytes in [
            &b""[..],
            b"u",
            b"\0",
            b"\0uu",
            b"\x05\0u",
            b"\x02\0b",
            b"\0a",
            b"\0\xff",
        ] {
            assert!(from_bytes::<Variant<'_>>(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(Variant::new("s", b"x"), Err(Error::Nul));
        assert_eq!(Variant::new("o", b"x\0"), Err(Error::ObjectPath));
    }

    #[test]
    fn lookup_takes_the_first() {
        let dict = vec![
            Entry("a", OwnedVariant::of(&1_u8)),
            Entry("a", OwnedVariant::of(&2_u8)),
        ];
        let bytes = to_bytes(&dict);
        let read: Dict<'_> = from_bytes(&bytes).unwrap();
        assert_eq!(read.lookup("a").map(|v| v.as_::<u8>()), Some(Ok(1)));
        assert_eq!(read.lookup("b"), None);
    }

    #[test]
    fn byteswap_turns_numbers_and_nothing_else() {
        let dict = vec![
            Entry("a", OwnedVariant::of(&0x0102_u16)),
            Entry("b", OwnedVariant::of("xy")),
        ];
        let value = OwnedVariant::of(&(dict, 0x0102_0304_u32, vec![0x0506_i16], &b"\x07\x08"[..]));
        let swapped = value.as_ref().byteswapped().unwrap();
        let dict = vec![
            Entry("a", OwnedVariant::of(&0x0201_u16)),
            Entry("b", OwnedVariant::of("xy")),
        ];
        let expected =
            OwnedVariant::of(&(dict, 0x0403_0201_u32, vec![0x0605_i16], &b"\x07\x08"[..]));
        assert_eq!(swapped, expected);
        assert_eq!(swapped.as_ref().byteswapped().unwrap(), value);
    }
}
