// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways to a server: with TLS, with certificates of both sides, through proxies; and what shows who we are.

use std::path::Path;

use oxtree_testkit::{Authority, Repo, Serve, Tool, WebServer};

use crate::fixture::{Fixture, OXTREE, assert_same, push};
use crate::proxy::Proxy;

fn shown(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A server with TLS for this repository, with a certificate for these names and days.
fn serve(
    fixture: &Fixture,
    dest: &Repo,
    names: &str,
    until: &str,
    more: &str,
) -> (Serve, Authority) {
    let authority = Authority::new();
    let server = authority.issue_until("server", names, until);
    let conf = fixture.at("serve.yaml");
    let text = format!(
        "listen_tls: 127.0.0.1:0\ntls_certificate: {}\ntls_key: {}\nanonymous: none\n\
         tokens: {}\nrepos: {{/: {{path: {}}}}}\n{more}",
        server.cert.display(),
        server.key.display(),
        fixture.at("tokens.json").display(),
        dest.path().display()
    );
    std::fs::write(&conf, text).expect("write");
    let args = ["serve", "--config", shown(&conf)];
    (
        Serve::start(OXTREE, &args, fixture.at("serve.log")),
        authority,
    )
}

fn token(fixture: &Fixture) -> String {
    let tokens = fixture.at("tokens.json");
    let words = ["token", "create", "--tokens", shown(&tokens), "ci"];
    let made = Tool::new(OXTREE).ok([&words[..], &["--allow", "push", "--allow", "read"]].concat());
    made.trim_end().to_owned()
}

#[test]
fn with_tls_and_a_token() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    fixture.commit(&source, "main", 1, 2);
    let token = token(&fixture);
    let (server, authority) = serve(&fixture, &dest, "IP:127.0.0.1,DNS:localhost", "2049", "");
    let ca = format!("--cacert={}", authority.cert().display());
    let tool = Tool::new(OXTREE);
    let known = tool.clone().env("OXTREE_TOKEN", &token);
    let refused = |tool: &Tool, args: &[&str], words: &str| {
        let output = push(tool, &source, server.url(), args);
        let said = output.stderr();
        assert!(output.code == Some(1) && said.contains(words), "{said}");
        assert!(
            said.lines().count() == 1 && !said.contains(&token),
            "{said}"
        );
    };
    refused(
        &known,
        &[],
        "signed by nobody who is trusted here: name who has signed it with --cacert",
    );
    let other = Authority::new();
    let others = format!("--cacert={}", other.cert().display());
    refused(&known, &[&others], "signed by nobody who is trusted here");
    std::fs::write(fixture.at("empty"), "").unwrap();
    let empty = format!("--cacert={}", fixture.at("empty").display());
    refused(&known, &[&empty], "empty: there is no certificate in it");
    refused(&tool, &[&ca], "401 Unauthorized: ");
    refused(
        &tool,
        &[&ca],
        "set OXTREE_TOKEN, or use --token-file or --token-command",
    );
    let forged = tool.clone().env("OXTREE_TOKEN", "oxtree_0");
    refused(
        &forged,
        &[&ca],
        "401 Unauthorized: this token does not count",
    );
    assert_eq!(dest.ok("refs", [""; 0]), "");

    // What is named in the command line comes before the environment.
    std::fs::write(fixture.at("token"), format!("{token}\n")).unwrap();
    let file = format!("--token-file={}", fixture.at("token").display());
    let command = format!("--token-command=cat {}", fixture.at("token").display());
    push(&forged, &source, server.url(), &[&ca, &file, "--dry-run"]).expect_ok();
    push(&forged, &source, server.url(), &[&ca, &command]).expect_ok();
    assert_same(&source, &dest, "main");
    fixture.commit(&source, "main", 2, 2);
    // The system's own certificates may also be others.
    let system = known.env("SSL_CERT_FILE", authority.cert());
    let by_name = server.url().replace("127.0.0.1", "localhost");
    push(&system, &source, &by_name, &[]).expect_ok();
    assert_same(&source, &dest, "main");
}

