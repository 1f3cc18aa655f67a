// SPDX-License-Identifier: MIT OR Apache-2.0
//! Summaries of the real `ostree`, parsed and written again; and ours, read by it.

use std::fs;
use std::path::Path;

use oxtree_format::gvariant::OwnedVariant;
use oxtree_format::summary::{Info, NewRef};
use oxtree_format::{Checksum, Detached, NewDetached, NewSummary, Summary, detached};
use oxtree_testkit::{Repo, Tool, temp_dir, trees};

fn ostree() -> Tool {
    Tool::ostree()
        .env("OSTREE_DUMMY_SIGN_ENABLED", "1")
        .env("LC_ALL", "C.UTF-8")
}

/// Commits to each branch, with a delta from scratch for the first and one between the first two.
fn fill(repo: &Repo, dir: &Path, branches: &[&str]) {
    for (n, branch) in branches.iter().enumerate() {
        let tree = dir.join(format!("tree-{n}"));
        fs::create_dir(&tree).unwrap();
        trees::small(&tree, n as u64);
        repo.commit(
            branch,
            &tree,
            &[&format!("--add-metadata-string=version=1.{n}")],
        );
    }
    repo.ok("static-delta", ["generate", "--empty", branches[0]]);
    let from = format!("--from={}", branches[0]);
    repo.ok("static-delta", ["generate", &from, branches[1]]);
}

/// Parses and writes in both ways, and checks what each ref says.
fn check(repo: &Repo) -> Vec<u8> {
    let bytes = fs::read(repo.path().join("summary")).unwrap();
    let summary = Summary::parse(&bytes).unwrap();
    assert_eq!(summary.to_bytes(), bytes);
    let again = NewSummary::try_from(&summary).unwrap();
    assert_eq!(again.to_bytes().unwrap(), bytes);

    for entry in summary.refs.iter() {
        let id = entry.commit.to_string();
        assert_eq!(repo.rev_parse(entry.name), id);
        let len = fs::metadata(repo.object(&id, "commit")).unwrap().len();
        assert_eq!(entry.size, len);
        assert_eq!(summary.refs.get(entry.name).unwrap().commit, entry.commit);
    }
    assert_eq!(summary.mode(), Some("archive-z2"));
    bytes
}

#[test]
fn with_deltas_and_a_signature() {
    let dir = temp_dir();
    let repo = ostree().repo(dir.path().join("repo")).init("archive");
    let branches = ["main", "a/b", "a-b", "ä"];
    fill(&repo, dir.path(), &branches);
    repo.ok(
        "summary",
        [
            "-u",
            "--add-metadata=my.number=uint32 7",
            "--sign-type=dummy",
            "--sign=first",
        ],
    );

    let bytes = check(&repo);
    let summary = Summary::parse(&bytes).unwrap();
    assert_eq!(summary.refs.len(), branches.len());
    let main = summary.refs.get("main").unwrap();
    assert_eq!(main.version(), Some("1.0"));
    // 2026-01-02T03:04:05Z, when the testkit's commits are made.
    assert_eq!(main.timestamp(), Some(1_767_323_045));
    assert_eq!(summary.value::<u32>("my.number"), Some(7));
    let written = summary.last_modified().unwrap();
    assert!(written > 1_767_323_045, "{written}");
    assert_eq!(summary.collections().unwrap().len(), 0);

    let deltas = summary.static_deltas().unwrap().unwrap();
    let mut names: Vec<_> = deltas.iter().map(|(name, _)| name.to_string()).collect();
    names.sort();
    let mut listed: Vec<_> = repo
        .ok("static-delta", ["list"])
        .lines()
        .map(str::to_owned)
        .collect();
    listed.sort();
    assert_eq!(names, listed);

    let bytes = fs::read(repo.path().join("summary.sig")).unwrap();
    let sig = Detached::parse(&bytes).unwrap();
    assert_eq!(sig.signatures(detached::keys::DUMMY).unwrap(), [b"first"]);
    assert_eq!(NewDetached::from(sig).to_bytes(), bytes);
}

#[test]
fn with_collections() {
    let dir = temp_dir();
    let repo = ostree().repo(dir.path().join("repo"));
    repo.ok(
        "init",
        ["--mode=archive", "--collection-id=org.example.Mine"],
    );
    fill(&repo, dir.path(), &["main", "other"]);
    for name in ["x", "y/z"] {
        let name = format!("org.example.Theirs:{name}");
        repo.ok("refs", ["-c", &format!("--create={name}"), "main"]);
    }
    repo.ok("summary", ["-u"]);

    let bytes = check(&repo);
    let summary = Summary::parse(&bytes).unwrap();
    assert_eq!(summary.collection_id(), Some("org.example.Mine"));
    let names: Vec<_> = summary.refs.iter().map(|r| r.name).collect();
    assert_eq!(names, ["main", "ostree-metadata", "other"]);
    let collections = summary.collections().unwrap();
    let (name, refs) = collections[0];
    assert_eq!((collections.len(), name), (1, "org.example.Theirs"));
    let names: Vec<_> = refs.iter().map(|r| r.name).collect();
    assert_eq!(names, ["x", "y/z"]);
}

#[test]
fn the_real_ostree_reads_ours() {
    let dir = temp_dir();
    let repo = ostree().repo(dir.path().join("repo")).init("archive");
    fill(&repo, dir.path(), &["main", "other"]);
    let commit = |branch| repo.rev_parse(branch).parse().unwrap();
    let theirs: oxtree_format::CollectionId = "org.example.Theirs".parse().unwrap();
    let entry = |branch| NewRef::new(123_456, commit(branch), 1_700_000_000, Some("9"));
    let delta = oxtree_format::DeltaName {
        from: None,
        to: commit("main"),
    };
    let info = Info {
        mode: Some("archive-z2".into()),
        last_modified: Some(1_700_000_001),
        expires: Some(1_900_000_000),
        tombstone_commits: Some(false),
        indexed_deltas: Some(true),
        static_deltas: [(delta, Checksum([7; 32]))].into(),
        collection_id: Some("org.example.Mine".parse().unwrap()),
        collection_map: [(theirs, [("x".parse().unwrap(), entry("main"))].into())].into(),
        extra: vec![("my.key".into(), OwnedVariant::of("mine"))],
    };
    let branches = ["main", "other"];
    let new = NewSummary {
        refs: branches.map(|b| (b.parse().unwrap(), entry(b))).into(),
        metadata: info.metadata().unwrap(),
    };
    fs::write(repo.path().join("summary"), new.to_bytes().unwrap()).unwrap();
    let shown = repo.ok("summary", ["-v"]);
    let main = repo.rev_parse("main");
    let wanted = [
        "Collection ID (ostree.summary.collection-id): org.example.Mine",
        "* (org.example.Mine, main)",
        "* (org.example.Theirs, x)",
        &format!("Latest Commit (123.5 kB):\n      {main}"),
        "Version (ostree.commit.version): 9",
        "Timestamp (ostree.commit.timestamp): 2023-11-14T22:13:20+00",
        "Last-Modified (ostree.summary.last-modified): 2023-11-14T22:13:21+00",
        "Expires (ostree.summary.expires): 2030-03-17T17:46:40+00",
        "Repository Mode (ostree.summary.mode): archive-z2",
        "my.key: 'mine'",
    ];
    for line in wanted {
        let line = line.replace("123.5 kB", "123.5\u{a0}kB");
        assert!(shown.contains(&line), "{line:?} is not in\n{shown}");
    }
}
