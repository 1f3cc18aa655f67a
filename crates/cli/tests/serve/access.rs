// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tokens.

use serde_json::{Value, json};

use crate::fixture::{Answer, Fixture, Push, Served, curl, loose, objects, oxtree, path, wish};

pub(crate) fn create(fixture: &Fixture, name: &str, words: &str) -> String {
    let tokens = fixture.at("tokens.json");
    let mut all = vec!["token", "create", "--tokens", path(&tokens), name];
    all.extend(words.split_whitespace());
    oxtree().ok(all).trim_end().to_owned()
}

/// Has a token end at once.
fn expire(tokens: &std::path::Path, name: &str) {
    let mut all: Value = serde_json::from_slice(&std::fs::read(tokens).unwrap()).unwrap();
    for token in all["tokens"].as_array_mut().unwrap() {
        if token["name"] == name {
            token["expires"] = 1.into();
        }
    }
    std::fs::write(tokens, all.to_string()).unwrap();
}

fn shown(url: &str, token: &str) -> Answer {
    curl(&["-H", &format!("Authorization: Bearer {token}"), url])
}

fn get(url: &str, token: &str) -> u16 {
    shown(url, token).status
}

#[test]
fn a_token_allows_what_it_says_and_no_more() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let first = fixture.commit(&source, "os/main", 1);
    fixture.commit(&source, "app/x", 2);
    let ci = create(&fixture, "ci", "--allow push --ref os/*");
    let elsewhere = create(&fixture, "elsewhere", "--allow push --repository other/*");
    let ended = create(&fixture, "ended", "--allow push --expires 1h");
    let reader = create(&fixture, "reader", "--allow read");
    let promoter = create(&fixture, "promoter", "--allow promote");
    let small = create(&fixture, "small", "--allow push --max-objects 1");
    let tokens = fixture.at("tokens.json");
    expire(&tokens, "ended");
    let server = Served::start(&["--tokens", path(&tokens), path(store.path())]);
    let url = server.url();
    let open = |token: Option<&str>, branch: &str, old: Option<&str>| {
        Push::open(url, token, &wish(&source, branch, old))
    };
    let status = |token: Option<&str>| open(token, "os/main", None).err().map(|a| a.status);
    assert_eq!(status(None), Some(401));
    assert_eq!(status(Some("oxtree_0")), Some(401));
    assert_eq!(status(Some(&ended)), Some(401));
    let refused = open(Some(&elsewhere), "os/main", None).err().unwrap();
    assert_eq!(refused.status, 403);
    let text = "token elsewhere is not for this repository";
    for answer in [refused, shown(&format!("{url}api/v1/repo"), &elsewhere)] {
        assert!(answer.text().contains(text), "{answer:?}");
    }
    assert_eq!(status(Some(&reader)), Some(403));
    assert_eq!(status(Some(&promoter)), Some(403));

    // One ref that it does not allow spoils all.
    let mut both = wish(&source, "os/main", None);
    let other = wish(&source, "app/x", None)["updates"][0].clone();
    both["updates"].as_array_mut().unwrap().push(other);
    let refused = Push::open(url, Some(&ci), &both).err().unwrap();
    assert_eq!(refused.status, 409);
    assert_eq!(refused.json()["refs"][0]["status"], "not-done");
    assert!(
        refused.text().contains("ci may not change this ref"),
        "{refused:?}"
    );

    let bounded = open(Some(&small), "os/main", None).unwrap();
    let missing = bounded.missing(&source);
    assert_eq!(bounded.put(&source, &missing[0]).status, 204);
    let refused = bounded.put(&source, &missing[1]);
    assert_eq!(refused.status, 413);
    assert!(
        refused.text().contains("what the pusher's token"),
        "{refused:?}"
    );

    let push = open(Some(&ci), "os/main", None).unwrap();
    // Nobody else sees it.
    assert_eq!(get(&push.url, &reader), 403);
    assert_eq!(get(&push.url, &small), 404);
    assert_eq!(push.go(&source).status, 200);
    let delete = json!({"updates": [{"ref": "os/main", "old": first, "new": null}]});
    let refused = Push::open(url, Some(&ci), &delete).err().unwrap();
    assert!(refused.text().contains("may not delete"), "{refused:?}");
    let deleter = create(
        &fixture,
        "deleter",
        "--allow push --allow delete --allow force",
    );

    // Back to an older commit: only with the permission, however much it is asked for.
    let second = fixture.commit(&source, "os/main", 3);
    assert_eq!(
        open(Some(&ci), "os/main", Some(&first))
            .unwrap()
            .go(&source)
            .status,
        200
    );
    let back = json!({"updates": [{"ref": "os/main", "old": second, "new": first, "force": true,
        "timestamp": 1}]});
    let refused = Push::open(url, Some(&ci), &back).err().unwrap();
    assert!(
        refused.text().contains("--force is not allowed"),
        "{refused:?}"
    );
    let forced = Push::open(url, Some(&deleter), &back).unwrap();
    assert_eq!(forced.finish().status, 200);
    let promoted = json!({"updates": [{"ref": "os/stable", "old": null, "new": second}]});
    let promoted = Push::open(url, Some(&promoter), &promoted).unwrap();
    assert_eq!(promoted.put(&source, &missing[0]).status, 403);
    assert_eq!(promoted.finish().status, 200);
    assert_eq!(store.rev_parse("os/stable"), second);

    // Revoked between two requests.
    fixture.commit(&source, "os/main", 4);
    let push = open(Some(&ci), "os/main", Some(&first)).unwrap();
    push.missing(&source);
    oxtree().ok(["token", "revoke", "--tokens", path(&tokens), "ci"]);
    assert_eq!(push.finish().status, 401);
    assert_eq!(store.rev_parse("os/main"), first);
    let listed = oxtree().ok(["token", "list", "--tokens", path(&tokens)]);
    assert!(
        !listed.contains("ci:") && listed.contains("ended: push; has expired"),
        "{listed}"
    );
    store.fsck();
}