#[test]
fn certificates_that_are_not_good() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    fixture.commit(&source, "main", 1, 0);
    for (names, until, words) in [
        (
            "IP:127.0.0.1",
            "2021",
            "the server's certificate has expired at 2021-01-01T00:00:00Z, ",
        ),
        (
            "DNS:other.example",
            "2049",
            "is for another name than 127.0.0.1: DnsName(\"other.example\")",
        ),
    ] {
        let (server, authority) = serve(&fixture, &dest, names, until, "");
        let ca = format!("--cacert={}", authority.cert().display());
        let output = push(&Tool::new(OXTREE), &source, server.url(), &[&ca]);
        assert!(output.stderr().contains(words), "{output:?}");
        // It is not asked again and again.
        assert!(output.stderr().lines().count() == 1, "{output:?}");
    }
    // Whoever uses what signs as what is signed.
    let authority = Authority::new();
    let ca = authority.cert();
    let key = ca.with_file_name("ca.key");
    let args = [
        "serve",
        "--listen-tls",
        "127.0.0.1:0",
        "--tls-cert",
        shown(&ca),
        "--tls-key",
        shown(&key),
    ];
    let server = Serve::start(
        OXTREE,
        &[&args[..], &[shown(dest.path())]].concat(),
        fixture.at("log"),
    );
    let named = format!("--cacert={}", ca.display());
    let output = push(&Tool::new(OXTREE), &source, server.url(), &[&named]);
    assert!(
        output.stderr().contains("than 127.0.0.1: it has none"),
        "{output:?}"
    );
    let system = Tool::new(OXTREE).env("SSL_CERT_FILE", &ca);
    let output = push(&system, &source, server.url(), &[]);
    assert!(
        output.stderr().contains("it needs one of its own"),
        "{output:?}"
    );
}

#[test]
fn certificates_of_clients() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    fixture.commit(&source, "main", 1, 2);
    let clients = Authority::new();
    let token = token(&fixture);
    let more = format!("tls_client_ca: {}\n", clients.cert().display());
    let (ours, servers) = serve(&fixture, &dest, "IP:127.0.0.1", "2049", &more);
    // nginx before a server that everybody on this machine may push to.
    let behind = fixture.serve(&dest);
    let front = servers.issue("front", "IP:127.0.0.1");
    let nginx = WebServer::with(&format!(
        "listen 127.0.0.1:PORT ssl; ssl_certificate {}; ssl_certificate_key {}; \
         ssl_client_certificate {}; ssl_verify_client on; location / {{ proxy_pass {}; \
         proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off; \
         client_max_body_size 0; }}",
        front.cert.display(),
        front.key.display(),
        clients.cert().display(),
        behind.url()
    ));
    let nginx = format!("https://127.0.0.1:{}", nginx.port());
    let ca = format!("--cacert={}", servers.cert().display());
    let (good, foreign) = (clients.issue("good", "DNS:ci"), Authority::new());
    let foreign = foreign.issue("foreign", "DNS:ci");
    let args = |one: &oxtree_testkit::Certificate| {
        [
            format!("--cert={}", one.cert.display()),
            format!("--key={}", one.key.display()),
        ]
    };
    let tool = Tool::new(OXTREE).env("OXTREE_TOKEN", &token);
    for (version, url, without, with_foreign) in [
        (
            2,
            ours.url(),
            "the server wants a certificate of ours (--cert, --key)",
            "our certificate is signed by nobody whom the server trusts",
        ),
        (
            3,
            &nginx,
            "400 No required SSL certificate was sent",
            "400 The SSL certificate error",
        ),
    ] {
        // nginx is no place for a token that it does not know.
        let tool = if url == nginx {
            &Tool::new(OXTREE)
        } else {
            &tool
        };
        let refused = |args: &[&str], words: &str| {
            let output = push(tool, &source, url, &[&[ca.as_str()], args].concat());
            assert!(
                output.code == Some(1) && output.stderr().contains(words),
                "{output:?}"
            );
        };
        refused(&[], without);
        refused(&args(&foreign).each_ref().map(String::as_str), with_foreign);
        let [cert, _] = args(&good);
        let [_, key] = args(&foreign);
        // A certificate and the key of another one.
        let output = push(tool, &source, url, &[&ca, &cert, &key]);
        assert!(
            output.code == Some(1)
                && output
                    .stderr()
                    .contains("foreign.key: keys may not be consistent"),
            "{output:?}"
        );
        let [cert, key] = args(&good);
        push(tool, &source, url, &[&ca, &cert, &key]).expect_ok();
        assert_same(&source, &dest, "main");
        // Both in one file.
        let both = [&good.cert, &good.key].map(|path| std::fs::read_to_string(path).unwrap());
        std::fs::write(fixture.at("both.pem"), both.concat()).unwrap();
        let both = format!("--cert={}", fixture.at("both.pem").display());
        fixture.commit(&source, "main", version, 2);
        push(tool, &source, url, &[&ca, &both]).expect_ok();
        assert_same(&source, &dest, "main");
    }
}

