// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has to hold for every value, every byte string and every text.

use oxtree_gvariant::{
    Be, Decode, Dict, Encode, Entry, Error, OwnedVariant, Seq, Variant, from_bytes, text, to_bytes,
    type_string,
};
use proptest::collection::vec;
use proptest::prelude::*;

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
type Header<'a> = (
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

fn string() -> impl Strategy<Value = String> {
    "[a-z'\"\\\\\u{1}\u{e9}\u{200b}\u{1f600}]{0,12}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        Just(vec![7; 32]),
        Just(vec![1; 300])
    ]
}

fn variant() -> impl Strategy<Value = OwnedVariant> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|v| OwnedVariant::of(&v)),
        any::<u32>().prop_map(|v| OwnedVariant::of(&v)),
        any::<i64>().prop_map(|v| OwnedVariant::of(&v)),
        any::<f64>().prop_map(|v| OwnedVariant::of(&v)),
        string().prop_map(|v| OwnedVariant::of(&v)),
        bytes().prop_map(|v| OwnedVariant::of(&v)),
        vec((any::<u8>(), any::<u16>()), 0..4).prop_map(|v| OwnedVariant::of(&v)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|v| OwnedVariant::of(&v)),
            vec(inner.clone(), 0..4).prop_map(|v| OwnedVariant::of(&v)),
            vec((string(), inner.clone()), 0..4).prop_map(|v| OwnedVariant::of(&dict(v))),
            (inner, string(), any::<u8>()).prop_map(|v| OwnedVariant::of(&v)),
        ]
    })
}

fn dict(entries: Vec<(String, OwnedVariant)>) -> Vec<Entry<String, OwnedVariant>> {
    entries
        .into_iter()
        .map(|(key, value)| Entry(key, value))
        .collect()
}

/// The fields of a commit, owned.
type OwnedCommit = (
    Vec<(String, OwnedVariant)>,
    Vec<u8>,
    Vec<(String, Vec<u8>)>,
    String,
    String,
    u64,
    Vec<u8>,
);

fn commit() -> impl Strategy<Value = OwnedCommit> {
    let metadata = vec((string(), variant()), 0..5);
    let related = vec((string(), bytes()), 0..3);
    (
        metadata,
        bytes(),
        related,
        string(),
        string(),
        any::<u64>(),
        bytes(),
    )
}

fn commit_bytes(c: &OwnedCommit) -> Vec<u8> {
    let (metadata, parent, related, subject, body, time, root) = c.clone();
    to_bytes(&(
        dict(metadata),
        parent,
        related,
        subject,
        body,
        Be(time),
        root.clone(),
        root,
    ))
}

/// Damages bytes in the ways that matter to a format of offsets and padding.
fn damage(mut data: Vec<u8>, edits: &[(usize, u8, u8)]) -> Vec<u8> {
    for &(at, what, value) in edits {
        let at = at % (data.len() + 1);
        match what % 4 {
            0 => data.insert(at, value),
            1 if at < data.len() => drop(data.remove(at)),
            2 => data.truncate(at),
            _ if at < data.len() => data[at] = value,
            _ => {}
        }
    }
    data
}

fn edits() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    let value = prop_oneof![Just(0), Just(1), 0_u8..64, any::<u8>()];
    vec((any::<usize>(), any::<u8>(), value), 0..4)
}

/// Both readers, the one for Rust's types and the one for types known at run time, judge alike.
fn judge<'a, T: Decode<'a>>(data: &'a [u8]) -> Option<T> {
    let read = from_bytes::<T>(data);
    let sig = type_string::<T>();
    let value = Variant::new(&sig, data);
    assert_eq!(
        read.as_ref().map(drop).map_err(|_| ()),
        value.map(drop).map_err(|_| ()),
        "{sig}"
    );
    if let Ok(value) = value {
        check_value(value);
    }
    read.ok()
}

/// Printing and parsing builds the value anew from its parts: so its bytes were the only ones.
fn check_value(value: Variant<'_>) {
    let swapped = value.byteswapped().unwrap();
    assert_eq!(swapped.as_ref().byteswapped().unwrap().as_ref(), value);
    let printed = text::print(value, true).unwrap();
    let again = text::parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
    // The sign and payload of a NaN are not part of its text.
    if !printed.contains("nan") {
        assert_eq!(again.as_ref(), value, "{printed}");
    }
}

fn judge_as_everything(data: &[u8]) {
    judge::<Commit<'_>>(data);
    judge::<DirTree<'_>>(data);
    judge::<DirMeta<'_>>(data);
    judge::<Header<'_>>(data);
    judge::<Summary<'_>>(data);
    judge::<Superblock<'_>>(data);
    judge::<Part<'_>>(data);
    judge::<Dict<'_>>(data);
    judge::<Variant<'_>>(data);
}