#[test]
fn an_administrator_has_the_same_by_the_api() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let boss = create(&fixture, "boss", "--allow admin");
    let reader = create(&fixture, "reader", "--allow read");
    let tokens = fixture.at("tokens.json");
    let server = Served::start(&["--tokens", path(&tokens), path(store.path())]);
    let url = format!("{}api/v1/tokens", server.url());
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    assert_eq!(get(&url, &reader), 403);
    let wish = r#"{"name":"new","permissions":["read"],"refs":["os/*"],"expires_in":60}"#;
    let made = curl(&["-H", &bearer(&boss), "--json", wish, &url]);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    assert!(!fixture.text("tokens.json").contains(&secret));
    assert_eq!(
        curl(&["-H", &bearer(&boss), "--json", wish, &url]).status,
        409
    );
    // Whoever can make tokens is bound to nothing.
    let bound = r#"{"name":"some","permissions":["admin"],"refs":["os/*"]}"#;
    let refused = curl(&["-H", &bearer(&boss), "--json", bound, &url]);
    assert_eq!(refused.status, 400, "{refused:?}");
    let list = curl(&["-H", &bearer(&boss), &url]).text();
    assert!(list.contains("\"new\"") && !list.contains("hash"), "{list}");
    let config = format!("{}config", server.url());
    assert_eq!(get(&config, &secret), 200);
    let gone = curl(&["-X", "DELETE", "-H", &bearer(&boss), &format!("{url}/new")]);
    assert_eq!(gone.status, 204);
    // A token that does not count is refused, even where none is needed; and after a while unheard.
    let answers: Vec<u16> = (0..12).map(|_| get(&config, &secret)).collect();
    assert_eq!((answers[0], answers[11]), (401, 429));
    assert_eq!(get(&config, &boss), 200);
}

