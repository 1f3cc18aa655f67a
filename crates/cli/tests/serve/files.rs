// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository's files.

use std::path::Path;

use oxtree_testkit::{Tool, WebServer};

use crate::fixture::{Fixture, Served, curl, loose, objects, openssl, oxtree, path};

#[test]
fn files_are_as_on_any_web_server() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    fixture.commit(&store, "os/main", 1);
    store.ok("summary", ["-u"]);
    let server = Served::open(&store);
    let url = server.url();
    let nginx = WebServer::serve(store.path());
    let mut files: Vec<String> = objects(&store).iter().map(|name| loose(name)).collect();
    files.extend(["config", "summary", "refs/heads/os/main"].map(str::to_owned));
    // What flatpak lays there.
    std::fs::create_dir(store.path().join("summaries")).unwrap();
    for name in [
        "summary.sig",
        "summary.idx",
        "summary.idx.sig",
        "summaries/0a.gz",
        "summaries/0a-0b.delta",
        "summaries/0a.idx.sig",
        "here.flatpakrepo",
        "org.x.App.flatpakref",
    ] {
        std::fs::write(store.path().join(name), name).unwrap();
        files.push(name.to_owned());
    }
    for file in &files {
        let [ours, theirs] = [url, &nginx.url()].map(|url| curl(&[&format!("{url}{file}")]));
        assert_eq!((ours.status, theirs.status), (200, 200), "{file}");
        assert_eq!(ours.body, theirs.body, "{file}");
        assert_eq!(
            ours.header("content-length"),
            theirs.header("content-length")
        );
        let head = curl(&["-I", &format!("{url}{file}")]);
        assert_eq!(head.header("content-length"), ours.header("content-length"));
        assert_eq!(head.header("etag"), ours.header("etag"));
    }
    let object = format!("{url}{}", files[0]);
    let whole = curl(&[&object]);
    let lasts = whole.header("cache-control").unwrap();
    assert!(
        lasts.contains("immutable") && lasts.contains("public"),
        "{lasts}"
    );
    let part = curl(&["-r", "3-9", &object]);
    assert_eq!((part.status, &part.body[..]), (206, &whole.body[3..10]));
    let of = format!("bytes 3-9/{}", whole.body.len());
    assert_eq!(part.header("content-range"), Some(of.as_str()));
    assert_eq!(curl(&["-r", "99999999-", &object]).status, 416);

    for name in ["summary", "summary.idx", "summary.idx.sig"] {
        let name = format!("{url}{name}");
        let answer = curl(&[&name]);
        assert_eq!(answer.header("cache-control"), Some("public, no-cache"));
        let etag = format!("If-None-Match: {}", answer.header("etag").unwrap());
        assert_eq!(curl(&["-H", &etag, &name]).status, 304, "{name}");
    }
    let described = curl(&["-I", &format!("{url}here.flatpakrepo")]);
    let kind = described.header("content-type");
    assert_eq!(kind, Some("application/vnd.flatpak.repo"));

    let name = format!("{url}refs/heads/os/main");
    let answer = curl(&[&name]);
    assert_eq!(answer.header("cache-control"), Some("public, no-cache"));
    let etag = format!("If-None-Match: {}", answer.header("etag").unwrap());
    let known = curl(&["-H", &etag, &name]);
    assert_eq!((known.status, known.body.len()), (304, 0));
    let modified = answer
        .headers
        .lines()
        .find(|line| line.starts_with("last-modified"));
    let modified = modified
        .unwrap()
        .replace("last-modified", "If-Modified-Since");
    assert_eq!(curl(&["-H", &modified, &name]).status, 304);
    fixture.commit(&store, "os/main", 2);
    assert_eq!(curl(&["-H", &etag, &name]).status, 200);

    assert_eq!(curl(&["-X", "PUT", "-d", "x", &name]).status, 405);
    let by_h2 = curl(&["--http2-prior-knowledge", &name]);
    assert_eq!((by_h2.status, by_h2.body.len()), (200, 65));
    assert_eq!(curl(&[&format!("{url}healthz")]).status, 200);
    assert_eq!(curl(&[&format!("{url}readyz")]).status, 200);
    let numbers = curl(&[&format!("{url}metrics")]).text();
    assert!(
        numbers.contains("oxtree_requests_total{status=\"2xx\"}"),
        "{numbers}"
    );
    let document = curl(&[&format!("{url}api/v1/openapi.json")]).json();
    assert_eq!(document["openapi"], "3.1.0");
}

