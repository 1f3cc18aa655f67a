// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose signatures a receiver takes, beside the original's; and those that it makes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use oxtree_gvariant::{Dict, Seq, from_bytes};
use oxtree_testkit::{GpgHome, Output, Repo, WebServer, assert_ed25519_signature, ed25519_keys};

use crate::fixture::{Fixture, ORIGINAL, original};
use crate::legacy::{none, path, push_old};
use crate::{BINS, called};

/// What `ostree-receive-1` makes, over ssh, of a ref that is served. `programs`: where it is.
fn receive(
    fixture: &Fixture,
    programs: &Path,
    conf: &Path,
    dest: &Repo,
    web: &WebServer,
    name: &str,
) -> Output {
    fixture.sshd.ssh(&format!(
        "OSTREE_RECEIVE_CONF={} {}/ostree-receive-1 --no-update {} {}source {name}",
        conf.display(),
        programs.display(),
        dest.path().display(),
        web.url(),
    ))
}

/// Changes one bit of a commit's detached metadata, in the middle of a long signature.
fn flip(repo: &Repo, commit: &str) {
    let path = repo.object(commit, "commitmeta");
    let mut bytes = fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).expect("write");
}

/// Each kind of a key and a signature: ours and the original's receiver take the same, and the real
/// `ostree` says so of what is there.
#[test]
fn gpg_keys_as_the_original_takes_them() {
    let fixture = Fixture::original();
    let home = GpgHome::new();
    let key = |name: &str| home.generate(&format!("{name}@example.com"), "rsa2048");
    let [good, revoked, stranger, main] = ["good", "revoked", "stranger", "main"].map(key);
    let expired = home.generate_with("expired", "ed25519", "seconds=3", &[]);
    let subkey = home.add_subkey(&main, "ed25519", "never");
    let source = fixture.repo("source", "archive");
    let mut time = 100;
    let mut sign = |name: &str, keys: &[&str]| {
        time += 1;
        let commit = fixture.commit(&source, name, 1, time);
        let by = format!("--gpg-homedir={}", home.path().display());
        if !keys.is_empty() {
            source.ok("gpg-sign", [&[by.as_str(), name], keys].concat());
        }
        commit
    };
    let subkey = format!("{subkey}!");
    sign("expired", &[&expired]);
    sign("unsigned", &[]);
    sign("good", &[&good]);
    sign("revoked", &[&revoked]);
    sign("stranger", &[&stranger]);
    sign("subkey", &[&subkey]);
    sign("one-of-two", &[&stranger, &good]);
    let flipped = sign("flipped", &[&good]);
    flip(&source, &flipped);
    home.revoke(&revoked);
    source.ok("summary", ["-u"]);
    let keyring = fixture.dir.path().join("keys.gpg");
    let trusted = [&good, &revoked, &expired, &main].map(String::as_str);
    fs::write(&keyring, home.export(&trusted)).expect("write");
    let conf = fixture.dir.path().join("conf.yaml");
    let text = format!("gpg_verify: yes\ngpg_trustedkeys: {}\n", keyring.display());
    fs::write(&conf, text).expect("write");
    let web = WebServer::serve(fixture.dir.path());
    std::thread::sleep(Duration::from_secs(3));
    let sides = [(BINS.path(), "ours"), (&**ORIGINAL, "theirs")];
    let dests = sides.map(|(programs, name)| (programs, fixture.repo(name, "archive")));
    for (name, taken) in [
        ("unsigned", false),
        ("good", true),
        ("revoked", false),
        ("expired", false),
        ("stranger", false),
        ("subkey", true),
        ("one-of-two", true),
        ("flipped", false),
    ] {
        for (programs, dest) in &dests {
            let output = receive(&fixture, programs, &conf, dest, &web, name);
            assert_eq!(output.code, Some(i32::from(!taken)), "{name}: {output:?}");
            assert_eq!(
                dest.refs().iter().any(|there| there == name),
                taken,
                "{name}"
            );
        }
    }
    let [ours, theirs] = [0, 1].map(|at| &dests[at].1);
    for name in theirs.refs() {
        assert_eq!(ours.rev_parse(&name), theirs.rev_parse(&name), "{name}");
    }
}

