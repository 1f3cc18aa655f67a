// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers, booleans, strings and byte arrays.

use crate::{Decode, Encode, Error, Result, Type};

macro_rules! number { ($($t:ty, $letter:literal);* $(;)?) => {$(
    impl Type for $t {
        const ALIGN: usize = size_of::<$t>();
        const FIXED: Option<usize> = Some(size_of::<$t>());
        fn sig(s: &mut String) {
            s.push($letter);
        }
    }
    impl Encode for $t {
        fn put(&self, w: &mut Vec<u8>) {
            w.extend_from_slice(&self.to_le_bytes());
        }
    }
    impl<'a> Decode<'a> for $t {
        fn get(b: &'a [u8], _: u8) -> Result<Self> {
            b.try_into().map(<$t>::from_le_bytes).map_err(|_| Error::Length)
        }
    }
)*} }
number!(u8, 'y'; u16, 'q'; u32, 'u'; u64, 't'; i16, 'n'; i32, 'i'; i64, 'x'; f64, 'd');

/// A number stored big endian inside a little-endian container, as OSTree does in its objects so
/// that their checksums are the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Be<T>(pub T);

macro_rules! big_endian { ($($t:ty),*) => {$(
    impl Type for Be<$t> {
        const ALIGN: usize = <$t>::ALIGN;
        const FIXED: Option<usize> = <$t>::FIXED;
        fn sig(s: &mut String) {
            <$t>::sig(s);
        }
    }
    impl Encode for Be<$t> {
        fn put(&self, w: &mut Vec<u8>) {
            w.extend_from_slice(&self.0.to_be_bytes());
        }
    }
    impl<'a> Decode<'a> for Be<$t> {
        fn get(b: &'a [u8], _: u8) -> Result<Self> {
            b.try_into().map(|b| Be(<$t>::from_be_bytes(b))).map_err(|_| Error::Length)
        }
    }
)*} }
big_endian!(u16, u32, u64);

impl Type for bool {
    const ALIGN: usize = 1;
    const FIXED: Option<usize> = Some(1);
    fn sig(s: &mut String) {
        s.push('b');
    }
}
impl Encode for bool {
    fn put(&self, w: &mut Vec<u8>) {
        w.push(u8::from(*self));
    }
}
impl<'a> Decode<'a> for bool {
    fn get(b: &'a [u8], _: u8) -> Result<Self> {
        match b {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(Error::Bool),
            _ => Err(Error::Length),
        }
    }
}

impl Type for str {
    const ALIGN: usize = 1;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push('s');
    }
}
/// A GVariant string cannot hold a zero byte: one in the string ends it there, as in C, so that
/// whatever is written can be read back.
impl Encode for str {
    fn put(&self, w: &mut Vec<u8>) {
        let text = self.split('\0').next().unwrap_or_default();
        w.extend_from_slice(text.as_bytes());
        w.push(0);
    }
}
impl<'a> Decode<'a> for &'a str {
    fn get(b: &'a [u8], _: u8) -> Result<Self> {
        let Some((0, text)) = b.split_last() else {
            return Err(Error::Nul);
        };
        if text.contains(&0) {
            return Err(Error::Nul);
        }
        std::str::from_utf8(text).map_err(|_| Error::Utf8)
    }
}

impl Type for String {
    const ALIGN: usize = 1;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        str::sig(s);
    }
}
impl Encode for String {
    fn put(&self, w: &mut Vec<u8>) {
        self.as_str().put(w);
    }
}

impl Type for [u8] {
    const ALIGN: usize = 1;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push_str("ay");
    }
}
impl Encode for [u8] {
    fn put(&self, w: &mut Vec<u8>) {
        w.extend_from_slice(self);
    }
}
impl<'a> Decode<'a> for &'a [u8] {
    fn get(b: &'a [u8], _: u8) -> Result<Self> {
        Ok(b)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Be, Error, from_bytes, to_bytes};

    #[test]
    fn numbers_are_little_endian_unless_wrapped() {
        assert_eq!(to_bytes(&0x0102_0304_u32), [4, 3, 2, 1]);
        assert_eq!(to_bytes(&Be(0x0102_0304_u32)), [1, 2, 3, 4]);
        assert_eq!(from_bytes::<i16>(&[0xfe, 0xff]), Ok(-2));
        assert_eq!(
            from_bytes::<Be<u64>>(&[0, 0, 0, 0, 0, 0, 1, 0]),
            Ok(Be(256))
        );
        assert_eq!(from_bytes::<u32>(&[0; 3]), Err(Error::Length));
        assert_eq!(from_bytes::<f64>(&to_bytes(&1.5_f64)), Ok(1.5));
    }

    #[test]
    fn booleans_have_two_values() {
        assert_eq!(from_bytes::<bool>(&[1]), Ok(true));
        assert_eq!(from_bytes::<bool>(&[2]), Err(Error::Bool));
        assert_eq!(from_bytes::<bool>(&[]), Err(Error::Length));
    }

    #[test]
    fn strings_end_with_their_only_zero_byte() {
        assert_eq!(to_bytes("hé"), [b'h', 0xc3, 0xa9, 0]);
        assert_eq!(to_bytes(&String::from("x")), *b"x\0");
        assert_eq!(to_bytes("x\0y"), *b"x\0");
        assert_eq!(from_bytes::<&str>(b"x\0"), Ok("x"));
        assert_eq!(from_bytes::<&str>(b""), Err(Error::Nul));
        assert_eq!(from_bytes::<&str>(b"x"), Err(Error::Nul));
        assert_eq!(from_bytes::<&str>(b"x\0\0"), Err(Error::Nul));
        assert_eq!(from_bytes::<&str>(b"\xff\0"), Err(Error::Utf8));
    }
}
