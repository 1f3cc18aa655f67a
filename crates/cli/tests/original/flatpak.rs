// SPDX-License-Identifier: MIT OR Apache-2.0
//! An app and its runtime: built by `flatpak build-export`, pushed through our receiver, which signs
//! them, then installed and updated by a stock `flatpak` over HTTP.

use std::fs;

use oxtree_testkit::{Flatpak, GpgHome, WebServer};

use crate::called;
use crate::fixture::{Fixture, original};

const APP: &str = Flatpak::APP;

#[test]
fn apps_install_and_update() {
    let fixture = Fixture::ours();
    let home = GpgHome::new();
    let [key, other] = ["server", "other"].map(|name| {
        let id = home.generate(&format!("{name}@example.com"), "rsa2048");
        let file = fixture.dir.path().join(name);
        let exported = home.run(&["--export", &id]).expect_ok();
        fs::write(&file, exported.stdout_bytes).expect("write");
        (id, file)
    });
    let conf = fixture
        .sshd
        .remote_home()
        .join(".config/ostree/ostree-receive.conf");
    fs::create_dir_all(conf.parent().expect("a parent")).expect("mkdir");
    let text = format!(
        "gpg_sign: [{}]\ngpg_homedir: {}\n",
        key.0,
        home.path().display()
    );
    fs::write(&conf, text).expect("write");
    let source = fixture.repo("source", "archive");
    let dest = fixture.repo("dest", "archive");
    let web = WebServer::serve(dest.path());
    Flatpak::export(fixture.dir.path(), &source, "one");
    fixture
        .push(called("ostree-push"), &source, &dest, &[])
        .expect_ok();
    // What flatpak makes on the server is there, and what came from the builder is known by it.
    let refs = ["app/org", "appstream/", "appstream2/", "runtime/org"];
    let made = dest.refs();
    assert!(
        refs.iter()
            .all(|start| made.iter().any(|name| name.starts_with(start))),
        "{made:?}"
    );
    assert!(dest.path().join("summary.sig").exists());
    let from = dest.ok("show", ["--print-metadata-key=xa.from_commit", APP]);
    assert_eq!(from.trim(), format!("'{}'", source.rev_parse(APP)));
    dest.fsck();

    let client = Flatpak::new();
    client.add_remote(&web.url(), &key.1).expect_ok();
    client.install();
    client.assert_has("one");
    // Somebody else's key is none.
    let refused = Flatpak::new().add_remote(&web.url(), &other.1);
    let error = refused.expect_failure().stderr();
    assert!(error.contains("public key not found"), "{error}");
    // The next versions come from the one pusher and the other.
    for (text, pusher) in [("two", called("ostree-push")), ("three", original())] {
        std::thread::sleep(std::time::Duration::from_secs(1));
        Flatpak::export(fixture.dir.path(), &source, text);
        let refs = dest.refs();
        let before = dest.rev_parse(APP);
        fixture.push(pusher, &source, &dest, &[]).expect_ok();
        assert_eq!(
            (dest.refs(), dest.rev_parse(&format!("{APP}^"))),
            (refs, before)
        );
        client.update();
        client.assert_has(text);
    }
    // Without the key, clients stay with what is signed, and the appstream with them.
    fs::remove_file(&conf).expect("remove");
    let made = |name: &String| name.starts_with("appstream") || name == "ostree-metadata";
    let kept = || {
        let refs = dest.refs().into_iter().filter(made);
        let refs: Vec<_> = refs.map(|name| (dest.rev_parse(&name), name)).collect();
        let files = ["summary", "summary.sig", "summary.idx", "summary.idx.sig"];
        (
            refs,
            files.map(|name| fs::read(dest.path().join(name)).expect("read")),
        )
    };
    let before = kept();
    std::thread::sleep(std::time::Duration::from_secs(1));
    Flatpak::export(fixture.dir.path(), &source, "four");
    let pushed = fixture.push(called("ostree-push"), &source, &dest, &[]);
    let said = pushed.expect_ok().stderr();
    assert!(said.contains("the summary stays as it was"), "{said}");
    assert!(kept() == before, "{said}");
    client.update();
    client.assert_has("three");
    dest.fsck();
}
