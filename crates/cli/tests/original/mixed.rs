// SPDX-License-Identifier: MIT OR Apache-2.0
//! One end ours, the other the real ostree-push 1.2.0, through a real sshd.

use std::fs;

use oxtree_testkit::{BinDir, GpgHome, Tool};

use crate::called;
use crate::fixture::{Fixture, original};

fn oxtree_push() -> Tool {
    called("oxtree").env("OXTREE_SSH_COMMAND", "ssh -F none")
}

/// Our pusher serves whatever it has as an archive, and the original makes of it what it always does.
#[test]
fn ours_to_the_original() {
    let fixture = Fixture::original();
    for mode in ["archive", "bare-user", "bare-user-only"] {
        let source = fixture.repo(&format!("from-{mode}"), mode);
        fixture.commit(&source, "main", 1, 100);
        fixture.commit(&source, "os/two", 2, 100);
        let dest = fixture.repo(&format!("to-{mode}"), "archive");
        // Nothing is written into the source: the original makes a summary there.
        let before = fs::metadata(source.path())
            .expect("stat")
            .modified()
            .expect("mtime");
        let output = fixture
            .push(called("ostree-push"), &source, &dest, &["-n"])
            .expect_ok();
        assert_eq!(dest.refs(), [""; 0], "{output:?}");
        let output = fixture
            .push(called("ostree-push"), &source, &dest, &[])
            .expect_ok();
        assert!(output.stderr().contains("Remote commits:"), "{output:?}");
        assert_eq!(dest.refs(), ["main", "os/two"]);
        dest.fsck();
        assert!(!source.path().join("summary").exists());
        let after = fs::metadata(source.path())
            .expect("stat")
            .modified()
            .expect("mtime");
        assert_eq!(before, after);
    }
    let source = fixture.repo("source", "bare-user");
    fixture.commit(&source, "main", 1, 100);
    let dest = fixture.repo("dest", "archive");
    let mut words = vec!["push".to_owned(), "--repo".to_owned()];
    words.push(source.path().display().to_string());
    words.extend(fixture.sshd.ssh_options());
    words.push(fixture.sshd.url(dest.path()));
    oxtree_push().run(&words).expect_ok();
    let first = dest.rev_parse("main");
    // Older: skipped without force, taken with it.
    fixture.commit(&source, "main", 2, 50);
    let output = oxtree_push().run(&words).expect_ok();
    assert!(
        output.stderr().contains("is not newer than current"),
        "{output:?}"
    );
    assert_eq!(dest.rev_parse("main"), first);
    oxtree_push()
        .run(words.iter().map(String::as_str).chain(["--force"]))
        .expect_ok();
    assert_eq!(dest.rev_parse("main^"), first);
    let output = oxtree_push().run(words.iter().map(String::as_str).chain(["--delete=main"]));
    assert!(output.expect_failure().stderr().contains("deletes no refs"));
}

/// The original's pusher, and our receiver: the same commits as between two originals.
#[test]
fn the_original_to_ours() {
    let ours = Fixture::ours();
    let source = ours.repo("source", "archive");
    let pushed = ours.commit(&source, "app/org.x/x86_64/stable", 1, 100);
    ours.commit(&source, "main", 2, 100);
    ours.commit(&source, "ostree-metadata", 3, 100);
    let theirs = Fixture::original();
    let [here, there] = [&ours, &theirs].map(|side| side.repo("dest", "archive"));
    // flatpak would make more refs.
    let no_update = "--command=ostree-receive-1 --no-update";
    for time in [0, 100, 200] {
        if time > 0 {
            ours.commit(&source, "main", 4, time);
        }
        let output = ours
            .push(original(), &source, &here, &[no_update])
            .expect_ok();
        theirs
            .push(original(), &source, &there, &[no_update])
            .expect_ok();
        assert_eq!(here.refs(), there.refs(), "{output:?}");
        for name in there.refs() {
            assert_eq!(here.rev_parse(&name), there.rev_parse(&name), "{name}");
        }
        if time == 100 {
            let text = output.stderr();
            assert!(
                text.contains("WARNING:otpush.receive:received main commit"),
                "{text}"
            );
        }
    }
    here.fsck();
    let shown = here.ok(
        "show",
        [
            "--print-metadata-key=xa.from_commit",
            "app/org.x/x86_64/stable",
        ],
    );
    assert_eq!(shown.trim(), format!("'{pushed}'"));
    // The summary is made, unless told otherwise.
    assert!(!here.path().join("summary").exists());
    ours.commit(&source, "os/new", 1, 300);
    ours.push(original(), &source, &here, &["os/new"])
        .expect_ok();
    assert!(here.ok("summary", ["-v"]).contains("os/new"));
    // What is not there fails as a whole.
    let asks = |url: &str, more: &[&str]| {
        let command = format!(
            "ostree-receive-1 {} {url} {}",
            here.path().display(),
            more.join(" ")
        );
        ours.sshd.ssh(&command)
    };
    for (url, reason) in [
        ("file:///srv/repo", "loopback"),
        ("http://192.0.2.1/", "loopback"),
        ("http://127.0.0.1:1/", "error"),
    ] {
        let output = asks(url, &[]).expect_failure();
        assert!(output.stderr().contains(reason), "{output:?}");
    }
}