#[test]
fn only_a_repositorys_files_are_to_be_had() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    fixture.commit(&store, "os/main", 1);
    std::fs::write(fixture.at("secret"), "secret").unwrap();
    for folder in ["tmp", "state"] {
        std::fs::create_dir_all(store.path().join(folder)).unwrap();
        std::fs::write(store.path().join(folder).join("secret"), "secret").unwrap();
    }
    std::os::unix::fs::symlink("../../../secret", store.path().join("refs/heads/out")).unwrap();
    let server = Served::open(&store);
    for bad in [
        "",
        "tmp/secret",
        "state/secret",
        "../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "objects/../tmp/secret",
        "objects/%2e%2e/tmp/secret",
        "refs/heads/out",
        "refs/heads/../../tmp/secret",
        "refs/heads/..%2f..%2ftmp%2fsecret",
        "refs//heads/os/main",
        "refs/heads/os/main%00",
        "refs/heads/os/main/",
        "refs/heads/os",
        "refs/heads/%zz",
        "refs/heads/%",
        "objects/",
        ".lock",
        "%2fetc%2fpasswd",
        "api/v1/pushes/..%2f..%2fconfig",
        "api/v1/../../../secret",
        "api/v1/pushes/x/objects/..%2f..%2fsecret",
    ] {
        let answer = curl(&[&format!("{}{bad}", server.url())]);
        assert!((400..500).contains(&answer.status), "{bad}: {answer:?}");
        assert!(
            !answer.text().contains("secret\n") && answer.text() != "secret",
            "{bad}"
        );
    }
}

/// Clients know archives only: of another mode, files are packed as they are asked for.
#[test]
fn a_repository_of_another_mode_is_an_archive_to_clients() {
    let fixture = Fixture::new();
    let source = fixture.repo("source");
    let modes = ["bare-user", "bare-user-only", "bare"];
    for mode in modes
        .into_iter()
        .take(if oxtree_testkit::is_root() { 3 } else { 2 })
    {
        let store = oxtree().repo(fixture.at(mode)).init(mode).without_fsync();
        let server = Served::open(&store);
        let url = server.url();
        let first = fixture.commit(&source, "os/main", 1);
        let large = fixture.at("tree-1/large");
        oxtree_testkit::trees::incompressible(&large, 3 << 20, 7);
        let repo = format!("--repo={}", source.path().display());
        oxtree().ok(["push", &repo, url, "--force", "os/main"]);
        for (at, tool) in [oxtree(), Tool::ostree()].iter().enumerate() {
            let client = tool
                .repo(fixture.at(&format!("client-{mode}-{at}")))
                .init("archive");
            client.ok("remote", ["add", "--no-gpg-verify", "origin", url]);
            client.ok("pull", ["--mirror", "origin"]);
            client.fsck();
            assert_eq!(client.rev_parse("os/main"), first);
        }
        let all = objects(&source);
        let file = all
            .iter()
            .find(|name| name.ends_with(".filez"))
            .expect("a file");
        let file = format!("{url}{}", loose(file));
        let answer = curl(&[&file]);
        let lasts = answer.header("cache-control").unwrap();
        assert!(lasts.contains("immutable"), "{lasts}");
        let etag = answer.header("etag").unwrap().replace("w/", "W/");
        let known = format!("If-None-Match: {etag}");
        assert_eq!(curl(&["-H", &known, &file]).status, 304);
        let head = curl(&["-I", &file]);
        assert_eq!((head.status, head.body.len() > 400), (200, false));
        // There are no parts of it.
        assert_eq!(curl(&["-r", "1-2", &file]).body, answer.body);
        let none = format!("{url}objects/00/{}.filez", "0".repeat(62));
        assert_eq!(curl(&[&none]).status, 404);
        assert_eq!(curl(&[&format!("{url}objects/00/..filez")]).status, 404);
        let config = curl(&[&format!("{url}config")]).text();
        assert!(
            config.contains("mode=archive-z2") && !config.contains(mode),
            "{config}"
        );
    }
}

