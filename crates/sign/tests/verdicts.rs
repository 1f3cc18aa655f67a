// SPDX-License-Identifier: MIT OR Apache-2.0
//! What we say of GPG signatures is what `gpg --verify` says, at several times, but for what is on
//! purpose: weak hashes, small keys and signatures over text.

use std::fs;

use oxtree_sign::gpg::{self, Keyring, Verdict};
use oxtree_testkit::GpgHome;

const DATA: &[u8] = b"the bytes of a commit";

/// Days after now, in seconds.
const DAY: i64 = 86_400;
const TIMES: [i64; 4] = [0, 2 * DAY, 20 * DAY, 400 * DAY];

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs()).unwrap()
}

/// What `gpg` says with a keyring, at a time.
fn gpgs_verdict(keyring: &[u8], data: &[u8], signature: &[u8], at: i64) -> Verdict {
    let home = GpgHome::new();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    for (name, bytes) in [("ring", keyring), ("data", data), ("sig", signature)] {
        fs::write(path(name), bytes).unwrap();
    }
    if !keyring.is_empty() {
        // Some of them are of no use, and so not imported.
        let _ = home.run(&["--import", &path("ring")]);
    }
    // An exclamation mark would make the clock stand still; seconds do not matter here.
    let time = format!("--faked-system-time={at}");
    let output = home.run(&[
        &time,
        "--ignore-time-conflict",
        "--status-fd=1",
        "--verify",
        &path("sig"),
        &path("data"),
    ]);
    let output = output.stdout();
    let mut verdict = Verdict::Bad("gpg says nothing");
    for line in output.lines() {
        let mut words = line.split(' ').skip(1);
        verdict = match words.next() {
            Some("GOODSIG") => Verdict::Good,
            Some("EXPKEYSIG") => Verdict::KeyExpired,
            Some("REVKEYSIG") => Verdict::KeyRevoked,
            Some("EXPSIG") => Verdict::SignatureExpired,
            Some("BADSIG") => Verdict::Bad("gpg says so"),
            Some("ERRSIG") if words.nth(5) == Some("9") => Verdict::KeyMissing,
            Some("ERRSIG") => Verdict::Bad("gpg says so"),
            _ => continue,
        };
    }
    verdict
}

fn our_verdict(keyring: &[u8], data: &[u8], signature: &[u8], at: i64) -> Verdict {
    let mut ring = Keyring::new();
    ring.add_bytes(keyring).unwrap();
    let at = u64::try_from(at).unwrap();
    let reports = gpg::verify(ring.certificates(), data, &[signature], at).unwrap();
    assert_eq!(reports.len(), 1);
    reports[0].verdict
}

fn kind(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Bad(_) => Verdict::Bad(""),
        other => other,
    }
}

/// Both say the same, which is `expected` now.
fn same(what: &str, keyring: &[u8], data: &[u8], signature: &[u8], expected: Verdict) {
    let now = now();
    for after in TIMES {
        let ours = our_verdict(keyring, data, signature, now + after);
        let theirs = gpgs_verdict(keyring, data, signature, now + after);
        assert_eq!(kind(ours), kind(theirs), "{what} after {after} s: {ours:?}");
        if after == 0 {
            assert_eq!(kind(ours), kind(expected), "{what}");
        }
    }
}

#[test]
fn algorithms() {
    let home = GpgHome::new();
    for algorithm in ["rsa2048", "ed25519", "nistp256", "nistp384", "nistp521"] {
        let key = home.generate(algorithm, algorithm);
        let signature = home.sign(&key, DATA, &[]);
        let ring = home.export(&[&key]);
        let now = now();
        for (data, ring, expected) in [
            (DATA, &ring[..], Verdict::Good),
            (b"other bytes", &ring, Verdict::Bad("")),
            (DATA, &[], Verdict::KeyMissing),
        ] {
            let ours = our_verdict(ring, data, &signature, now);
            let theirs = gpgs_verdict(ring, data, &signature, now);
            assert_eq!(kind(ours), expected, "{algorithm}");
            assert_eq!(kind(theirs), expected, "{algorithm}");
        }
    }
}

#[test]
fn small_keys() {
    let home = GpgHome::new();
    for (algorithm, expected) in [
        ("rsa1024", Verdict::Bad("its key is too small")),
        ("dsa1024", Verdict::Bad("its key is too small")),
        ("dsa2048", Verdict::Good),
    ] {
        let key = home.generate(algorithm, algorithm);
        let signature = home.sign(&key, DATA, &["--digest-algo=SHA256"]);
        let ring = home.export(&[&key]);
        assert_eq!(gpgs_verdict(&ring, DATA, &signature, now()), Verdict::Good);
        assert_eq!(
            our_verdict(&ring, DATA, &signature, now()),
            expected,
            "{algorithm}"
        );
    }
    // A subkey counts by itself.
    let key = home.generate("large", "ed25519");
    let subkey = home.add_subkey(&key, "rsa1024", "never");
    let signature = home.sign(&format!("{subkey}!"), DATA, &[]);
    let ours = our_verdict(&home.export(&[&key]), DATA, &signature, now());
    assert_eq!(ours, Verdict::Bad("its key is too small"));
}

