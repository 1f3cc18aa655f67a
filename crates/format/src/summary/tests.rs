// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::BTreeMap;

use oxtree_gvariant::OwnedVariant;

use super::*;
use crate::CollectionId;

fn commit(seed: u8) -> CommitId {
    CommitId(Checksum([seed; 32]))
}

fn refs(names: &[&str]) -> BTreeMap<RefName, NewRef> {
    let entry = |(i, name): (usize, &&str)| {
        let entry = NewRef::new(100, commit(i as u8), 1_700_000_000, Some("1"));
        (name.parse().unwrap(), entry)
    };
    names.iter().enumerate().map(entry).collect()
}

fn full() -> NewSummary {
    let other: CollectionId = "org.other.C".parse().unwrap();
    let delta = DeltaName {
        from: Some(commit(1)),
        to: commit(2),
    };
    let info = Info {
        mode: Some("archive-z2".into()),
        last_modified: Some(5),
        expires: Some(6),
        tombstone_commits: Some(false),
        indexed_deltas: Some(true),
        static_deltas: [(delta, Checksum([3; 32]))].into(),
        collection_id: Some("org.example.C".parse().unwrap()),
        collection_map: [(other, refs(&["x", "y"]))].into(),
        extra: vec![("my.key".into(), OwnedVariant::of(&7_u32))],
    };
    NewSummary {
        refs: refs(&["a", "a-b", "a/b", "ä", "b"]),
        metadata: info.metadata().unwrap(),
    }
}

#[test]
fn what_is_written_is_read() {
    let bytes = full().to_bytes().unwrap();
    let summary = Summary::parse(&bytes).unwrap();
    assert_eq!(summary.to_bytes(), bytes);
    assert_eq!(NewSummary::try_from(&summary).unwrap(), full());

    let names: Vec<_> = summary.refs.iter().map(|r| r.name).collect();
    assert_eq!(names, ["a", "a-b", "a/b", "b", "ä"]);
    for name in names {
        let found = summary.refs.get(name).unwrap();
        assert_eq!(found.name, name);
        assert_eq!((found.size, found.timestamp()), (100, Some(1_700_000_000)));
        assert_eq!(found.version(), Some("1"));
    }
    for name in ["", "A", "aa", "z", "ö"] {
        assert!(summary.refs.get(name).is_none(), "{name}");
    }

    assert_eq!(summary.mode(), Some("archive-z2"));
    assert_eq!(
        (summary.last_modified(), summary.expires()),
        (Some(5), Some(6))
    );
    assert_eq!(summary.collection_id(), Some("org.example.C"));
    assert_eq!(summary.value::<bool>(keys::INDEXED_DELTAS), Some(true));
    assert_eq!(summary.value::<u32>("my.key"), Some(7));
    let deltas = summary.static_deltas().unwrap().unwrap();
    assert_eq!(deltas[0].0.to, commit(2));
    let collections = summary.collections().unwrap();
    assert_eq!(
        (collections[0].0, collections[0].1.len()),
        ("org.other.C", 2)
    );
}

#[test]
fn an_empty_summary() {
    let bytes = NewSummary::default().to_bytes().unwrap();
    let summary = Summary::parse(&bytes).unwrap();
    assert!(summary.refs.is_empty() && summary.refs.get("a").is_none());
    assert!(summary.collections().unwrap().is_empty());
    assert_eq!(summary.static_deltas(), Ok(None));
}

#[test]
fn bad_summaries_are_refused() {
    let none: Vec<Entry<&str, OwnedVariant>> = Vec::new();
    let write = |refs: &[(&str, &[u8])]| {
        let refs: Vec<_> = refs
            .iter()
            .map(|(name, commit)| (*name, (1_u64, *commit, none.clone())))
            .collect();
        to_bytes(&(refs, none.clone()))
    };
    let good = [1; 32];
    assert!(Summary::parse(&write(&[("a", &good), ("b", &good)])).is_ok());
    let unsorted = |name: &str| Error::Unsorted(name.into());
    let error = |bytes: Vec<u8>| Summary::parse(&bytes).unwrap_err();
    assert_eq!(error(write(&[("b", &good), ("a", &good)])), unsorted("a"));
    assert_eq!(error(write(&[("a", &good), ("a", &good)])), unsorted("a"));
    assert_eq!(
        error(write(&[("a", &good[1..])])),
        Error::ChecksumLength(31)
    );

    let nameless = NewSummary {
        metadata: vec![(String::new(), OwnedVariant::of("x"))],
        ..NewSummary::default()
    };
    assert_eq!(nameless.to_bytes(), Err(Error::MetadataKey(String::new())));
}

#[test]
fn cut_and_changed_summaries_do_not_panic() {
    let bytes = full().to_bytes().unwrap();
    let look = |bytes: &[u8]| {
        if let Ok(summary) = Summary::parse(bytes) {
            assert_eq!(summary.to_bytes(), bytes);
            let _ = (
                summary.collections(),
                summary.static_deltas(),
                summary.refs.get("b"),
            );
        }
    };
    for at in 0..bytes.len() {
        look(&bytes[..at]);
        for change in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            look(&bytes);
        }
    }
}
