// SPDX-License-Identifier: MIT OR Apache-2.0
//! From nginx, in every mode, beside the real tool.

use oxtree_testkit::{Tool, WebServer, peak_rss, trees};

use crate::fixture::{Fixture, OXTREE, objects, ours, theirs};

/// Whoever has made the repository and whoever pulls it: the same objects, and all in order.
#[test]
fn every_mode_beside_the_real_tool() {
    for by in [Tool::ostree(), ours()] {
        let fixture = Fixture::new();
        let (_, commits) = fixture.source(&by, 3);
        let web = WebServer::serve(fixture.at("web"));
        let url = format!("{}repo", web.url());
        for mode in ["archive", "bare", "bare-user", "bare-user-only"] {
            let pulled = fixture.client(&format!("ours-{mode}"), mode, &url);
            let line = pulled.ok("pull", ["--depth=-1", "origin", "main"]);
            assert!(line.contains(" content objects fetched; "), "{line}");
            let beside = theirs(&fixture.client(&format!("theirs-{mode}"), mode, &url));
            beside.ok("pull", ["--depth=-1", "origin", "main"]);
            assert_eq!(objects(pulled.path()), objects(beside.path()), "{mode}");
            theirs(&pulled).fsck();
            assert_eq!(pulled.rev_parse("origin:main"), commits[2]);
        }
    }
}

/// What is there is not asked for: an update needs what is new, and nothing new two small files.
#[test]
fn only_what_is_new() {
    let fixture = Fixture::new();
    let (source, _) = fixture.source(&Tool::ostree(), 1);
    let web = WebServer::serve(fixture.at("web"));
    let client = fixture.client("client", "bare-user", &format!("{}repo", web.url()));
    client.ok("pull", ["origin", "main"]);
    let before = objects(source.path());
    source.commit("main", fixture.tree(2), &["--canonical-permissions"]);
    source.ok("summary", ["-u"]);
    let new: Vec<String> = objects(source.path())
        .difference(&before)
        .cloned()
        .collect();
    let asked = web.requests().len();
    client.ok("pull", ["origin", "main"]);
    let requests = web.requests().split_off(asked);
    let got = requests.iter().filter(|request| request.status == 200);
    let mut got: Vec<&str> = got
        .filter_map(|request| request.path.strip_prefix("/repo/"))
        .filter(|path| path.starts_with("objects/"))
        .collect();
    got.sort_unstable();
    assert_eq!(got, new);
    let asked = web.requests().len();
    client.ok("pull", ["origin", "main"]);
    let mut again: Vec<String> = web
        .requests()
        .split_off(asked)
        .into_iter()
        .map(|r| r.path)
        .collect();
    again.sort();
    assert_eq!(again.len(), 4, "{again:?}");
    assert!(
        again[1].ends_with(".commitmeta") && again[2].ends_with("/summary"),
        "{again:?}"
    );
}

/// A file much larger than what may be held, and the same again where files are unpacked.
#[test]
fn memory_is_bounded() {
    let fixture = Fixture::new();
    let tree = fixture.tree(1);
    trees::incompressible(&tree.join("huge"), 160 << 20, 7);
    fixture.source(&ours(), 1);
    let web = WebServer::serve(fixture.at("web"));
    let url = format!("{}repo", web.url());
    for mode in ["archive", "bare-user"] {
        let client = fixture.client(mode, mode, &url);
        let repo = format!("--repo={}", client.path().display());
        let peak = peak_rss(OXTREE, &["pull", &repo, "origin", "main"]);
        assert!(peak < 100 << 20, "{mode}: {peak} bytes");
        client.ok("fsck", [""; 0]);
    }
}