proptest! {
    #[test]
    fn commits_come_back(c in commit()) {
        let data = commit_bytes(&c);
        let (metadata, parent, related, subject, body, time, root, meta) =
            judge::<Commit<'_>>(&data).expect("what was written is read");
        let (m, p, r, s, b, t, checksum) = &c;
        prop_assert_eq!((parent, subject, body), (&p[..], &s[..], &b[..]));
        prop_assert_eq!((time.0, root, meta), (*t, &checksum[..], &checksum[..]));
        let entries = metadata.iter().map(|Entry(k, v)| (k.to_owned(), v.to_owned()));
        prop_assert_eq!(&entries.collect::<Vec<_>>(), m);
        let names = related.iter().map(|(n, sum)| (n.to_owned(), sum.to_owned()));
        prop_assert_eq!(&names.collect::<Vec<_>>(), r);

        let metadata: Vec<Entry<&str, Variant<'_>>> = metadata.iter().collect();
        let related: Vec<_> = related.iter().collect();
        let again = to_bytes(&(metadata, parent, related, subject, body, time, root, meta));
        prop_assert_eq!(again, data);
    }

    #[test]
    fn directories_come_back(
        files in vec((string(), bytes()), 0..20),
        dirs in vec((string(), bytes(), bytes()), 0..20),
    ) {
        let data = to_bytes(&(files.clone(), dirs.clone()));
        let (f, d) = judge::<DirTree<'_>>(&data).expect("what was written is read");
        prop_assert_eq!(f.len(), files.len());
        for (i, (name, sum)) in files.iter().enumerate() {
            prop_assert_eq!(f.get(i), Some((&name[..], &sum[..])));
        }
        for (read, (name, tree, meta)) in d.iter().zip(&dirs) {
            prop_assert_eq!(read, (&name[..], &tree[..], &meta[..]));
        }
        prop_assert_eq!(to_bytes(&(f.iter().collect::<Vec<_>>(), d)), data);
    }

    #[test]
    fn numbers_come_back(
        rows in vec((any::<(u8, u64, bool)>(), any::<(i16, u16)>(), any::<i32>()), 0..50),
        narrow in any::<(u8, u16, u8, u32, u8)>(),
    ) {
        let data = to_bytes(&(rows.clone(), narrow));
        type Table<'a> =
            (Seq<'a, ((u8, u64, bool), (i16, u16), i32)>, (u8, u16, u8, u32, u8));
        let (read, n) = judge::<Table<'_>>(&data).expect("what was written is read");
        prop_assert_eq!((read.iter().collect::<Vec<_>>(), n), (rows, narrow));
    }

    #[test]
    fn any_bytes_are_judged(data in vec(prop_oneof![0_u8..12, any::<u8>()], 0..80)) {
        judge_as_everything(&data);
    }

    #[test]
    fn damaged_commits_are_judged(c in commit(), edits in edits()) {
        judge_as_everything(&damage(commit_bytes(&c), &edits));
    }

    #[test]
    fn any_bytes_of_any_type_are_judged(sig in "[a(]?[a(][ysbvamu(){}t]{0,6}", data in bytes()) {
        if let Ok(value) = Variant::new(&sig, &data) {
            check_value(value);
        }
    }

    #[test]
    fn variants_print_and_parse(v in variant()) {
        prop_assert_eq!(Variant::new(&v.sig, &v.data).map(|v| v.to_owned()), Ok(v.clone()));
        check_value(v.as_ref());
    }

    #[test]
    fn any_text_is_judged(
        text in prop_oneof![
            any::<String>(),
            "[\\[\\](){}<>,: '\"@a-z0-9.\\\\-]{0,40}",
            vec(
                prop::sample::select(vec![
                    "[", "]", "(", ")", "{", "}", "<", ">", ",", ":", "1", "-1.5", "'a'", "b'c'",
                    "just ", "nothing", "@mai ", "@a{sv} ", "byte ", "uint64 ", "true", "string ",
                ]),
                0..12,
            ).prop_map(|words| words.concat()),
        ],
    ) {
        if let Ok(value) = text::parse(&text) {
            check_value(Variant::new(&value.sig, &value.data).expect("parsed to normal form"));
        }
    }
}

#[test]
fn depth_is_limited_everywhere() {
    let deep =
        |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    assert!(text::parse(&deep("<", ">", 64)).is_ok());
    for text in [
        deep("<", ">", 65),
        deep("[", "]", 65),
        deep("<", ">", 100_000),
        "(".repeat(100_000),
    ] {
        assert!(text::parse(&text).is_err(), "{}…", &text[..20]);
    }
    // Each variant may hold a deep type, but not all of them together.
    let maybes = |n: usize| format!("@{}i 1", "m".repeat(n));
    assert!(text::parse(&maybes(60)).is_ok());
    assert!(text::parse(&format!("({}, <{}>)", maybes(60), maybes(61))).is_ok());
    assert!(text::parse(&deep(&format!("<@{}v ", "m".repeat(60)), ">", 2)).is_err());

    let mut data = vec![0; 4];
    data.extend(b"\0u");
    (0..100).for_each(|_| data.extend(b"\0v"));
    assert_eq!(from_bytes::<Variant<'_>>(&data), Err(Error::Depth));
}

#[test]
fn encode_takes_references_and_owned_strings() {
    let key = String::from("k");
    let value = OwnedVariant::of(&vec![&key, &key]);
    let bytes = to_bytes(&vec![Entry(&key, value.as_ref())]);
    assert_eq!(bytes, to_bytes(&vec![Entry("k", &value)]));
    assert_eq!(value.sig, "as");
    fn encodes<T: Encode>(_: &T) {}
    encodes(&(&key, &[1_u8, 2][..], vec![0_u8], &value));
}
