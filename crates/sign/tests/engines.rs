// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain keys against OpenSSL, in both directions.

use std::fs;
use std::path::{Path, PathBuf};

use oxtree_repo::sign::Signer;
use oxtree_sign::{Engine, Error, PublicKeys, SecretKey, encoding};
use oxtree_testkit::Tool;

const DATA: &[u8] = b"the bytes of a commit";

struct Pair {
    dir: tempfile::TempDir,
    /// Whether OpenSSL takes the bytes themselves, not their hash.
    raw: bool,
}

impl Pair {
    fn new(options: &[&str], raw: bool) -> Self {
        let pair = Self {
            dir: oxtree_testkit::temp_dir(),
            raw,
        };
        let openssl = |args: &[&str]| Tool::new("openssl").dir(pair.dir.path()).ok(args);
        openssl(&[&["genpkey", "-out", "secret.pem"], options].concat());
        openssl(&["pkey", "-in", "secret.pem", "-pubout", "-out", "public.pem"]);
        fs::write(pair.path("data"), DATA).unwrap();
        pair
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, args: &[&str]) -> bool {
        let tool = Tool::new("openssl").dir(self.dir.path());
        tool.run(args).code == Some(0)
    }

    fn openssl_signs(&self) -> Vec<u8> {
        let done = match self.raw {
            true => self.openssl(&[
                "pkeyutl",
                "-sign",
                "-rawin",
                "-inkey",
                "secret.pem",
                "-in",
                "data",
                "-out",
                "sig",
            ]),
            false => self.openssl(&[
                "dgst",
                "-sha256",
                "-sign",
                "secret.pem",
                "-out",
                "sig",
                "data",
            ]),
        };
        assert!(done);
        fs::read(self.path("sig")).unwrap()
    }

    fn openssl_verifies(&self, signature: &[u8]) -> bool {
        fs::write(self.path("sig"), signature).unwrap();
        match self.raw {
            true => self.openssl(&[
                "pkeyutl",
                "-verify",
                "-rawin",
                "-pubin",
                "-inkey",
                "public.pem",
                "-in",
                "data",
                "-sigfile",
                "sig",
            ]),
            false => self.openssl(&[
                "dgst",
                "-sha256",
                "-verify",
                "public.pem",
                "-signature",
                "sig",
                "data",
            ]),
        }
    }

    fn public(&self, engine: Engine) -> PublicKeys {
        let mut keys = PublicKeys::new(engine, false).unwrap();
        keys.add_file(&self.path("public.pem")).unwrap();
        keys
    }

    fn secret(&self) -> SecretKey {
        SecretKey::read(Engine::Spki, &self.path("secret.pem"), false)
            .unwrap()
            .remove(0)
    }
}

fn all() -> Vec<Pair> {
    let curve = |name| format!("ec_paramgen_curve:{name}");
    let ec = |name| Pair::new(&["-algorithm", "EC", "-pkeyopt", &curve(name)], false);
    let rsa = |bits: &str| {
        let bits = format!("rsa_keygen_bits:{bits}");
        Pair::new(&["-algorithm", "RSA", "-pkeyopt", &bits], false)
    };
    vec![
        Pair::new(&["-algorithm", "ED25519"], true),
        Pair::new(&["-algorithm", "ED448"], true),
        rsa("2048"),
        rsa("3072"),
        ec("P-256"),
        ec("P-384"),
        ec("P-521"),
    ]
}

#[test]
fn spki_as_openssl_has_it() {
    let pairs = all();
    for (at, pair) in pairs.iter().enumerate() {
        let keys = pair.public(Engine::Spki);
        let theirs = pair.openssl_signs();
        let said = keys.verify(DATA, &[b"none", &theirs]).unwrap();
        assert!(
            said.starts_with("spki: Signature verified successfully with key '30"),
            "{said}"
        );
        let ours = pair.secret().sign(DATA, &[]).unwrap();
        assert!(pair.openssl_verifies(&ours), "pair {at}");
        keys.verify(DATA, &[&ours]).unwrap();

        keys.verify(b"other bytes", &[&ours]).unwrap_err();
        let other = &pairs[(at + 1) % pairs.len()];
        other
            .public(Engine::Spki)
            .verify(DATA, &[&ours])
            .unwrap_err();
        for flip in (0..ours.len()).step_by(7) {
            let mut ours = ours.clone();
            ours[flip] ^= 1;
            keys.verify(DATA, &[&ours]).unwrap_err();
            keys.verify(DATA, &[&ours[..flip]]).unwrap_err();
        }
    }
}

#[test]
fn spki_keys_that_are_none() {
    let small = Pair::new(
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
        false,
    );
    let curve = "ec_paramgen_curve:secp256k1";
    let odd = Pair::new(&["-algorithm", "EC", "-pkeyopt", curve], false);
    for pair in [small, odd] {
        let mut keys = PublicKeys::new(Engine::Spki, false).unwrap();
        let error = keys.add_file(&pair.path("public.pem")).unwrap_err();
        assert!(matches!(error, Error::NoKeysInFile { .. }), "{error}");
        let secret = SecretKey::read(Engine::Spki, &pair.path("secret.pem"), false);
        assert!(matches!(secret, Err(Error::SecretKey { .. })));
    }
    // A secret key is no public one, and the other way round.
    let pair = Pair::new(&["-algorithm", "ED25519"], true);
    let mut keys = PublicKeys::new(Engine::Spki, false).unwrap();
    keys.add_file(&pair.path("secret.pem")).unwrap_err();
    SecretKey::read(Engine::Spki, &pair.path("public.pem"), false).unwrap_err();
    // Each byte of a key matters, or at least harms nobody.
    let text = fs::read_to_string(pair.path("public.pem")).unwrap();
    let der = encoding::entries(&text).remove(0).key.unwrap();
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut der = der.to_vec();
            der[at] ^= 1 << bit;
            let _ = keys.add(&encoding::to_base64(&der));
        }
        assert!(keys.add(&encoding::to_base64(&der[..at])).is_err());
    }
    let forged = pair.openssl_signs();
    keys.verify(b"other bytes", &[&forged]).unwrap_err();
}

