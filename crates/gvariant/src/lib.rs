// SPDX-License-Identifier: MIT OR Apache-2.0
//! Throwaway prototype: strict GVariant (normal form only), little-endian, no unsafe.
use std::marker::PhantomData;
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Error {
    Length,
    Offset,
    Padding,
    Utf8,
    Nul,
    Bool,
    Signature,
    Depth,
    TypeMismatch,
}
impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
impl std::error::Error for Error {}
pub type Result<T> = std::result::Result<T, Error>;

pub trait Type {
    const ALIGN: usize;
    const FIXED: Option<usize>;
    fn sig(s: &mut String);
}
pub trait Encode: Type {
    fn put(&self, w: &mut Vec<u8>);
}
pub trait Decode<'a>: Type + Sized {
    fn get(b: &'a [u8], depth: u8) -> Result<Self>;
}

pub fn to_bytes<T: Encode + ?Sized>(v: &T) -> Vec<u8> {
    let mut w = Vec::new();
    v.put(&mut w);
    w
}
pub fn from_bytes<'a, T: Decode<'a>>(b: &'a [u8]) -> Result<T> {
    T::get(b, 64)
}

const fn up(n: usize, a: usize) -> usize {
    n.next_multiple_of(a)
}
fn pad(w: &mut Vec<u8>, a: usize) {
    w.resize(up(w.len(), a), 0);
}
fn zeros(b: &[u8]) -> Result<()> {
    if b.iter().all(|x| *x == 0) {
        Ok(())
    } else {
        Err(Error::Padding)
    }
}
/// Width of the framing offsets of a container of `size` bytes, offsets included.
fn width(size: usize) -> usize {
    match size {
        0 => 0,
        1..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}
/// Width for a body of `body` bytes that gets `n` offsets.
fn width_for(body: usize, n: usize) -> usize {
    [1usize, 2, 4, 8]
        .into_iter()
        .find(|w| width(body + n * w) <= *w)
        .unwrap()
}
fn read(b: &[u8], at: usize, w: usize) -> Result<usize> {
    let s = b.get(at..at + w).ok_or(Error::Offset)?;
    let mut a = [0; 8];
    a[..w].copy_from_slice(s);
    usize::try_from(u64::from_le_bytes(a)).map_err(|_| Error::Offset)
}
fn put_offsets(w: &mut Vec<u8>, start: usize, ends: impl ExactSizeIterator<Item = usize>) {
    let n = ends.len();
    if n == 0 {
        return;
    }
    let k = width_for(w.len() - start, n);
    for e in ends {
        w.extend_from_slice(&(e as u64).to_le_bytes()[..k]);
    }
}
macro_rules! num { ($($t:ty, $c:literal);*) => {$(
    impl Type for $t { const ALIGN: usize = size_of::<$t>(); const FIXED: Option<usize> = Some(size_of::<$t>()); fn sig(s: &mut String) { s.push($c) } }
    impl Encode for $t { fn put(&self, w: &mut Vec<u8>) { w.extend_from_slice(&self.to_le_bytes()) } }
    impl<'a> Decode<'a> for $t { fn get(b: &'a [u8], _: u8) -> Result<Self> { Ok(<$t>::from_le_bytes(b.try_into().map_err(|_| Error::Length)?)) } }
)*} }
num!(u8, 'y'; u16, 'q'; u32, 'u'; u64, 't'; i16, 'n'; i32, 'i'; i64, 'x'; f64, 'd');
/// A number that OSTree stores big-endian inside a little-endian container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Be<T>(pub T);
macro_rules! be { ($($t:ty),*) => {$(
    impl Type for Be<$t> { const ALIGN: usize = <$t>::ALIGN; const FIXED: Option<usize> = <$t>::FIXED; fn sig(s: &mut String) { <$t>::sig(s) } }
    impl Encode for Be<$t> { fn put(&self, w: &mut Vec<u8>) { w.extend_from_slice(&self.0.to_be_bytes()) } }
    impl<'a> Decode<'a> for Be<$t> { fn get(b: &'a [u8], _: u8) -> Result<Self> { Ok(Be(<$t>::from_be_bytes(b.try_into().map_err(|_| Error::Length)?))) } }
)*} }
be!(u32, u64);
impl Type for bool {
    const ALIGN: usize = 1;
    const FIXED: Option<usize> = Some(1);
    fn sig(s: &mut String) {
        s.push('b')
    }
}
impl Encode for bool {
    fn put(&self, w: &mut Vec<u8>) {
        w.push(*self as u8)
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
impl Type for &str {
    const ALIGN: usize = 1;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push('s')
    }
}
impl Encode for &str {
    fn put(&self, w: &mut Vec<u8>) {
        w.extend_from_slice(self.as_bytes());
        w.push(0)
    }
}
impl<'a> Decode<'a> for &'a str {
    fn get(b: &'a [u8], _: u8) -> Result<Self> {
        let (0, s) = b.split_last().map(|(l, s)| (*l, s)).ok_or(Error::Nul)? else {
            return Err(Error::Nul);
        };
        if s.contains(&0) {
            return Err(Error::Nul);
        }
        std::str::from_utf8(s).map_err(|_| Error::Utf8)
    }
}
impl Type for &[u8] {
    const ALIGN: usize = 1;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push_str("ay")
    }
}
impl Encode for &[u8] {
    fn put(&self, w: &mut Vec<u8>) {
        w.extend_from_slice(self)
    }
}
impl<'a> Decode<'a> for &'a [u8] {
    fn get(b: &'a [u8], _: u8) -> Result<Self> {
        Ok(b)
    }
}

/// A checked, lazily read array.
#[derive(Debug, Clone, Copy)]
pub struct Seq<'a, T> {
    b: &'a [u8],
    n: usize,
    w: usize,
    p: PhantomData<T>,
}
impl<'a, T: Decode<'a>> Seq<'a, T> {
    pub fn len(&self) -> usize {
        self.n
    }
    fn span(&self, i: usize) -> Result<&'a [u8]> {
        if let Some(f) = T::FIXED {
            return self.b.get(i * f..(i + 1) * f).ok_or(Error::Length);
        }
        let t = self.b.len() - self.n * self.w;
        let s = if i == 0 {
            0
        } else {
            up(read(self.b, t + (i - 1) * self.w, self.w)?, T::ALIGN)
        };
        let e = read(self.b, t + i * self.w, self.w)?;
        if e > t {
            return Err(Error::Offset);
        }
        self.b.get(s..e).ok_or(Error::Offset)
    }
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_ {
        (0..self.n).map(|i| T::get(self.span(i).unwrap(), 64).unwrap())
    }
}
fn array_shape(b: &[u8], fixed: Option<usize>) -> Result<(usize, usize)> {
    if b.is_empty() {
        return Ok((0, 0));
    }
    if let Some(f) = fixed {
        return if b.len() % f == 0 {
            Ok((b.len() / f, 0))
        } else {
            Err(Error::Length)
        };
    }
    let w = width(b.len());
    let t = read(b, b.len().checked_sub(w).ok_or(Error::Offset)?, w)?;
    let o = b.len().checked_sub(t).ok_or(Error::Offset)?;
    if o == 0 || o % w != 0 {
        return Err(Error::Offset);
    }
    let n = o / w;
    if width_for(t, n) != w {
        return Err(Error::Offset);
    }
    Ok((n, w))
}
impl<T: Type> Type for Seq<'_, T> {
    const ALIGN: usize = T::ALIGN;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push('a');
        T::sig(s)
    }
}
impl<'a, T: Decode<'a>> Decode<'a> for Seq<'a, T> {
    fn get(b: &'a [u8], d: u8) -> Result<Self> {
        let d = d.checked_sub(1).ok_or(Error::Depth)?;
        let (n, w) = array_shape(b, T::FIXED)?;
        let q = Seq {
            b,
            n,
            w,
            p: PhantomData,
        };
        let t = b.len() - n * w;
        let mut prev = 0;
        for i in 0..n {
            let s = q.span(i)?;
            T::get(s, d)?;
            if T::FIXED.is_none() {
                let e = read(b, t + i * w, w)?;
                zeros(b.get(prev..e - s.len()).ok_or(Error::Offset)?)?;
                prev = e;
            }
        }
        Ok(q)
    }
}
impl<T: Type> Type for Vec<T> {
    const ALIGN: usize = T::ALIGN;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push('a');
        T::sig(s)
    }
}
impl<T: Encode> Encode for Vec<T> {
    fn put(&self, w: &mut Vec<u8>) {
        let start = w.len();
        let mut ends = Vec::new();
        for v in self {
            pad(w, T::ALIGN);
            v.put(w);
            if T::FIXED.is_none() {
                ends.push(w.len() - start)
            }
        }
        put_offsets(w, start, ends.into_iter())
    }
}
impl<'a, T: Encode + Decode<'a>> Encode for Seq<'a, T> {
    fn put(&self, w: &mut Vec<u8>) {
        self.iter().collect::<Vec<T>>().put(w)
    }
}