#[test]
fn reading_may_need_a_token_too() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    fixture.commit(&store, "os/open", 1);
    fixture.commit(&store, "os/shut", 2);
    store.ok("summary", ["-u"]);
    // What flatpak lays there has all refs in it, too, but for the description of the repository.
    std::fs::create_dir(store.path().join("summaries")).unwrap();
    let index = ["summary.idx", "summary.idx.sig", "summaries/0a.gz"];
    for name in index.into_iter().chain(["o.flatpakrepo", "o.flatpakref"]) {
        std::fs::write(store.path().join(name), name).unwrap();
    }
    let some = create(&fixture, "some", "--allow read --ref os/open");
    let all = create(&fixture, "all", "--allow read");
    let tokens = fixture.at("tokens.json");
    let server = Served::start(&["--private", "--tokens", path(&tokens), path(store.path())]);
    let at = |path: &str| format!("{}{path}", server.url());
    let plain = ["config", "summary", "refs/heads/os/open", "api/v1/repo"];
    for path in plain.into_iter().chain(index).chain(["o.flatpakref"]) {
        assert_eq!(curl(&[&at(path)]).status, 401, "{path}");
        assert_eq!(get(&at(path), &all), 200, "{path}");
    }
    for (path, status) in [
        ("config", 200),
        ("refs/heads/os/open", 200),
        ("refs/heads/os/shut", 404),
        ("summary", 404),
        ("summary.idx", 404),
        ("summary.idx.sig", 404),
        ("summaries/0a.gz", 404),
        ("o.flatpakrepo", 200),
        ("o.flatpakref", 404),
    ] {
        assert_eq!(get(&at(path), &some), status, "{path}");
    }
    // Commits are to be had where a ref leads to them that one may read.
    let [open, shut] = ["os/open", "os/shut"].map(|name| store.rev_parse(name));
    fixture.commit(&store, "os/open", 3);
    let new = store.rev_parse("os/open");
    let commit = |id: &str, kind: &str| get(&at(&loose(&format!("{id}.{kind}"))), &some);
    std::fs::write(store.object(&shut, "commitmeta"), "x").unwrap();
    assert_eq!(
        [&open, &new, &shut].map(|id| commit(id, "commit")),
        [200, 200, 404]
    );
    assert_eq!(commit(&shut, "commitmeta"), 404);
    assert_eq!(get(&at(&loose(&format!("{shut}.commitmeta"))), &all), 200);
    std::fs::remove_file(store.object(&shut, "commitmeta")).unwrap();
    // Of the other objects the names are enough.
    for object in objects(&store)
        .iter()
        .filter(|name| !name.contains(".commit"))
    {
        assert_eq!(get(&at(&loose(object)), &some), 200, "{object}");
    }
    store.ok("refs", ["--create=os/copy", "os/shut"]);
    assert_eq!(commit(&shut, "commit"), 404);
    store.ok("reset", ["os/open", &shut]);
    assert_eq!(
        [&open, &new, &shut].map(|id| commit(id, "commit")),
        [404, 404, 200]
    );
    store.ok("reset", ["os/open", &open]);
    assert_eq!(
        [&open, &new, &shut].map(|id| commit(id, "commit")),
        [200, 404, 404]
    );
    let bearer = format!("Authorization: Bearer {some}");
    let told = curl(&["-H", &bearer, &at("api/v1/repo")]).text();
    assert!(
        told.contains("os/open") && !told.contains("os/shut"),
        "{told}"
    );
    // Who pushes is told what is there, of what concerns them, and has no files.
    let pusher = create(&fixture, "Pusher", "--allow push --ref os/shut");
    let shown = [
        "-H",
        &format!("Authorization: Bearer {pusher}"),
        &at("config"),
    ]
    .map(str::to_owned);
    let refused = curl(&shown.each_ref().map(String::as_str));
    assert_eq!(refused.status, 403);
    let text = "token Pusher does not allow this: it lacks the permission read here";
    assert!(refused.text().contains(text), "{refused:?}");
    let source = fixture.repo("source");
    let new = fixture.commit(&source, "os/shut", 3);
    let repo = format!("--repo={}", source.path().display());
    let push = |token: &str| {
        let tool = oxtree().env("OXTREE_TOKEN", token);
        tool.run(["push", &repo, server.url()])
    };
    let refused = push(&all).expect_failure().stderr();
    assert!(
        refused.contains("it lacks the permission push here"),
        "{refused}"
    );
    push(&pusher).expect_ok();
    assert_eq!(store.rev_parse("os/shut"), new);
    // Where all may read, a token does not take that away.
    let public = Served::start(&["--tokens", path(&tokens), path(store.path())]);
    for name in ["summary", "refs/heads/os/open"] {
        assert_eq!(get(&format!("{}{name}", public.url()), &pusher), 200);
    }

    let answer = curl(&["-H", &bearer, &at("refs/heads/os/open")]);
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));

    // The stock client, which sends what its remote says.
    let client = oxtree_testkit::Tool::ostree()
        .repo(fixture.at("client"))
        .init("archive");
    client.ok("remote", ["add", "--no-gpg-verify", "origin", server.url()]);
    let header = format!("--http-header=Authorization=Bearer {some}");
    client.ok("pull", [header.as_str(), "origin", "os/open"]);
    assert!(
        client
            .run("pull", [header.as_str(), "origin", "os/shut"])
            .code
            != Some(0)
    );
}