/// The seed and the public key of a pair, as libostree has them.
fn plain(pair: &Pair) -> (String, String) {
    let tail = |name: &str| {
        let text = fs::read_to_string(pair.path(name)).unwrap();
        let der = encoding::entries(&text).remove(0).key.unwrap();
        der[der.len() - 32..].to_vec()
    };
    let (seed, public) = (tail("secret.pem"), tail("public.pem"));
    let secret = encoding::to_base64(&[seed, public.clone()].concat());
    (secret, encoding::to_base64(&public))
}

#[test]
fn ed25519_as_openssl_has_it() {
    let pair = Pair::new(&["-algorithm", "ED25519"], true);
    let (secret, public) = plain(&pair);
    let secret = SecretKey::parse(Engine::Ed25519, &secret, false).unwrap();
    let ours = secret.sign(DATA, &[]).unwrap();
    assert!(pair.openssl_verifies(&ours));
    assert_eq!(ours, pair.openssl_signs());
    let mut keys = PublicKeys::new(Engine::Ed25519, false).unwrap();
    keys.add(&public).unwrap();
    keys.add(&public).unwrap();
    let said = keys.verify(DATA, &[&ours]).unwrap();
    assert!(said.starts_with("ed25519: Signature verified successfully with key '"));
    let error = keys.verify(b"x", &[&ours]).unwrap_err().to_string();
    assert!(
        error.starts_with("ed25519: Signature couldn't be verified with: key '"),
        "{error}"
    );
    let error = keys
        .verify(b"x", &[&ours[..], &ours, &ours, &ours])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "ed25519: Signature couldn't be verified; tried 4 keys"
    );
    assert!(!format!("{secret:?}").contains("key:"));
    for bad in ["", "!", "AAAA", &encoding::to_base64(&[0; 64])] {
        keys.add(bad).unwrap_err();
        SecretKey::parse(Engine::Ed25519, bad, false).unwrap_err();
    }
}

#[test]
fn files_and_directories_of_keys() {
    let pair = Pair::new(&["-algorithm", "ED25519"], true);
    let signature = pair.openssl_signs();
    let (_, public) = plain(&pair);
    let other = plain(&Pair::new(&["-algorithm", "ED25519"], true)).1;
    let dir = pair.dir.path();
    let load = || {
        let mut keys = PublicKeys::new(Engine::Ed25519, false).unwrap();
        keys.add_dirs(&[Path::new("/nonexistent"), dir])?;
        keys.verify(DATA, &[&signature])
    };
    assert!(matches!(load(), Err(Error::NoKeys("ed25519"))));
    fs::create_dir(dir.join("trusted.ed25519.d")).unwrap();
    fs::write(dir.join("trusted.ed25519"), format!("nonsense\n{other}\n")).unwrap();
    assert!(matches!(load(), Err(Error::NotVerified { .. })));
    fs::write(dir.join("trusted.ed25519.d/x"), &public).unwrap();
    load().unwrap();
    fs::write(dir.join("revoked.ed25519"), &public).unwrap();
    assert!(matches!(load(), Err(Error::NotVerified { .. })));
    fs::remove_file(dir.join("revoked.ed25519")).unwrap();
    fs::create_dir(dir.join("revoked.ed25519.d")).unwrap();
    fs::write(
        dir.join("revoked.ed25519.d/x"),
        format!("{other}\n{public}"),
    )
    .unwrap();
    assert!(matches!(load(), Err(Error::NotVerified { .. })));

    let mut keys = PublicKeys::new(Engine::Ed25519, false).unwrap();
    assert!(matches!(keys.add_file(dir), Err(Error::NotAFile(_))));
    fs::write(dir.join("empty"), "").unwrap();
    let error = keys.add_file(&dir.join("empty")).unwrap_err();
    assert!(matches!(error, Error::NoKeysInFile { .. }), "{error}");
}

#[test]
fn dummies_have_to_be_switched_on() {
    assert!(matches!(
        PublicKeys::new(Engine::Dummy, false),
        Err(Error::DummyDisabled)
    ));
    assert!(matches!(
        SecretKey::parse(Engine::Dummy, "x", false),
        Err(Error::DummyDisabled)
    ));
    let secret = SecretKey::parse(Engine::Dummy, "x", true).unwrap();
    let mut keys = PublicKeys::new(Engine::Dummy, true).unwrap();
    keys.add("x").unwrap();
    let signature = secret.sign(DATA, &[]).unwrap();
    assert_eq!(signature, b"x");
    assert_eq!(
        keys.verify(DATA, &[&signature]).unwrap(),
        "dummy: Signature verified"
    );
    keys.verify(DATA, &[b"y"]).unwrap_err();
}
