// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proxies that should see nothing, and what is said of those that fail.

use oxtree_testkit::Tool;

use crate::fixture::{Fixture, OXTREE, assert_same, push};
use crate::proxy::Proxy;

const TOKEN: &str = "oxtree_s3cret";

/// This machine is asked without a proxy of the environment, so that none sees a token.
#[test]
fn no_proxy_sees_a_token() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    let server = fixture.serve(&dest);
    let port = server.address().port();
    let proxy = Proxy::new(server.address(), "");
    let variables = ["http_proxy", "all_proxy", "ALL_PROXY"];
    for (number, variable) in (1..).zip(variables) {
        fixture.commit(&source, "main", number, 0);
        for scheme in ["http", "socks5h"] {
            let address = format!("{scheme}://{}", proxy.address());
            let tool = Tool::new(OXTREE).env(variable, address);
            for host in ["127.0.0.1", "localhost", "LOCALHOST"] {
                let url = format!("http://{host}:{port}/");
                push(&tool, &source, &url, &[]).expect_ok();
                let with_token = tool.clone().env("OXTREE_TOKEN", TOKEN);
                push(&with_token, &source, &url, &[]);
            }
            // Name servers are asked for it: it may be any machine.
            let tool = tool.env("OXTREE_TOKEN", TOKEN);
            let url = format!("http://x.localhost:{port}/");
            let refused = push(&tool, &source, &url, &[]).expect_failure().stderr();
            assert!(refused.contains("a token is not sent"), "{refused}");
        }
        assert_same(&source, &dest, "main");
    }
    assert_eq!(proxy.asked(), [""; 0]);
}

/// The proxy is named, and where it is set, but not its password.
#[test]
fn a_message_names_the_proxy() {
    let fixture = Fixture::new();
    let source = fixture.repo("source");
    fixture.commit(&source, "main", 1, 0);
    let client = Tool::new(OXTREE).repo(fixture.at("client")).init("archive");
    let add = |words: &[&str]| client.ok("remote", [&["add", "--no-gpg-verify"], words].concat());
    let http = "http://repo.invalid/r";
    add(&["plain", http]);
    add(&["set", http, "--set=proxy=http://me:s3cret@127.0.0.1:1"]);
    let repo = |repo: &oxtree_testkit::Repo| format!("--repo={}", repo.path().display());
    let (ours, theirs) = (repo(&client), repo(&source));
    let push = ["push", "--network-retries=0", &theirs];
    let pull = ["pull", "--network-retries=0", &ours];
    let once = "--disable-retry-on-network-errors";
    let address = "http://me:s3cret@127.0.0.1:1";
    for (variable, value, words, shown) in [
        (
            "http_proxy",
            address,
            [&push[..], &[http]].concat(),
            "http://127.0.0.1:1 of $http_proxy",
        ),
        (
            "https_proxy",
            address,
            [&push[..], &["https://repo.invalid/"]].concat(),
            "http://127.0.0.1:1 of $https_proxy",
        ),
        (
            "all_proxy",
            "socks5h://me:s3cret@127.0.0.1:1",
            [&push[..], &[http]].concat(),
            "socks5h://127.0.0.1:1 of $all_proxy",
        ),
        (
            "http_proxy",
            "me:s3cret@127.0.0.1:1",
            [&pull[..], &["plain", "main"]].concat(),
            "http://127.0.0.1:1 of $http_proxy",
        ),
        (
            "ALL_PROXY",
            address,
            [&pull[..], &[once, "plain", "main"]].concat(),
            "http://127.0.0.1:1 of $ALL_PROXY",
        ),
        (
            "http_proxy",
            "",
            [&pull[..], &["set", "main"]].concat(),
            "http://127.0.0.1:1 of the key proxy of remote set",
        ),
        (
            "http_proxy",
            address,
            vec!["remote", &ours, "summary", "plain"],
            "http://127.0.0.1:1 of $http_proxy",
        ),
    ] {
        let tool = Tool::new(OXTREE).env(variable, value);
        let said = tool.run(&words).expect_failure().stderr();
        let shown = format!("(through the proxy {shown})");
        assert!(said.contains(&shown), "{words:?}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
    // One that answers, but does not know us, or does not reach the server.
    let server = fixture.serve(&source);
    let picky = Proxy::new(server.address(), "dXNlcjpwYSBzcw==");
    let tool = Tool::new(OXTREE).env("http_proxy", picky.address());
    for words in [
        [&push[..], &[http]].concat(),
        [&pull[..], &["plain", "main"]].concat(),
    ] {
        let said = tool.run(&words).expect_failure().stderr();
        let shown = format!(
            "(through the proxy http://{} of $http_proxy)",
            picky.address()
        );
        assert!(said.contains("407") && said.contains(&shown), "{said}");
    }
}