#[test]
fn tokens_are_listed_with_all_that_bounds_them() {
    let fixture = Fixture::new();
    let file = fixture.at("tokens.json");
    let more = "--allow push --ref a/* --max-refs 3 --max-bytes 1M --max-object-size 2K --json";
    let made: Value = serde_json::from_str(&create(&fixture, "small", more)).unwrap();
    assert!(made["token"].as_str().unwrap().starts_with("oxtree_"));
    assert_eq!(made["limits"]["max_refs"], 3);
    assert!(made.get("hash").is_none(), "{made}");
    let listed = oxtree().ok(["token", "list", "--tokens", path(&file)]);
    let line = "small: push for a/*; max object size 2048; max bytes 1048576; max refs 3\n";
    assert_eq!(listed, line);
    for words in [["--ref", "a/*"], ["--repository", "a"]] {
        let words = [
            "token",
            "create",
            "--tokens",
            path(&file),
            "x",
            "--allow",
            "admin",
        ]
        .into_iter()
        .chain(words);
        let refused = oxtree().fails(words.collect::<Vec<_>>());
        assert!(
            refused.contains("for all repositories and refs"),
            "{refused}"
        );
    }
}

/// Without tokens, a page in somebody's browser must not be able to push to their own machine.
#[test]
fn a_browsers_page_may_not_push() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let server = Served::open(&store);
    let url = format!("{}api/v1/pushes", server.url());
    let body = r#"{"updates":[]}"#;
    let origin = ["-H", "Origin: https://evil.example", "-d", body];
    assert_eq!(curl(&[&origin[..], &[&url]].concat()).status, 401);
    assert_eq!(curl(&["-d", body, &url]).status, 201);
}

#[test]
fn what_is_not_safe_is_not_begun() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let tokens = fixture.at("tokens.json");
    let store = path(store.path());
    let open = oxtree().fails(["serve", "--listen", "0.0.0.0:0", store]);
    assert!(open.contains("no TLS"), "{open}");
    let tokens = ["--tokens", path(&tokens)];
    let plain =
        oxtree().fails([&["serve", "--listen", "0.0.0.0:0"], &tokens[..], &[store]].concat());
    assert!(plain.contains("--insecure-http"), "{plain}");
    let none = oxtree().fails(["serve", path(&fixture.at("nothing"))]);
    assert!(none.contains("nothing"), "{none}");
    std::fs::write(fixture.at("conf"), "repo: {}\n").unwrap();
    let odd = oxtree().fails(["serve", "--config", path(&fixture.at("conf"))]);
    assert!(odd.contains("repo is not a known key"), "{odd}");
    std::fs::write(fixture.at("conf"), "insecure_http: no\n").unwrap();
    let empty = oxtree().fails(["serve", "--config", path(&fixture.at("conf"))]);
    assert!(empty.contains("repos: {/: {path: /srv/repo}}"), "{empty}");
}

/// The pushes of a token that was revoked are not those of the next one of its name.
#[test]
fn a_name_is_not_enough_to_go_on_with_a_push() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let first = create(&fixture, "ci", "--allow push");
    let admin = create(&fixture, "boss", "--allow admin");
    let tokens = fixture.at("tokens.json");
    let args = ["--tokens", path(&tokens), path(store.path())];
    let mut server = Served::start(&args);
    let intent = wish(&source, "os/main", None);
    let id = {
        let push = Push::open(server.url(), Some(&first), &intent).unwrap();
        push.url.rsplit('/').next().unwrap().to_owned()
    };
    oxtree().ok(["token", "revoke", "--tokens", path(&tokens), "ci"]);
    let second = create(&fixture, "ci", "--allow push");
    for restart in [false, true] {
        if restart {
            drop(server);
            server = Served::start(&args);
        }
        let (all, one) = (
            format!("{}api/v1/pushes", server.url()),
            format!("{}api/v1/pushes/{id}", server.url()),
        );
        assert_eq!(shown(&all, &second).json()["pushes"], json!([]));
        assert_eq!([get(&one, &first), get(&one, &second)], [401, 404]);
        assert_eq!(get(&one, &admin), 200);
    }
    // It opens one of its own for the same.
    let push = Push::open(server.url(), Some(&second), &intent).unwrap();
    assert!(!push.url.ends_with(&id));
    assert_eq!(push.go(&source).status, 200);
}
