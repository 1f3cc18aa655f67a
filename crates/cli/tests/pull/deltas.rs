// SPDX-License-Identifier: MIT OR Apache-2.0
//! Static deltas from web servers: made by the real tool and by ours, and by nobody who means well.

use std::fs;
use std::path::PathBuf;

use oxtree_testkit::{Repo, Tool, WebServer, trees};

use crate::fixture::{Fixture, objects, ours, theirs};
use crate::server::{Server, Trick};

/// Three commits, a delta from scratch to the first, and one from there to the last, of more than one part, with
/// one file that is left out of it.
fn source(fixture: &Fixture, by: &Tool) -> (Repo, Vec<String>) {
    for version in 1..=3 {
        let tree = fixture.tree(version);
        trees::incompressible(&tree.join("grows"), 300_000 + version, 7);
        trees::incompressible(&tree.join("one"), 700_000, version);
        trees::incompressible(&tree.join("other"), 700_000, 10 * version);
        trees::incompressible(
            &tree.join(format!("large{version}")),
            1_200_000,
            100 + version,
        );
    }
    let (repo, commits) = fixture.source(by, 3);
    let generate = |more: &[&str]| {
        let mut words = vec!["generate", "--max-chunk-size=1"];
        words.extend_from_slice(more);
        repo.ok("static-delta", words);
    };
    generate(&["--empty", "--min-fallback-size=0", &commits[0]]);
    let from = format!("--from={}", commits[0]);
    generate(&[&from, "--min-fallback-size=1", &commits[2]]);
    repo.ok("summary", ["-u"]);
    (repo, commits)
}

/// The paths that were asked for since, below the repository.
fn paths(web: &WebServer, since: usize) -> Vec<String> {
    let requests = web.requests().split_off(since);
    let path = |path: String| path.strip_prefix("/repo/").map(str::to_owned);
    requests
        .into_iter()
        .filter_map(|request| path(request.path))
        .collect()
}

/// The same objects as the real tool has, and none of them fetched that is in a delta.
#[test]
fn whoever_has_made_them() {
    for by in [Tool::ostree(), ours()] {
        let fixture = Fixture::new();
        let (_, commits) = source(&fixture, &by);
        let web = WebServer::serve(fixture.at("web"));
        let url = format!("{}repo", web.url());
        let old = format!("main@{}", commits[0]);
        for mode in ["bare", "bare-user", "bare-user-only"] {
            let pulled = fixture.client(&format!("ours-{mode}"), mode, &url);
            let asked = web.requests().len();
            let line = pulled.ok("pull", ["origin", &old]);
            assert!(line.contains(" delta parts, 2 loose fetched; "), "{line}");
            let got = paths(&web, asked);
            let is_object = |path: &&String| path.starts_with("objects/");
            // The detached metadata that there is none of.
            assert_eq!(got.iter().filter(is_object).count(), 1, "{got:?}");

            let dry = ["--dry-run", "--require-static-deltas", "origin", "main"];
            let line = pulled.ok("pull", dry);
            assert!(line.starts_with("Delta update: 0/"), "{line}");
            assert_eq!(pulled.rev_parse("origin:main"), commits[0]);

            let asked = web.requests().len();
            let line = pulled.ok("pull", ["--require-static-deltas", "origin", "main"]);
            assert!(line.contains(" delta parts, 3 loose fetched; "), "{line}");
            let got = paths(&web, asked);
            let mut got: Vec<&String> = got.iter().filter(is_object).collect();
            got.sort_by_key(|path| path.ends_with(".filez"));
            assert!(got.len() == 2 && got[1].ends_with(".filez"), "{got:?}");

            let beside = theirs(&fixture.client(&format!("theirs-{mode}"), mode, &url));
            for rev in [old.as_str(), "main"] {
                beside.ok("pull", ["--disable-static-deltas", "origin", rev]);
            }
            assert_eq!(objects(pulled.path()), objects(beside.path()), "{mode}");
            theirs(&pulled).fsck();
            assert_eq!(pulled.rev_parse("origin:main"), commits[2]);
        }
        // An archive keeps files as they come, and a ref that is here needs nothing from scratch.
        let archive = fixture.client("archive", "archive", &url);
        let asked = web.requests().len();
        archive.ok("pull", ["origin", &old]);
        let loose = fixture.client("loose", "bare-user", &url);
        loose.ok("pull", ["--disable-static-deltas", "origin", "main"]);
        loose.ok("pull", ["origin", &old]);
        let got = paths(&web, asked);
        assert!(
            got.iter().all(|path| !path.starts_with("deltas/")),
            "{got:?}"
        );
        let refused = ["--require-static-deltas", "origin", "main"];
        let error = archive.run("pull", refused).expect_failure().stderr();
        assert!(
            error.contains("Can't use static deltas in an archive repo"),
            "{error}"
        );
    }
}