/// The owner's rules hold at this door.
#[test]
fn signatures_and_hooks() {
    let fixture = Fixture::ours();
    let home = GpgHome::new();
    let key = home.generate("test@example.com", "ed25519");
    let keyring = fixture.dir.path().join("keys.asc");
    fs::write(
        &keyring,
        home.run(&["--armor", "--export", &key])
            .expect_ok()
            .stdout(),
    )
    .expect("write");
    let source = fixture.repo("source", "archive");
    let dest = fixture.repo("dest", "archive");
    let conf = fixture.dir.path().join("conf.yaml");
    let log = fixture.dir.path().join("audit.log");
    let seen = fixture.dir.path().join("seen");
    let hook = fixture.dir.path().join("hook");
    fs::write(
        &hook,
        format!(
            "#!/bin/sh\necho $OSTREE_RECEIVE_REPO $OSTREE_RECEIVE_REFS >{}\n",
            seen.display()
        ),
    )
    .expect("write");
    let executable: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&hook, executable).expect("chmod");
    let text = format!(
        "gpg_verify: yes\ngpg_trustedkeys: {}\ngpg_sign: [{key}]\ngpg_homedir: {}\nupdate_hook: {}\n\
         audit_log: {}\n",
        keyring.display(),
        home.path().display(),
        hook.display(),
        log.display(),
    );
    fs::write(&conf, text).expect("write");
    let command = format!(
        "--command=env OSTREE_RECEIVE_CONF={} ostree-receive-1",
        conf.display()
    );
    fixture.commit(&source, "main", 1, 100);
    // By both pushers: unsigned is refused, signed is taken, and signed anew.
    for pusher in [original, || called("ostree-push")] {
        let output = fixture.push(pusher(), &source, &dest, &[&command]);
        let output = output.expect_failure();
        assert!(
            output.stderr().contains("no signatures found"),
            "{output:?}"
        );
        assert_eq!(dest.refs(), [""; 0]);
    }
    let sign = format!("--gpg-homedir={}", home.path().display());
    for (pusher, name, seed) in [
        (original as fn() -> Tool, "main", 1),
        (|| called("ostree-push"), "os/b", 2),
    ] {
        fixture.commit(&source, name, seed, 200);
        source.ok("gpg-sign", [sign.as_str(), name, &key]);
        fixture
            .push(pusher(), &source, &dest, &[&command, name])
            .expect_ok();
        let home = home.path().display();
        let shown = dest.ok("show", [format!("--gpg-homedir={home}"), name.to_owned()]);
        assert!(shown.contains("Found 1 signature"), "{shown}");
        let told = fs::read_to_string(&seen).expect("the hook ran");
        assert_eq!(told, format!("{} {name}\n", dest.path().display()));
    }
    dest.fsck();
    let log = fs::read_to_string(&log).expect("the log");
    let results: Vec<String> = log
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("json");
            line["result"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(results, ["rejected", "rejected", "created", "created"]);
}

/// Between all ends but two originals: what hooks print and what the receiver warns of is seen by the pusher's
/// user, however quiet the pusher is.
#[test]
fn what_the_receiver_says_is_heard() {
    let (ours, theirs) = (Fixture::ours(), Fixture::original());
    let source = ours.repo("source", "archive");
    let hooks = BinDir::empty();
    hooks.script("hook", "echo to stdout; echo to stderr >&2");
    let conf = format!("update_hook: {}\n", hooks.path().join("hook").display());
    let pairs = [
        (called("ostree-push"), &ours),
        (original(), &ours),
        (called("ostree-push"), &theirs),
    ];
    for (at, (pusher, far)) in pairs.into_iter().enumerate() {
        let path = far.sshd.remote_home().join(".config/ostree");
        fs::create_dir_all(&path).expect("mkdir");
        fs::write(path.join("ostree-receive.conf"), &conf).expect("write");
        let dest = far.repo(&format!("dest-{at}"), "archive");
        let push = |seed: u64, time: u32| {
            ours.commit(&source, "main", seed, time);
            let output = far.push(pusher.clone(), &source, &dest, &["-q"]);
            let output = output.expect_ok();
            output.stdout() + &output.stderr()
        };
        let said = push(1, 200);
        for line in ["to stdout", "to stderr"] {
            assert!(said.lines().any(|said| said == line), "{at}: {said}");
        }
        // Older, and other content.
        let said = push(2, 100);
        let [old, new] = [&dest, &source].map(|repo| repo.rev_parse("main"));
        let told = format!(
            "WARNING:otpush.receive:received main commit {new} is not newer than current main commit {old}"
        );
        assert!(said.contains(&told), "{at}: {said}");
        assert!(!said.contains("to stdout"), "{at}: {said}");
    }
}