macro_rules! tuple { ($n:literal: $($t:ident $i:tt),*) => {
    impl<$($t: Type),*> Type for ($($t,)*) {
        const ALIGN: usize = { let mut a = 1; $( if $t::ALIGN > a { a = $t::ALIGN } )* a };
        const FIXED: Option<usize> = { let mut n = Some(0); $( n = match (n, $t::FIXED) { (Some(n), Some(f)) => Some(up(n, $t::ALIGN) + f), _ => None }; )* match n { Some(n) => Some(up(n, Self::ALIGN)), None => None } };
        fn sig(s: &mut String) { s.push('('); $($t::sig(s);)* s.push(')') }
    }
    impl<$($t: Encode),*> Encode for ($($t,)*) { fn put(&self, w: &mut Vec<u8>) {
        let start = w.len(); let mut ends = [0; $n]; let mut k = 0;
        $( pad(w, $t::ALIGN); self.$i.put(w); if $t::FIXED.is_none() && $i + 1 < $n { ends[k] = w.len() - start; k += 1 } )*
        if Self::FIXED.is_some() { pad(w, Self::ALIGN) } else { put_offsets(w, start, ends[..k].iter().rev().copied()) } } }
    impl<'a, $($t: Decode<'a>),*> Decode<'a> for ($($t,)*) { fn get(b: &'a [u8], d: u8) -> Result<Self> {
        let d = d.checked_sub(1).ok_or(Error::Depth)?;
        if let Some(f) = Self::FIXED && f != b.len() { return Err(Error::Length) }
        let mut c = Frame::new(b, [$($t::FIXED.is_none()),*].iter().take($n - 1).filter(|x| **x).count())?;
        let r = ($( $t::get(c.next($t::ALIGN, $t::FIXED, $i + 1 == $n)?, d)?, )*);
        c.finish(Self::FIXED.is_some())?; Ok(r) } }
} }
/// Walks the members of a structure.
struct Frame<'a> {
    b: &'a [u8],
    at: usize,
    w: usize,
    end: usize,
    left: usize,
}
impl<'a> Frame<'a> {
    fn new(b: &'a [u8], n: usize) -> Result<Self> {
        let w = width(b.len());
        let end = b.len().checked_sub(n * w).ok_or(Error::Offset)?;
        if n > 0 && (b.is_empty() || width_for(end, n) != w) {
            return Err(Error::Offset);
        }
        Ok(Frame {
            b,
            at: 0,
            w,
            end,
            left: b.len(),
        })
    }
    fn next(&mut self, align: usize, fixed: Option<usize>, last: bool) -> Result<&'a [u8]> {
        let s = up(self.at, align);
        zeros(self.b.get(self.at..s.min(self.end)).ok_or(Error::Offset)?)?;
        let e = match fixed {
            Some(f) => s.checked_add(f).ok_or(Error::Length)?,
            None if last => self.end,
            None => {
                self.left -= self.w;
                read(self.b, self.left, self.w)?
            }
        };
        if e > self.end {
            return Err(Error::Offset);
        }
        self.at = e;
        self.b.get(s..e).ok_or(Error::Offset)
    }
    fn finish(self, fixed: bool) -> Result<()> {
        if fixed {
            zeros(&self.b[self.at..self.end])
        } else if self.at == self.end {
            Ok(())
        } else {
            Err(Error::Length)
        }
    }
}
tuple!(2: A 0, B 1);
tuple!(3: A 0, B 1, C 2);
tuple!(4: A 0, B 1, C 2, D 3);
tuple!(5: A 0, B 1, C 2, D 3, E 4);
tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(7: A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// A dictionary entry is laid out as a pair; only its signature differs.
#[derive(Debug, Clone, Copy)]
pub struct Entry<K, V>(pub K, pub V);
impl<K: Type, V: Type> Type for Entry<K, V> {
    const ALIGN: usize = <(K, V)>::ALIGN;
    const FIXED: Option<usize> = <(K, V)>::FIXED;
    fn sig(s: &mut String) {
        s.push('{');
        K::sig(s);
        V::sig(s);
        s.push('}')
    }
}
impl<K: Encode + Copy, V: Encode + Copy> Encode for Entry<K, V> {
    fn put(&self, w: &mut Vec<u8>) {
        (self.0, self.1).put(w)
    }
}
impl<'a, K: Decode<'a>, V: Decode<'a>> Decode<'a> for Entry<K, V> {
    fn get(b: &'a [u8], d: u8) -> Result<Self> {
        <(K, V)>::get(b, d).map(|(k, v)| Entry(k, v))
    }
}

/// A checked value with its own signature.
#[derive(Debug, Clone, Copy)]
pub struct Variant<'a> {
    pub sig: &'a str,
    pub data: &'a [u8],
}
impl Type for Variant<'_> {
    const ALIGN: usize = 8;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        s.push('v')
    }
}
impl Encode for Variant<'_> {
    fn put(&self, w: &mut Vec<u8>) {
        w.extend_from_slice(self.data);
        w.push(0);
        w.extend_from_slice(self.sig.as_bytes())
    }
}
impl<'a> Decode<'a> for Variant<'a> {
    fn get(b: &'a [u8], d: u8) -> Result<Self> {
        let d = d.checked_sub(1).ok_or(Error::Depth)?;
        let z = b.iter().rposition(|x| *x == 0).ok_or(Error::Signature)?;
        let sig = std::str::from_utf8(&b[z + 1..]).map_err(|_| Error::Signature)?;
        let data = &b[..z];
        let (ty, rest) = Dyn::parse(sig.as_bytes(), 64)?;
        if !rest.is_empty() {
            return Err(Error::Signature);
        }
        ty.check(data, d)?;
        Ok(Variant { sig, data })
    }
}
impl<'a> Variant<'a> {
    pub fn as_<T: Decode<'a>>(&self) -> Result<T> {
        let mut s = String::new();
        T::sig(&mut s);
        if s == self.sig {
            from_bytes(self.data)
        } else {
            Err(Error::TypeMismatch)
        }
    }
}