/// Where nothing is said of deltas, the one is asked for that would be of use.
#[test]
fn without_a_summary() {
    let fixture = Fixture::new();
    let (repo, commits) = source(&fixture, &Tool::ostree());
    for file in ["summary", "delta-indexes"] {
        let path = repo.path().join(file);
        drop(fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)));
    }
    repo.ok("config", ["set", "core.indexed-deltas", "false"]);
    let web = WebServer::serve(fixture.at("web"));
    let client = fixture.client("client", "bare-user", &format!("{}repo", web.url()));
    client.ok("pull", ["origin", &format!("main@{}", commits[0])]);
    client.ok("pull", ["origin", "main"]);
    let got = paths(&web, 0);
    let superblocks = got.iter().filter(|path| path.ends_with("/superblock"));
    assert_eq!(superblocks.count(), 2, "{got:?}");
    assert!(
        got.iter().all(|path| !path.ends_with(".dirtree")),
        "{got:?}"
    );
    theirs(&client).fsck();
}

/// A file of the delta that is from scratch, or of the other one.
fn part(repo: &Repo, from_scratch: bool, name: &str) -> PathBuf {
    let folders = fs::read_dir(repo.path().join("deltas")).expect("deltas/");
    let below = folders.flat_map(|folder| fs::read_dir(folder.expect("an entry").path()).unwrap());
    let found = below
        .map(|delta| delta.expect("an entry").path())
        .find(|delta| {
            // 43 letters, less the first two, or two of them.
            (delta.file_name().unwrap().len() == 41) == from_scratch
        });
    found.expect("such a delta").join(name)
}

/// What was applied is not fetched again, and nothing wrong gets in.
#[test]
fn broken_ones() {
    let fixture = Fixture::new();
    let (repo, commits) = source(&fixture, &ours());
    let word = |name: &str| {
        let path = part(&repo, true, name);
        path.strip_prefix(fixture.at("web"))
            .unwrap()
            .display()
            .to_string()
    };
    let old = format!("main@{}", commits[0]);
    let other = other_bytes();
    let superblock = fs::read(part(&repo, false, "superblock")).expect("superblock");
    let tricks = [
        (
            word("superblock"),
            Trick::Instead(other.clone()),
            "Invalid checksum for static delta",
        ),
        (
            word("superblock"),
            Trick::Instead(superblock),
            "Invalid checksum for static delta",
        ),
        (word("superblock"), Trick::Endless, "exceeded maximum size"),
        (word("0"), Trick::Instead(other), "/0"),
        (word("0"), Trick::Half, "/0"),
        (word("0"), Trick::Torn, "Download incomplete"),
        (word("0"), Trick::Endless, "exceeded maximum size"),
        (word("0"), Trick::Status(404), "HTTP 404"),
    ];
    for (number, (word, trick, why)) in tricks.into_iter().enumerate() {
        let name = format!("client-{number}");
        let client = fixture.client(&name, "bare-user", "http://localhost/");
        let server = Server::start(&fixture.at("web"), &word, trick.clone());
        let url = format!("--url={}", server.url());
        let words = ["--network-retries=1", &url, "origin", &old];
        let error = client.run("pull", words).expect_failure().stderr();
        assert!(error.contains(why), "{word} {trick:?}: {error}");
        assert!(client.refs().is_empty());
        assert!(!client.object(&commits[0], "commit").exists());
    }
    let client = fixture.client("client", "bare-user", "http://localhost/");
    let server = Server::start(&fixture.at("web"), &word("1"), Trick::Status(503));
    let url = format!("--url={}", server.url());
    client
        .run("pull", ["--network-retries=2", &url, "origin", &old])
        .expect_failure();
    assert!(client.refs().is_empty());
    let web = WebServer::serve(fixture.at("web"));
    client.ok(
        "pull",
        [&format!("--url={}repo", web.url()), "origin", &old],
    );
    let got = paths(&web, 0);
    let asked = |name: &str| got.iter().any(|path| *path == word(name)["repo/".len()..]);
    assert!(asked("1") && !asked("0"), "{got:?}");
    theirs(&client).fsck();
    // An index that is none lists nothing.
    for (number, bytes) in [other_bytes(), b"<html>".to_vec()].into_iter().enumerate() {
        let client = fixture.client(&format!("index-{number}"), "bare-user", "http://localhost/");
        let server = Server::start(&fixture.at("web"), ".index", Trick::Instead(bytes));
        let url = format!("--url={}", server.url());
        client.ok("pull", [&url, "origin", &old]);
        theirs(&client).fsck();
        let words = ["--require-static-deltas", &url, "origin", "main"];
        let said = client.run("pull", words).expect_failure().stderr();
        assert!(said.contains("Static deltas required"), "{said}");
    }
}

