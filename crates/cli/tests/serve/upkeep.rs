// SPDX-License-Identifier: MIT OR Apache-2.0
//! What those see who keep a server running.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::access::create;
use crate::fixture::{Fixture, Served, curl, oxtree, path, until};

#[test]
fn a_server_says_whether_it_is_ready_and_its_logs_can_be_moved_away() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let boss = create(&fixture, "boss", "--allow admin");
    let at = |name: &str| fixture.at(name);
    let conf = format!(
        "listen: 127.0.0.1:0\ntokens: {}\naccess_log: {}\naudit_log: {}\nshutdown_delay: 1h\n\
         repos: {{a/stable: {{path: {}}}}}\n",
        at("tokens.json").display(),
        at("access").display(),
        at("audit").display(),
        store.path().display(),
    );
    fs::write(at("conf"), conf).unwrap();
    let conf = at("conf");
    let server = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    let ready = || curl(&[&format!("{}readyz", server.url())]);
    assert_eq!(ready().status, 200);
    fs::rename(store.path(), at("away")).unwrap();
    let says = |status: u16, text: &str| {
        until(text, || {
            let answer = ready();
            answer.status == status && answer.text().contains(text)
        });
    };
    says(503, "the repository a/stable cannot be read");
    fs::rename(at("away"), store.path()).unwrap();
    says(200, "ok");
    let mode = |mode| fs::set_permissions(at("tokens.json"), PermissionsExt::from_mode(mode));
    fs::write(
        at("tokens.json"),
        format!("{} ", fixture.text("tokens.json")),
    )
    .unwrap();
    mode(0o644).unwrap();
    says(503, "the file with the tokens cannot be read");
    mode(0o600).unwrap();
    says(200, "ok");

    // Who has made which token, and who has revoked it.
    let bearer = format!("Authorization: Bearer {boss}");
    let tokens = format!("{}api/v1/tokens", server.url());
    let wish = r#"{"name":"new","permissions":["push"],"refs":["app/*"]}"#;
    assert_eq!(curl(&["-H", &bearer, "--json", wish, &tokens]).status, 201);
    let line: serde_json::Value = serde_json::from_str(&fixture.text("audit")).unwrap();
    assert_eq!(line["result"], "token-created");
    assert_eq!(
        [&line["identity"], &line["client"], &line["token"]],
        ["boss", "127.0.0.1", "new"]
    );
    assert_eq!(line["about"]["refs"][0], "app/*");
    assert!(line["about"].get("hash").is_none(), "{line}");
    for name in ["access", "audit"] {
        fs::rename(at(name), at(&format!("{name}.1"))).unwrap();
    }
    server.signal("HUP");
    until("new logs", || at("access").exists() && at("audit").exists());
    assert_eq!(
        curl(&["-X", "DELETE", "-H", &bearer, &format!("{tokens}/new")]).status,
        204
    );
    assert!(fixture.text("audit").contains("\"token-revoked\""));
    until("a line in the new log", || {
        fixture.text("access").contains("/api/v1/tokens/new")
    });

    // Told to end, it goes on while those are told who send it requests.
    server.signal("TERM");
    until("it says so", || ready().status == 503);
    let config = format!("{}a/stable/config", server.url());
    assert_eq!(curl(&[&config]).status, 200);
    assert!(server.stop());
}
