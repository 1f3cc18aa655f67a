// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every key is read, and what is wrong is named.

use super::*;

#[test]
fn every_key_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "quiet\n").unwrap();
    let text = format!(
        "listen: 127.0.0.1:80\n\
         listen_tls: ['[::]:443', 0.0.0.0:8443]\n\
         tls_certificate: /c.pem\n\
         tls_key: /k.pem\n\
         insecure_http: yes\n\
         tokens: /tokens\n\
         anonymous: [os/*, app/*]\n\
         access_log: /log\n\
         trusted_proxies: [10.0.0.0/8, '::1']\n\
         send_timeout: 90s\n\
         max_connections: 2K\n\
         max_connections_per_client: 64\n\
         header_timeout: 5s\n\
         push_lifetime: 2d\n\
         issuers:\n\
         - issuer: https://ci\n\
        \x20 audience: here\n\
        \x20 keys: https://ci/keys\n\
        \x20 rules:\n\
        \x20 - when: {{repo: a/b, env: [x, y]}}\n\
        \x20   permissions: [push, force]\n\
        \x20   repos: [stable]\n\
        \x20   refs: os/*\n\
        \x20   max_bytes: 1G\n\
         repos:\n\
        \x20 /: {{path: /srv/root}}\n\
        \x20 os/stable:\n\
        \x20   path: /srv/stable\n\
        \x20   receive: {{gpg_verify: yes, max_future: 1h}}\n\
        \x20   retention: {{os/*: {{keep_last: 3}}, '*': {{keep_younger_than: 30d}}}}\n\
        \x20   retention_grace: 1h\n\
        \x20   webhooks: [{{url: http://x/, secret_file: {}, refs: [os/*]}}]\n",
        secret.display()
    );
    let conf = ServeConf::parse(&text).unwrap();
    assert_eq!(conf.listen.len(), 3);
    assert!(!conf.listen[0].tls && conf.listen[1].tls);
    assert_eq!(conf.tls.unwrap().key, Path::new("/k.pem"));
    assert!(conf.insecure_http);
    assert_eq!(conf.tokens.as_deref(), Some(Path::new("/tokens")));
    let refs = ["os/*", "app/*"].map(str::to_owned).to_vec();
    assert_eq!(conf.anonymous, Some(Anonymous::Refs(refs)));
    let shown: Vec<String> = conf
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, ["10.0.0.0/8", "::1/128"]);
    assert_eq!(conf.send_timeout, Some(Duration::from_secs(90)));
    assert_eq!(conf.max_connections, Some(2048));
    assert_eq!(conf.max_connections_per_client, Some(64));
    assert_eq!(conf.header_timeout, Some(Duration::from_secs(5)));
    assert_eq!(conf.push_lifetime, Some(Duration::from_secs(2 * 86400)));
    let [issuer] = &conf.issuers[..] else {
        panic!()
    };
    assert!(matches!(&issuer.keys, KeySource::Url(url) if url == "https://ci/keys"));
    let [rule] = &issuer.rules[..] else { panic!() };
    assert_eq!(rule.when.len(), 2);
    assert_eq!(rule.permissions, [Permission::Push, Permission::Force]);
    assert_eq!(rule.limits.bytes, Some(1 << 30));
    let [root, stable] = &conf.repos[..] else {
        panic!()
    };
    assert_eq!(
        (root.name.as_str(), root.path.as_path()),
        ("", Path::new("/srv/root"))
    );
    assert_eq!(stable.name, "os/stable");
    assert_eq!(stable.receive.len(), 2);
    assert_eq!(stable.webhooks[0].secret, b"quiet");
    let retention = stable.retention.as_ref().unwrap();
    assert_eq!(
        (retention.rules.len(), retention.grace.as_secs()),
        (2, 3600)
    );
    for (word, expected) in [("read", Anonymous::All), ("none", Anonymous::Nothing)] {
        let conf = ServeConf::parse(&format!("anonymous: {word}\n")).unwrap();
        assert_eq!(conf.anonymous, Some(expected));
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (text, fault) in [
        ("lisen: x\n", "lisen is not a known key"),
        ("listen: [x]\n", "'x' is no address"),
        ("tls_key: /x\n", "go together"),
        ("insecure_http: maybe\n", "insecure_http must be yes or no"),
        ("repos: {a: {}}\n", "repos.a.path is missing"),
        (
            "repos: {a: {path: /x, refs: []}}\n",
            "repos.a.refs is not a known key",
        ),
        ("repos: {a/../b: {path: /x}}\n", "cannot be a part of a URL"),
        ("repos: {api: {path: /x}}\n", "cannot be a part of a URL"),
        (
            "repos: {a: {path: /x, retention: {x: {}}}}\n",
            "retention of x says nothing",
        ),
        (
            "repos: {a: {path: /x, retention: {x: {keep_last: some}}}}\n",
            "keep_last must be a number",
        ),
        (
            "issuers: [{keys: http://far/keys}]\n",
            "neither https nor a file",
        ),
        (
            "issuers: [{keys: http://localhost.evil/keys}]\n",
            "neither https nor a file",
        ),
        (
            "issuers: [{keys: /k, issuer: i, audience: a, rules: [{permissions: [admin], refs: [a]}]}]\n",
            "for all repositories and refs",
        ),
        (
            "issuers: [{keys: /k, issuer: 'i#j', audience: a}]\n",
            "must not have a # in it",
        ),
        (
            "issuers: [{keys: /k, issuer: i, audience: a, rules: [{permissions: [fly]}]}]\n",
            "'fly'",
        ),
        (
            "repos: {a: {path: /x, webhooks: [{url: http://x/, secret_file: /dev/null}]}}\n",
            "/dev/null is empty",
        ),
        ("anonymous: [none, app/*]\n", "stand alone"),
        ("push_lifetime: soon\n", "push_lifetime must be a time"),
        ("[]\n", "must be a map"),
    ] {
        let error = ServeConf::parse(text).unwrap_err();
        assert!(error.contains(fault), "{text}: {error}");
    }
}

#[test]
fn where_to_listen() {
    for (text, meant) in [
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::]:443", "[::]:443"),
        ("localhost:0", "127.0.0.1:0"),
    ] {
        assert_eq!(address(text).unwrap().to_string(), meant);
    }
    for bad in [
        "",
        "80",
        ":80",
        "localhost",
        "localhost:x",
        "example.com:80",
    ] {
        let error = address(bad).unwrap_err();
        assert!(error.contains("such as 127.0.0.1:8080"), "{error}");
    }
}