fn other_bytes() -> Vec<u8> {
    vec![b'x'; 100]
}

/// A key pair, each as libostree's `spki` has it.
fn key_pair(fixture: &Fixture, name: &str) -> (String, String) {
    let openssl = Tool::new("openssl").dir(fixture.at("."));
    let file = format!("{name}.pem");
    openssl
        .run(["genpkey", "-algorithm", "ED25519", "-out", &file])
        .expect_ok();
    let secret = fs::read_to_string(fixture.at(&file)).expect("the key");
    let public = openssl
        .run(["pkey", "-in", &file, "-pubout"])
        .expect_ok()
        .stdout();
    let body = |pem: &str| pem.lines().filter(|line| !line.starts_with("--")).collect();
    (body(&secret), body(&public))
}

/// With core.sign-verify-deltas, only those are taken that are signed by a key of the remote's.
#[test]
fn signatures() {
    let fixture = Fixture::new();
    let (repo, commits) = source(&fixture, &ours());
    let (secret, public) = key_pair(&fixture, "one");
    let (_, other) = key_pair(&fixture, "other");
    let web = WebServer::serve(fixture.at("web"));
    let pull = |name: &str, key: Option<&str>, how: &[&str]| {
        let client = fixture.client(name, "bare-user", &format!("{}repo", web.url()));
        client.ok("config", ["set", "core.sign-verify-deltas", "true"]);
        if let Some(key) = key {
            client.ok(
                "config",
                ["set", "remote \"origin\".verification-spki-key", key],
            );
        }
        client.run("pull", [how, &["origin", &commits[0]]].concat())
    };
    let unsigned = pull("unsigned", Some(&public), &[])
        .expect_failure()
        .stderr();
    assert!(
        unsigned.contains("Can't verify the static delta"),
        "{unsigned}"
    );
    let here = format!("--url=file://{}", repo.path().display());
    let here = [&here, "--require-static-deltas"];
    let unsigned = pull("unsigned-here", Some(&public), &here)
        .expect_failure()
        .stderr();
    assert!(
        unsigned.contains("Can't verify the static delta"),
        "{unsigned}"
    );
    let sign = [
        "generate",
        "--empty",
        "--min-fallback-size=0",
        "--sign-type=spki",
        "--sign",
    ];
    repo.ok(
        "static-delta",
        [&sign[..], &[&secret, &commits[0]]].concat(),
    );
    repo.ok("summary", ["-u"]);
    let signed = pull("signed", Some(&public), &[]).expect_ok().stdout();
    assert!(signed.contains(" delta parts, "), "{signed}");
    pull("signed-here", Some(&public), &here).expect_ok();
    let wrong = pull("wrong", Some(&other), &[]).expect_failure().stderr();
    assert!(wrong.contains("Can't verify the static delta"), "{wrong}");
    let objects = pull("nobody", None, &[]).expect_ok().stdout();
    assert!(objects.contains(" content objects fetched"), "{objects}");
    pull("required", None, &["--require-static-deltas"]).expect_failure();
}