#[test]
fn through_proxies() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    fixture.commit(&source, "main", 1, 2);
    let token = token(&fixture);
    let (secure, authority) = serve(&fixture, &dest, "DNS:repo.example", "2049", "");
    let plain = fixture.serve(&dest);
    let ca = format!("--cacert={}", authority.cert().display());
    let tool = Tool::new(OXTREE).env("OXTREE_TOKEN", &token);
    let port = secure.address().port();
    let url = format!("https://repo.example:{port}/");
    let connect = format!("CONNECT repo.example:{port} HTTP/1.1");

    // TLS goes through it, up to the server: it is that one's certificate which counts.
    let proxy = Proxy::new(secure.address(), "");
    for (key, value) in [
        ("https_proxy", format!("http://{}", proxy.address())),
        ("HTTPS_PROXY", proxy.address()),
        (
            "all_proxy",
            proxy.address().replace("127.0.0.1", "localhost"),
        ),
    ] {
        let tool = tool
            .clone()
            .env(key, value)
            .env("http_proxy", "http://127.0.0.1:1");
        push(&tool, &source, &url, &[&ca, "--dry-run"]).expect_ok();
        let asked = proxy.asked();
        assert!(
            !asked.is_empty() && asked.iter().all(|line| *line == connect),
            "{asked:?}"
        );
    }
    let through = tool
        .clone()
        .env("https_proxy", format!("socks5h://{}", proxy.address()));
    push(&through, &source, &url, &[&ca]).expect_ok();
    assert!(
        proxy
            .asked()
            .iter()
            .all(|line| line == "SOCKS repo.example")
    );
    assert_same(&source, &dest, "main");

    // One that wants to know who we are. `user:pa ss`.
    let picky = Proxy::new(secure.address(), "dXNlcjpwYSBzcw==");
    let with = |credentials: &str| {
        let proxy = format!("http://{credentials}{}", picky.address());
        let tool = tool.clone().env("https_proxy", proxy);
        push(&tool, &source, &url, &[&ca])
    };
    for credentials in ["", "user:wr0ng@"] {
        let refused = with(credentials);
        let said = refused.stderr();
        assert!(
            said.contains("the proxy wants a name and a password") && !said.contains("wr0ng"),
            "{said}"
        );
        assert_eq!(picky.asked().len(), 1, "it is asked once");
    }
    with("user:pa%20ss@").expect_ok();

    // Without TLS, requests are made of the proxy.
    let between = Proxy::new(plain.address(), "");
    let open = Tool::new(OXTREE).env("http_proxy", between.address());
    fixture.commit(&source, "main", 2, 2);
    push(&open, &source, "http://repo.example/", &[]).expect_ok();
    assert_same(&source, &dest, "main");
    let asked = between.asked();
    assert!(
        asked[0].starts_with("GET http://repo.example/api/v1/repo HTTP/1.1"),
        "{asked:?}"
    );
    // What the variable for programs of web servers says is not believed; and some need no proxy.
    let port = plain.address().port();
    let local = format!("http://localhost:{port}/");
    for (key, value, except) in [
        ("HTTP_PROXY", between.address(), ""),
        ("http_proxy", between.address(), "example.com,localhost"),
        ("all_proxy", between.address(), "*"),
        ("http_proxy", String::new(), ""),
    ] {
        let tool = Tool::new(OXTREE).env(key, value).env("no_proxy", except);
        push(&tool, &source, &local, &[]).expect_ok();
        assert_eq!(between.asked(), [""; 0], "{key} {except}");
    }
    let odd = Tool::new(OXTREE).env("http_proxy", "http://me:s3cret@:99999/");
    let refused = push(&odd, &source, &local, &[]);
    let said = refused.stderr();
    assert!(
        refused.code == Some(1) && said.contains("proxy") && !said.contains("s3cret"),
        "{said}"
    );
}