/// Where there is no key, a signed summary stays, and the push is none the worse: by our pusher, by the original one, and
/// by that of before version 0.1.1.
#[test]
fn a_signed_summary_stays_without_its_key() {
    let fixture = Fixture::ours();
    let home = GpgHome::new();
    let key = home.generate("test@example.com", "ed25519");
    let source = fixture.repo("source", "archive");
    let dest = fixture.repo("dest", "archive");
    fixture.commit(&dest, "old", 1, 100);
    let home = format!("--gpg-homedir={}", home.path().display());
    dest.ok("summary", ["-u", &format!("--gpg-sign={key}"), &home]);
    let files = ["summary", "summary.sig"];
    let read = || files.map(|name| fs::read(dest.path().join(name)).expect("read"));
    let before = read();
    let pushers = [called("ostree-push"), original()];
    for (at, pusher) in pushers.into_iter().enumerate() {
        let name = format!("new-{at}");
        fixture.commit(&source, &name, 2, 200);
        source.ok("summary", ["-u"]);
        let output = fixture.push(pusher, &source, &dest, &[&name]).expect_ok();
        let said = output.stderr() + &output.stdout();
        assert!(said.contains("the summary stays as it was"), "{output:?}");
        assert!(dest.refs().contains(&name), "{output:?}");
        assert_eq!(read(), before);
    }
    fixture.commit(&source, "legacy", 3, 300);
    let output = push_old(&fixture, &source, &path(&dest), &["legacy"], none());
    let said = output.expect_ok();
    let said = said.stderr() + &said.stdout();
    assert!(said.contains("the summary stays as it was"), "{said}");
    assert_eq!(read(), before);
}

/// Debian's libostree knows no ed25519, so the referee is OpenSSL, which has made the keys and checks
/// what the receiver signs.
#[test]
fn ed25519_keys_in_and_out() {
    let fixture = Fixture::ours();
    let at = |name: &str| fixture.dir.path().join(name);
    for name in ["builder", "server", "stranger"] {
        fs::create_dir(at(name)).expect("mkdir");
        ed25519_keys(&at(name));
    }
    let source = fixture.repo("source", "archive");
    let dest = fixture.repo("dest", "archive");
    let sign = |name: &str, by: &str, time| {
        let commit = fixture.commit(&source, name, 1, time);
        let keys = format!("--keys-file={}", at(by).join("secret").display());
        called("oxtree")
            .repo(source.path())
            .ok("sign", [&keys, name]);
        commit
    };
    fixture.commit(&source, "unsigned", 1, 100);
    sign("good", "builder", 101);
    sign("stranger", "stranger", 102);
    let flipped = sign("flipped", "builder", 103);
    flip(&source, &flipped);
    // The default place of the keys that count.
    let conf = fixture.sshd.remote_home().join(".config/ostree");
    fs::create_dir_all(&conf).expect("mkdir");
    let public = at("builder").join("public");
    fs::copy(public, conf.join("ostree-receive-trustedkeyfile.ed25519")).expect("copy");
    let keys = at("server").join("secret");
    let text = format!("sign_verify: yes\nsign_keyfiles: [{}]\n", keys.display());
    fs::write(conf.join("ostree-receive.conf"), text).expect("write");
    for (name, taken) in [
        ("unsigned", false),
        ("stranger", false),
        ("flipped", false),
        ("good", true),
    ] {
        let output = fixture.push(called("ostree-push"), &source, &dest, &[name]);
        assert_eq!(output.code, Some(i32::from(!taken)), "{name}: {output:?}");
    }
    assert_eq!(dest.refs(), ["good"]);
    dest.fsck();
    let commit = dest.rev_parse("good");
    let detached = fs::read(dest.object(&commit, "commitmeta")).expect("read");
    let detached: Dict<'_> = from_bytes(&detached).expect("a dictionary");
    let signatures = detached.lookup("ostree.sign.ed25519").expect("signatures");
    let signatures: Seq<'_, &[u8]> = signatures.as_().expect("a list");
    // The server's comes after the builder's, where a copy is the same commit.
    let last = signatures.iter().last().expect("a signature");
    let key = at("server").join("public.pem");
    assert_ed25519_signature(&key, &dest.object(&commit, "commit"), last);
    assert!(dest.path().join("summary.sig").exists());
}