#[test]
fn expiry() {
    let home = GpgHome::new();
    let key = home.generate_with("short", "ed25519", "10d", &[]);
    let plain = home.sign(&key, DATA, &[]);
    same(
        "a key of ten days",
        &home.export(&[&key]),
        DATA,
        &plain,
        Verdict::Good,
    );

    let key = home.generate("long", "ed25519");
    let signature = home.sign(&key, DATA, &["--default-sig-expire=1d"]);
    let ring = home.export(&[&key]);
    same(
        "a signature of a day",
        &ring,
        DATA,
        &signature,
        Verdict::Good,
    );

    let subkey = home.add_subkey(&key, "ed25519", "10d");
    let signature = home.sign(&format!("{subkey}!"), DATA, &[]);
    let ring = home.export(&[&key]);
    same(
        "a subkey of ten days",
        &ring,
        DATA,
        &signature,
        Verdict::Good,
    );

    home.run(&["--quick-set-expire", &key, "1d"]).expect_ok();
    let ring = home.export(&[&key]);
    same(
        "a subkey of an expired key",
        &ring,
        DATA,
        &signature,
        Verdict::Good,
    );

    home.run(&["--quick-set-expire", &key, "0"]).expect_ok();
    let ring = home.export(&[&key]);
    same(
        "an expiry taken back",
        &ring,
        DATA,
        &signature,
        Verdict::Good,
    );
}

#[test]
fn revocation() {
    let home = GpgHome::new();
    let key = home.generate("primary", "ed25519");
    let subkey = home.add_subkey(&key, "ed25519", "never");
    let by_key = home.sign(&format!("{key}!"), DATA, &[]);
    let by_subkey = home.sign(&format!("{subkey}!"), DATA, &[]);
    let before = home.export(&[&key]);
    same("a subkey", &before, DATA, &by_subkey, Verdict::Good);

    home.run(&["--quick-add-uid", &key, "second"]).expect_ok();
    home.run(&["--quick-revoke-uid", &key, "second"])
        .expect_ok();
    let ring = home.export(&[&key]);
    same("a revoked user id", &ring, DATA, &by_key, Verdict::Good);

    let script = home.path().join("script");
    fs::write(&script, "key 1\nrevkey\ny\n0\n\ny\nsave\n").unwrap();
    let file = format!("--command-file={}", script.display());
    home.run(&[&file, "--no-batch", "--no-tty", "--edit-key", &key])
        .expect_ok();
    let ring = home.export(&[&key]);
    same(
        "a revoked subkey",
        &ring,
        DATA,
        &by_subkey,
        Verdict::KeyRevoked,
    );
    same(
        "the key of a revoked subkey",
        &ring,
        DATA,
        &by_key,
        Verdict::Good,
    );

    home.revoke(&key);
    let ring = home.export(&[&key]);
    same("a revoked key", &ring, DATA, &by_key, Verdict::KeyRevoked);
    same(
        "a subkey of a revoked key",
        &ring,
        DATA,
        &by_subkey,
        Verdict::KeyRevoked,
    );
}

/// An older copy of a key, and a newer one without what the older had: together they are the newer.
#[test]
fn copies_of_a_key_add_up() {
    let home = GpgHome::new();
    let key = home.generate("key", "ed25519");
    let signature = home.sign(&key, DATA, &[]);
    let before = home.export(&[&key]);
    home.revoke(&key);
    let after = home.export(&[&key]);
    for both in [
        [&before[..], &after].concat(),
        [&after[..], &before].concat(),
    ] {
        let verdict = our_verdict(&both, DATA, &signature, now());
        assert_eq!(verdict, Verdict::KeyRevoked);
    }
    let mut ring = Keyring::new();
    ring.add_bytes(&before).unwrap();
    let mut newer = Keyring::new();
    newer.add_bytes(&after).unwrap();
    assert_eq!(ring.import(&newer, &[]).unwrap(), 0);
    let verdict = our_verdict(&ring.to_bytes(), DATA, &signature, now());
    assert_eq!(verdict, Verdict::KeyRevoked);
}

