// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories that the server cannot write to, and configuration that it cannot read. Both need another user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;

use oxtree_testkit::{Snapshot, Tool, is_root};
use serde_json::json;

use crate::fixture::{Fixture, Push, Served, curl, oxtree, path, wish};

const NOBODY: Option<u32> = Some(65534);

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives all that is below a folder to nobody.
fn give(path: &Path) {
    chown(path, NOBODY, NOBODY).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            give(&entry.path());
        }
    }
}

/// A server that runs as nobody; what it says goes to the file `log`.
fn serve(fixture: &Fixture, tool: &Tool, words: &[&str]) -> Served {
    let all = ["serve", "--listen", "127.0.0.1:0", "--allow-anonymous-push"];
    let mut command = tool.command(all.iter().chain(words));
    command.stderr(Stdio::from(fs::File::create(fixture.at("log")).unwrap()));
    Served::run(&mut command, 1)
}

fn status(url: &str) -> u16 {
    curl(&[url]).status
}

#[test]
fn a_repository_of_another_user_is_served_without_pushes() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    mode(&fixture.at(""), 0o755);
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let first = fixture.commit(&store, "os/main", 1);
    store.ok("summary", ["-u"]);
    fixture.commit(&source, "os/main", 2);
    // Notes of a server that ran as another user, and a folder that is not readable.
    for kind in ["jobs", "pushes"] {
        let notes = store.path().join(format!("state/oxtree-{kind}"));
        fs::create_dir_all(&notes).unwrap();
        fs::write(notes.join("derive"), "{\"refs\": [\"os/main\"]}").unwrap();
        mode(&notes, 0o700);
    }
    mode(&store.path().join("tmp"), 0o700);
    let before = Snapshot::of(store.path());
    let server = serve(&fixture, &oxtree().as_nobody(), &[path(store.path())]);
    let url = server.url();
    let client = Tool::ostree().repo(fixture.at("client")).init("archive");
    client.ok("remote", ["add", "--no-gpg-verify", "o", url]);
    client.ok("pull", ["--mirror", "o"]);
    assert_eq!(client.rev_parse("os/main"), first);

    let text = "the server cannot write to this repository, and only serves it";
    let open = |wish: &serde_json::Value| {
        let refused = Push::open(url, None, wish).err().expect("a refusal");
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.text().contains(text), "{refused:?}");
    };
    open(&wish(&source, "os/main", Some(&first)));
    open(&json!({"updates": [{"ref": "os/main", "old": first, "new": null}]}));
    open(&json!({"updates": [{"ref": "os/copy", "old": null, "new": first}]}));
    let from = format!("--repo={}", path(source.path()));
    let refused = oxtree()
        .run(["push", &from, "--force", url, "os/main"])
        .expect_failure();
    assert!(refused.stderr().contains(text), "{refused:?}");
    let old =
        json!({"refs": {"os/main": {"server": first, "client": source.rev_parse("os/main")}}});
    let queue = format!("{url}api/v1/queue");
    let refused = curl(&["--json", &old.to_string(), &queue]);
    assert_eq!(refused.status, 403, "{refused:?}");

    for (name, expected) in [
        ("readyz", 200),
        ("metrics", 200),
        ("api/v1/repo", 200),
        ("api/v1/info", 200),
        ("api/v1/pushes", 200),
        ("api/v1/pushes/x", 404),
        ("summary", 200),
    ] {
        assert_eq!(status(&format!("{url}{name}")), expected, "{name}");
    }
    let jobs = curl(&[&format!("{url}api/v1/jobs")]).json();
    assert_eq!(jobs["jobs"], json!([]));
    before.assert_unchanged(&Snapshot::of(store.path()));
    // Long enough for it to look for others' changes, of which there is one.
    let second = fixture.commit(&store, "os/other", 3);
    let after = Snapshot::of(store.path());
    std::thread::sleep(std::time::Duration::from_secs(12));
    after.assert_unchanged(&Snapshot::of(store.path()));
    assert_eq!(status(&format!("{url}refs/heads/os/other")), 200);
    assert_eq!(
        curl(&[&format!("{url}refs/heads/os/other")]).text().trim(),
        second
    );
    assert!(server.stop());
    let log = fixture.text("log");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("served read-only") && log.contains("Permission denied"),
        "{log}"
    );
}

/// A configuration that might restrict pushes never lets them through because it cannot be read, and nobody is kept
/// from reading by it.
#[test]
fn a_configuration_that_cannot_be_read_opens_nothing() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    mode(&fixture.at(""), 0o755);
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let first = fixture.commit(&store, "os/main", 1);
    fixture.commit(&source, "os/main", 2);
    give(store.path());
    let push = |server: &Served| {
        let push = Push::open(server.url(), None, &wish(&source, "os/main", Some(&first)));
        push.map(|push| push.ask("DELETE", "", &[]).status)
    };
    let config = |home: &str| {
        let folder = fixture.at(home).join("ostree");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("ostree-receive.conf");
        fs::write(&file, "gpg_verify: yes\n").unwrap();
        mode(&file, 0o600);
        file
    };
    let words = [path(store.path())];

    // The home directory of another user: it says nothing of this one.
    let file = config("other/.config");
    for shut in [&file, &fixture.at("other")] {
        mode(shut, 0o700);
        let tool = oxtree().as_nobody().env("HOME", fixture.at("other"));
        let server = serve(&fixture, &tool, &words);
        assert_eq!(push(&server).map_err(|answer| answer.text()), Ok(204));
        let log = fixture.text("log");
        assert!(
            log.contains("in the home directory of another user"),
            "{log}"
        );
        assert!(server.stop());
    }

    // A home of this user, with another user's file.
    config("own");
    chown(fixture.at("own"), NOBODY, NOBODY).unwrap();
    let tool = oxtree()
        .as_nobody()
        .env("XDG_CONFIG_HOME", fixture.at("own"));
    let server = serve(&fixture, &tool, &words);
    let refused = push(&server).expect_err("a refusal");
    assert_eq!(refused.status, 403, "{refused:?}");
    let text = refused.text();
    assert!(
        text.contains("cannot read the configuration of pushes"),
        "{text}"
    );
    assert!(!text.contains(path(&fixture.at(""))), "{text}");
    for name in ["config", "refs/heads/os/main", "readyz"] {
        assert_eq!(status(&format!("{}{name}", server.url())), 200, "{name}");
    }
    let log = fixture.text("log");
    assert!(
        log.contains("served without pushes") && log.contains("own/ostree"),
        "{log}"
    );
    assert!(server.stop());
    // A push over ssh is refused by it, too.
    let receive = tool.run(["receive", path(store.path())]).expect_failure();
    assert!(
        receive.stderr().contains("Permission denied"),
        "{receive:?}"
    );

    // One that was named has to be read.
    let named = tool.env("OSTREE_RECEIVE_CONF", config("named"));
    let failed = named.run(["serve", path(store.path())]).expect_failure();
    assert!(failed.stderr().contains("Permission denied"), "{failed:?}");
}
