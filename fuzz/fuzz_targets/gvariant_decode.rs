// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as values of OSTree's types, and of any type: the readers that know the type at compile
//! time and at run time agree, and what they accept is written again as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_gvariant::{
    Be, Decode, Dict, Encode, Entry, Seq, Type, Variant, from_bytes, text, to_bytes, type_string,
};

type Xattrs<'a> = Seq<'a, (&'a [u8], &'a [u8])>;
type Related<'a> = Seq<'a, (&'a str, &'a [u8])>;
type Commit<'a> = (
    Dict<'a>,
    &'a [u8],
    Related<'a>,
    &'a str,
    &'a str,
    Be<u64>,
    &'a [u8],
    &'a [u8],
);
type DirTree<'a> = (
    Seq<'a, (&'a str, &'a [u8])>,
    Seq<'a, (&'a str, &'a [u8], &'a [u8])>,
);
type DirMeta<'a> = (Be<u32>, Be<u32>, Be<u32>, Xattrs<'a>);
type Header<'a> = (Be<u32>, Be<u32>, Be<u32>, Be<u32>, &'a str, Xattrs<'a>);
type ZHeader<'a> = (
    Be<u64>,
    Be<u32>,
    Be<u32>,
    Be<u32>,
    Be<u32>,
    &'a str,
    Xattrs<'a>,
);
type Summary<'a> = (Seq<'a, (&'a str, (u64, &'a [u8], Dict<'a>))>, Dict<'a>);
type Parts<'a> = Seq<'a, (u32, &'a [u8], u64, u64, &'a [u8])>;
type Fallbacks<'a> = Seq<'a, (u8, &'a [u8], u64, u64)>;
type Superblock<'a> = (
    Dict<'a>,
    Be<u64>,
    &'a [u8],
    &'a [u8],
    Commit<'a>,
    &'a [u8],
    Parts<'a>,
    Fallbacks<'a>,
);
type Part<'a> = (
    Seq<'a, (u32, u32, u32)>,
    Seq<'a, Xattrs<'a>>,
    &'a [u8],
    &'a [u8],
);

/// Writes an array anew, element by element; a `Seq` itself would only copy its bytes.
fn anew<'a, T: Decode<'a>>(seq: Seq<'a, T>) -> Vec<T> {
    let elements: Vec<T> = seq.iter().collect();
    assert_eq!(
        elements.len(),
        seq.len(),
        "an element was refused after the check"
    );
    elements
}

fn dict(dict: Dict<'_>) -> Vec<Entry<&str, Variant<'_>>> {
    anew(dict)
}

fn commit<'a>(c: Commit<'a>) -> impl Encode + 'a {
    (dict(c.0), c.1, anew(c.2), c.3, c.4, c.5, c.6, c.7)
}

fn check<'a, T: Decode<'a>, E: Encode>(data: &'a [u8], rebuild: impl Fn(T) -> E) {
    let sig = type_string::<T>();
    let value = Variant::new(&sig, data);
    match from_bytes::<T>(data) {
        Ok(read) => {
            assert!(value.is_ok(), "the run-time reader refuses it: {value:?}");
            assert_eq!(to_bytes(&rebuild(read)), data);
        }
        Err(_) => assert!(value.is_err(), "the run-time reader accepts it"),
    }
}

fn any_type(sig: &str, data: &[u8]) {
    let Ok(value) = Variant::new(sig, data) else {
        return;
    };
    let swapped = value.byteswapped().unwrap();
    assert_eq!(swapped.as_ref().byteswapped().unwrap().as_ref(), value);
    let printed = text::print(value, true).unwrap();
    text::print(value, false).unwrap();
    if !printed.contains("nan") {
        assert_eq!(
            text::parse(&printed).expect(&printed).as_ref(),
            value,
            "{printed}"
        );
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((which, data)) = input.split_first() else {
        return;
    };
    match which {
        b'c' => check::<Commit<'_>, _>(data, commit),
        b't' => check::<DirTree<'_>, _>(data, |(files, dirs)| (anew(files), anew(dirs))),
        b'm' => check::<DirMeta<'_>, _>(data, |m| (m.0, m.1, m.2, anew(m.3))),
        b'h' => check::<Header<'_>, _>(data, |h| (h.0, h.1, h.2, h.3, h.4, anew(h.5))),
        b'z' => check::<ZHeader<'_>, _>(data, |h| (h.0, h.1, h.2, h.3, h.4, h.5, anew(h.6))),
        b'd' => check::<Dict<'_>, _>(data, dict),
        b's' => check::<Summary<'_>, _>(data, |(refs, metadata)| {
            let refs = anew(refs)
                .into_iter()
                .map(|(n, (size, sum, d))| (n, (size, sum, dict(d))));
            (refs.collect::<Vec<_>>(), dict(metadata))
        }),
        b'b' => check::<Superblock<'_>, _>(data, |s| {
            (
                dict(s.0),
                s.1,
                s.2,
                s.3,
                commit(s.4),
                s.5,
                anew(s.6),
                anew(s.7),
            )
        }),
        b'p' => check::<Part<'_>, _>(data, |p| {
            let xattrs = anew(p.1).into_iter().map(anew).collect::<Vec<_>>();
            (anew(p.0), xattrs, p.2, p.3)
        }),
        b'v' => {
            let mut v = String::new();
            Variant::sig(&mut v);
            any_type(&v, data);
        }
        // Any other byte: a type string up to a zero byte, then the value.
        _ => {
            let (sig, data) = input.split_at(input.iter().position(|b| *b == 0).unwrap_or(0));
            if let (Ok(sig), Some((_, data))) = (std::str::from_utf8(sig), data.split_first()) {
                any_type(sig, data);
            }
        }
    }
});