#[test]
fn what_gpg_takes_and_we_do_not() {
    let home = GpgHome::new();
    let key = home.generate("key", "rsa2048");
    let ring = home.export(&[&key]);
    let now = now();
    for options in [
        &["--digest-algo=SHA1"][..],
        &["--digest-algo=RIPEMD160"],
        &["--textmode"],
        &["--set-notation=!odd@example.org=demand"],
    ] {
        let signature = home.sign(&key, DATA, options);
        let ours = our_verdict(&ring, DATA, &signature, now);
        assert!(matches!(ours, Verdict::Bad(_)), "{options:?}: {ours:?}");
    }
    for options in [
        &["--digest-algo=SHA224"][..],
        &["--digest-algo=SHA384"],
        &["--set-notation=harmless@example.org=x"],
    ] {
        let signature = home.sign(&key, DATA, options);
        let ours = our_verdict(&ring, DATA, &signature, now);
        assert_eq!(ours, Verdict::Good, "{options:?}");
    }
}

/// A key that came into being after the signature, or is still to come.
#[test]
fn the_order_of_times() {
    let home = GpgHome::new();
    let now = now();
    let later = format!("--faked-system-time={}", now + 100 * DAY);
    let key = home.generate_with("later", "ed25519", "never", &[&later]);
    let signature = home.sign(&key, DATA, &[&later]);
    let ring = home.export(&[&key]);
    let verdict = our_verdict(&ring, DATA, &signature, now);
    assert!(matches!(verdict, Verdict::Bad(_)), "{verdict:?}");
    let verdict = our_verdict(&ring, DATA, &signature, now + 101 * DAY);
    assert_eq!(verdict, Verdict::Good);
}

/// Whatever happens to a keyring or a signature on its way, the result is an answer, and it is no
/// good signature of other data.
#[test]
fn flipped_bits() {
    let home = GpgHome::new();
    let key = home.generate("key", "ed25519");
    home.add_subkey(&key, "ed25519", "never");
    let signature = home.sign(&key, DATA, &[]);
    let ring = home.export(&[&key]);
    let now = u64::try_from(now()).unwrap();
    let verify = |ring: &[u8], data: &[u8], signature: &[u8]| {
        let mut keyring = Keyring::new();
        keyring.add_bytes(ring).ok()?;
        let reports = gpg::verify(keyring.certificates(), data, &[signature], now).ok()?;
        for report in &reports {
            gpg::describe(report, "", now, |time| time.to_string());
        }
        gpg::list(keyring.certificates(), now, |time| time.to_string());
        reports.first().map(|report| report.verdict)
    };
    assert_eq!(verify(&ring, DATA, &signature), Some(Verdict::Good));
    for at in 0..ring.len() {
        let mut flipped = ring.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_ne!(verify(&flipped, b"other", &signature), Some(Verdict::Good));
        verify(&ring[..at], DATA, &signature);
    }
    for at in 0..signature.len() {
        for bit in 0..8 {
            let mut signature = signature.clone();
            signature[at] ^= 1 << bit;
            assert_ne!(verify(&ring, b"other", &signature), Some(Verdict::Good));
        }
        assert_ne!(verify(&ring, DATA, &signature[..at]), Some(Verdict::Good));
    }
}

/// The packets again, with nothing in the unhashed part of subkeys' bindings: that is where a
/// subkey's own signature is.
fn without_agreement(ring: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in gpg::split(ring).unwrap() {
        let body = packet.body;
        if (packet.tag, body[1]) != (2, 0x18) {
            out.extend_from_slice(packet.whole);
            continue;
        }
        let len = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let unhashed = 6 + len(4);
        let end = unhashed + 2 + len(unhashed);
        let body = [&body[..unhashed], &[0, 0], &body[end..]].concat();
        out.extend_from_slice(&[0xc2, u8::try_from(body.len()).unwrap()]);
        out.extend_from_slice(&body);
    }
    out
}

/// Who binds a stranger's key to his own does not get the stranger's signatures.
#[test]
fn a_subkey_has_to_agree() {
    let home = GpgHome::new();
    let key = home.generate("key", "ed25519");
    let subkey = home.add_subkey(&key, "ed25519", "never");
    let signature = home.sign(&format!("{subkey}!"), DATA, &[]);
    let ring = home.export(&[&key]);
    assert_eq!(our_verdict(&ring, DATA, &signature, now()), Verdict::Good);
    let ring = without_agreement(&ring);
    let ours = our_verdict(&ring, DATA, &signature, now());
    assert!(matches!(ours, Verdict::Bad(_)), "{ours:?}");
    // gpg does not even take such a subkey.
    let theirs = gpgs_verdict(&ring, DATA, &signature, now());
    assert_eq!(theirs, Verdict::KeyMissing);
}