/// A type known only at run time: what a variant may hold.
pub enum Dyn {
    Num(usize),
    Bool,
    Str(u8),
    Variant,
    Maybe(Box<Dyn>),
    Array(Box<Dyn>),
    Tuple(Vec<Dyn>),
}
impl Dyn {
    pub fn parse(s: &[u8], d: u8) -> Result<(Dyn, &[u8])> {
        let d = d.checked_sub(1).ok_or(Error::Depth)?;
        let (c, mut r) = s.split_first().ok_or(Error::Signature)?;
        Ok((
            match c {
                b'y' => Dyn::Num(1),
                b'n' | b'q' => Dyn::Num(2),
                b'i' | b'u' | b'h' => Dyn::Num(4),
                b'x' | b't' | b'd' => Dyn::Num(8),
                b'b' => Dyn::Bool,
                b's' | b'o' | b'g' => Dyn::Str(*c),
                b'v' => Dyn::Variant,
                b'a' => {
                    let (t, q) = Dyn::parse(r, d)?;
                    r = q;
                    Dyn::Array(t.into())
                }
                b'm' => {
                    let (t, q) = Dyn::parse(r, d)?;
                    r = q;
                    Dyn::Maybe(t.into())
                }
                b'(' => {
                    let mut v = vec![];
                    while r.first() != Some(&b')') {
                        let (t, q) = Dyn::parse(r, d)?;
                        r = q;
                        v.push(t)
                    }
                    r = &r[1..];
                    Dyn::Tuple(v)
                }
                b'{' => {
                    let (k, q) = Dyn::parse(r, d)?;
                    if !matches!(k, Dyn::Num(_) | Dyn::Bool | Dyn::Str(_)) {
                        return Err(Error::Signature);
                    }
                    let (v, q) = Dyn::parse(q, d)?;
                    r = q.strip_prefix(b"}").ok_or(Error::Signature)?;
                    Dyn::Tuple(vec![k, v])
                }
                _ => return Err(Error::Signature),
            },
            r,
        ))
    }
    fn align(&self) -> usize {
        match self {
            Dyn::Num(n) => *n,
            Dyn::Bool | Dyn::Str(_) => 1,
            Dyn::Variant => 8,
            Dyn::Maybe(t) | Dyn::Array(t) => t.align(),
            Dyn::Tuple(v) => v.iter().map(Dyn::align).max().unwrap_or(1),
        }
    }
    fn fixed(&self) -> Option<usize> {
        match self {
            Dyn::Num(n) => Some(*n),
            Dyn::Bool => Some(1),
            Dyn::Tuple(v) if v.is_empty() => Some(1),
            Dyn::Tuple(v) => {
                let mut n = 0;
                for t in v {
                    n = up(n, t.align()) + t.fixed()?;
                }
                Some(up(n, self.align()))
            }
            _ => None,
        }
    }
    pub fn check(&self, b: &[u8], d: u8) -> Result<()> {
        let d = d.checked_sub(1).ok_or(Error::Depth)?;
        match self {
            Dyn::Num(n) => {
                if b.len() == *n {
                    Ok(())
                } else {
                    Err(Error::Length)
                }
            }
            Dyn::Bool => bool::get(b, d).map(drop),
            Dyn::Str(c) => {
                let s = <&str>::get(b, d)?;
                match c {
                    b'o' => {
                        if path(s) {
                            Ok(())
                        } else {
                            Err(Error::Signature)
                        }
                    }
                    b'g' => {
                        let mut r = s.as_bytes();
                        if r.len() > 255 {
                            return Err(Error::Signature);
                        }
                        while !r.is_empty() {
                            r = Dyn::parse(r, 64)?.1
                        }
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            Dyn::Variant => Variant::get(b, d).map(drop),
            Dyn::Maybe(t) => {
                if b.is_empty() {
                    Ok(())
                } else if t.fixed().is_some() {
                    t.check(b, d)
                } else {
                    match b.split_last() {
                        Some((0, s)) => t.check(s, d),
                        _ => Err(Error::Padding),
                    }
                }
            }
            Dyn::Array(t) => {
                let (n, w) = array_shape(b, t.fixed())?;
                let tab = b.len() - n * w;
                let mut at = 0;
                if let Some(f) = t.fixed() {
                    return if matches!(**t, Dyn::Num(_)) {
                        Ok(())
                    } else {
                        b.chunks(f).try_for_each(|c| t.check(c, d))
                    };
                }
                for i in 0..n {
                    let s = up(at, t.align());
                    let e = read(b, tab + i * w, w)?;
                    if e > tab {
                        return Err(Error::Offset);
                    }
                    zeros(b.get(at..s).ok_or(Error::Offset)?)?;
                    t.check(b.get(s..e).ok_or(Error::Offset)?, d)?;
                    at = e
                }
                Ok(())
            }
            Dyn::Tuple(v) => {
                if v.is_empty() {
                    return if b == [0] { Ok(()) } else { Err(Error::Length) };
                }
                let fx = self.fixed();
                if fx.is_some_and(|f| f != b.len()) {
                    return Err(Error::Length);
                }
                let n = v[..v.len() - 1]
                    .iter()
                    .filter(|t| t.fixed().is_none())
                    .count();
                let mut c = Frame::new(b, n)?;
                for (i, t) in v.iter().enumerate() {
                    t.check(c.next(t.align(), t.fixed(), i + 1 == v.len())?, d)?
                }
                c.finish(fx.is_some())
            }
        }
    }
}
fn path(s: &str) -> bool {
    s == "/"
        || (s.starts_with('/')
            && s[1..].split('/').all(|p| {
                !p.is_empty() && p.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
            }))
}

pub type Dict<'a> = Seq<'a, Entry<&'a str, Variant<'a>>>;
pub type Xattrs<'a> = Seq<'a, (&'a [u8], &'a [u8])>;
pub type Commit<'a> = (
    Dict<'a>,
    &'a [u8],
    Seq<'a, (&'a str, &'a [u8])>,
    &'a str,
    &'a str,
    Be<u64>,
    &'a [u8],
    &'a [u8],
);
pub type DirTree<'a> = (
    Seq<'a, (&'a str, &'a [u8])>,
    Seq<'a, (&'a str, &'a [u8], &'a [u8])>,
);
pub type DirMeta<'a> = (Be<u32>, Be<u32>, Be<u32>, Xattrs<'a>);
pub type FileHeader<'a> = (Be<u32>, Be<u32>, Be<u32>, Be<u32>, &'a str, Xattrs<'a>);
pub type ZFileHeader<'a> = (
    Be<u64>,
    Be<u32>,
    Be<u32>,
    Be<u32>,
    Be<u32>,
    &'a str,
    Xattrs<'a>,
);
pub type Summary<'a> = (Seq<'a, (&'a str, (Be<u64>, &'a [u8], Dict<'a>))>, Dict<'a>);
pub type Superblock<'a> = (
    Dict<'a>,
    Be<u64>,
    &'a [u8],
    &'a [u8],
    Commit<'a>,
    &'a [u8],
    Seq<'a, (u32, &'a [u8], u64, u64, &'a [u8])>,
    Seq<'a, (u8, &'a [u8], u64, u64)>,
);
pub type Part<'a> = (
    Seq<'a, (Be<u32>, Be<u32>, Be<u32>)>,
    Seq<'a, Xattrs<'a>>,
    &'a [u8],
    &'a [u8],
);