#[test]
fn over_tls_and_http2_the_stock_client_pulls() {
    let fixture = Fixture::new();
    let (stable, nightly) = (fixture.repo("stable"), fixture.repo("nightly"));
    let commit = fixture.commit(&stable, "os/main", 1);
    fixture.commit(&nightly, "os/next", 2);
    let (cert, key) = fixture.certificate("cert");
    let conf = format!(
        "listen: 127.0.0.1:0\nlisten_tls: 127.0.0.1:0\ntls_certificate: {}\ntls_key: {}\n\
         access_log: {}\nrepos:\n  os/stable: {{path: {}}}\n  nightly: {{path: {}}}\n",
        cert.display(),
        key.display(),
        fixture.at("log").display(),
        stable.path().display(),
        nightly.path().display()
    );
    std::fs::write(fixture.at("conf"), conf).unwrap();
    let conf = fixture.at("conf");
    let words = ["serve", "--config", path(&conf)];
    let server = Served::run(&mut oxtree().command(words), 2);
    let [plain, secure] = server.urls() else {
        panic!()
    };
    let repos = curl(&[&format!("{plain}api/v1/repos")]).json();
    assert_eq!(repos["repos"].as_array().unwrap().len(), 2);
    assert_eq!(curl(&[&format!("{plain}os/main/config")]).status, 404);
    assert_eq!(
        curl(&[&format!("{plain}nightly/refs/heads/os/next")]).status,
        200
    );
    assert_eq!(
        curl(&[&format!("{plain}nightly/api/v1/tokens")]).status,
        404
    );

    let ca = path(&cert);
    let by_tls = curl(&["--cacert", ca, &format!("{secure}os/stable/config")]);
    assert!(by_tls.headers.starts_with("http/2 200"), "{by_tls:?}");
    let client = Tool::ostree().repo(fixture.at("client")).init("archive");
    let set = format!("--set=tls-ca-path={ca}");
    let url = format!("{secure}os/stable");
    client.ok("remote", ["add", "--no-gpg-verify", &set, "origin", &url]);
    client.ok("pull", ["origin", "os/main"]);
    client.fsck();
    assert_eq!(client.rev_parse("origin:os/main"), commit);

    // Another certificate takes its place while the server runs.
    let (new, new_key) = fixture.certificate("new");
    std::fs::copy(&new_key, &key).unwrap();
    std::fs::copy(&new, &cert).unwrap();
    server.signal("HUP");
    let shown = || curl_ok(&["--cacert", path(&new), &format!("{secure}nightly/config")]);
    let mut tries = 0;
    while !shown() {
        tries += 1;
        assert!(tries < 50, "the new certificate is not shown");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let log = fixture.text("log");
    let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["method"], &line["status"]),
        (&"GET".into(), &200.into())
    );
    assert!(server.stop());
}

fn curl_ok(args: &[&str]) -> bool {
    let mut command = std::process::Command::new("curl");
    command
        .args(["-s", "-q", "-f", "-o", "/dev/null"])
        .args(args);
    oxtree_testkit::Output::of(&mut command).code == Some(0)
}

/// A certificate that is its own authority, as they are made by hand: whoever names it believes it, for what is
/// in it.
#[test]
fn a_certificate_that_was_named_is_believed() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "main", 1);
    let (cert, key) = fixture.certificate("cert");
    let (other, other_key) = fixture.certificate("other");
    let named = fixture.at("elsewhere.pem");
    openssl(
        "req -x509 -new -days 30 -subj /CN=x -addext subjectAltName=DNS:elsewhere.invalid",
        &["-key", path(&other_key), "-out", path(&named)],
    );
    let serve = |cert: &Path, key: &Path| {
        let words = ["--listen-tls", "127.0.0.1:0", "--tls-cert", path(cert)];
        let words = [
            &["serve", "--allow-anonymous-push", "--listen", "127.0.0.1:0"],
            &words[..],
            &["--tls-key", path(key)],
        ];
        let words = [&words.concat()[..], &[path(store.path())]].concat();
        Served::run(&mut oxtree().command(words), 2)
    };
    let server = serve(&cert, &key);
    let [plain, secure] = server.urls() else {
        panic!()
    };
    let repo = format!("--repo={}", source.path().display());
    let push = |url: &str, ca: &Path| {
        let ca = format!("--cacert={}", ca.display());
        oxtree().run(["push", &repo, &ca, "--network-retries=0", url])
    };
    let refused = |url: &str, ca: &Path, text: &str| {
        let said = push(url, ca).expect_failure().stderr();
        assert!(said.contains(text), "{said}");
    };
    refused(secure, &other, "certificate");
    let elsewhere = serve(&named, &other_key);
    refused(
        &elsewhere.urls()[1],
        &named,
        "is for another name than 127.0.0.1: DnsName",
    );
    refused(secure, &key, "there is no certificate in it");
    refused(
        &plain.replace("http:", "https:"),
        &cert,
        "should it be http://?",
    );
    refused(
        &secure.replace("https:", "http:"),
        &cert,
        "should it be https://?",
    );
    push(secure, &cert).expect_ok();
    push(&secure.replace("127.0.0.1", "localhost"), &cert).expect_ok();
    assert_eq!(store.rev_parse("main"), source.rev_parse("main"));
    for tool in [oxtree(), Tool::ostree()] {
        let client = tool.repo(fixture.at("client")).init("archive");
        let set = format!("--set=tls-ca-path={}", cert.display());
        client.ok(
            "remote",
            [
                "add",
                "--if-not-exists",
                "--no-gpg-verify",
                &set,
                "origin",
                secure,
            ],
        );
        client.ok("pull", ["origin", "main"]);
    }
}
