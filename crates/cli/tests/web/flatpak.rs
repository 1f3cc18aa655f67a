// SPDX-License-Identifier: MIT OR Apache-2.0
//! An app and its runtime, pushed over HTTP, signed by the server, and installed and updated by a stock `flatpak`:
//! from our server with and without TLS, and from nginx, which serves the same directory meanwhile.

use std::fs;

use oxtree_testkit::{Authority, Flatpak, GpgHome, Serve, WebServer};
use serde_json::Value;

use crate::fixture::{Fixture, OXTREE, push_ok};

#[test]
fn apps_install_and_update() {
    let fixture = Fixture::new();
    let home = GpgHome::new();
    let id = home.generate("server@example.com", "rsa2048");
    let key = fixture.at("key");
    let exported = home.run(&["--export", &id]).expect_ok();
    fs::write(&key, exported.stdout_bytes).expect("write");
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    let authority = Authority::new();
    let server = authority.issue("server", "IP:127.0.0.1");
    let (conf, log) = (fixture.at("serve.yaml"), fixture.at("access.log"));
    let listen = |key: &str| {
        let text = format!(
            "{key}: 127.0.0.1:0\nallow_anonymous_push: yes\naccess_log: {}\nrepos:\n  /:\n    path: {}\n    \
             receive: {{gpg_sign: [{id}], gpg_homedir: {}}}\n",
            log.display(),
            dest.path().display(),
            home.path().display()
        );
        let tls = format!(
            "tls_certificate: {}\ntls_key: {}\n",
            server.cert.display(),
            server.key.display()
        );
        fs::write(&conf, text + &tls).expect("write");
        let args = ["serve", "--config", conf.to_str().expect("UTF-8")];
        Serve::start(OXTREE, &args, fixture.at("serve.log"))
    };
    let (plain, secure) = (listen("listen"), listen("listen_tls"));
    let nginx = WebServer::serve(dest.path());

    Flatpak::export(fixture.at("").as_path(), &source, "one");
    push_ok(&source, plain.url(), &[]);
    let refs = dest.refs();
    for start in ["app/org", "appstream/", "appstream2/", "runtime/org"] {
        assert!(refs.iter().any(|name| name.starts_with(start)), "{refs:?}");
    }
    let by_tls = Flatpak::trusting(&authority.cert());
    let clients = [Flatpak::new(), by_tls, Flatpak::new()];
    for (client, url) in clients
        .iter()
        .zip([plain.url(), secure.url(), &nginx.url()])
    {
        client.add_remote(url, &key).expect_ok();
        client.install();
        client.assert_has("one");
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    Flatpak::export(fixture.at("").as_path(), &source, "two");
    // The other server of the same repository.
    let ca = format!("--cacert={}", authority.cert().display());
    push_ok(&source, secure.url(), &[&ca]);
    for client in &clients {
        client.update();
        client.assert_has("two");
    }
    dest.fsck();

    let lines = fs::read_to_string(&log).expect("the access log");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for protocol in ["HTTP/1.1", "HTTP/2.0"] {
        let fetched = lines.iter().filter(|line| {
            let path = line["path"].as_str().unwrap_or_default();
            line["protocol"] == protocol && line["status"] == 200 && path.ends_with(".filez")
        });
        assert!(fetched.count() > 2, "{protocol}");
    }
}
