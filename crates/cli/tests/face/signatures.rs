// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures of commits and summaries: what ours makes the real one takes, what the real one makes
//! ours takes, and both say the same of what is not good.

use std::fs;
use std::os::unix::fs::MetadataExt;

use oxtree_gvariant::{Seq, text};
use oxtree_testkit::{GpgHome, Output, Tool, WebServer, assert_ed25519_signature, ed25519_keys};

use crate::side::{Side, ours};

/// A repository, a home of `gpg` with two keys, and a directory of keyrings that is trusted.
struct Signed {
    side: Side,
    gpg: GpgHome,
    keys: [String; 2],
}

impl Signed {
    fn new() -> Self {
        let gpg = GpgHome::new();
        gpg.set_time("20240229T235959");
        let keys = ["One <one@example.org>", "Two"].map(|user| gpg.generate(user, "ed25519"));
        let side = Side::new();
        fs::create_dir(side.path("trusted")).unwrap();
        let signed = Self { side, gpg, keys };
        signed.trust(&[&signed.keys[0], &signed.keys[1]]);
        signed
    }

    /// Trusts these keys only.
    fn trust(&self, keys: &[&str]) {
        let ring = self.gpg.export(keys);
        fs::write(self.side.path("trusted/ring.gpg"), ring).unwrap();
    }

    fn homedir(&self) -> String {
        format!("--gpg-homedir={}", self.gpg.path().display())
    }

    fn run(&self, tool: Tool, args: &[&str]) -> Output {
        tool.env("LC_ALL", "C.UTF-8")
            .env("OSTREE_GPG_HOME", self.side.path("trusted"))
            .dir(self.side.path("."))
            .run(args)
    }

    fn real(&self, args: &[&str]) -> Output {
        self.run(Tool::ostree(), args)
    }

    fn ours(&self, args: &[&str]) -> Output {
        self.run(ours("ostree"), args)
    }

    /// What both print about a commit.
    fn show(&self, rev: &str) -> String {
        let args = ["show", "--repo=repo", rev];
        let (real, ours) = (self.real(&args).expect_ok(), self.ours(&args).expect_ok());
        assert_eq!(ours.stdout(), real.stdout());
        ours.stdout()
    }

    /// The real one pulls `main` over HTTP, with these keys in the remote's keyring.
    fn pull(&self, name: &str, keys: &[&str], options: &[&str]) -> Output {
        let web = WebServer::serve(self.side.repo());
        let repo = format!("--repo={name}");
        self.real(&["init", &repo, "--mode=archive"]).expect_ok();
        let add = ["remote", "add", &repo, "o", &web.url()];
        self.real(&[&add[..], options].concat()).expect_ok();
        let ring = self.side.path(&format!("{name}.ring"));
        fs::write(&ring, self.gpg.export(keys)).unwrap();
        let import = [
            "remote",
            "gpg-import",
            &repo,
            "o",
            "-k",
            ring.to_str().unwrap(),
        ];
        self.real(&import).expect_ok();
        self.real(&["pull", &repo, "o", "main"])
    }
}

#[test]
fn the_real_one_takes_our_gpg_signatures() {
    let signed = Signed::new();
    let [one, two] = &signed.keys;
    let sign = format!("--gpg-sign={one}");
    let commit = [
        "commit",
        "--repo=repo",
        "-b",
        "main",
        "--tree=dir=tree",
        &sign,
    ];
    signed
        .ours(&[&commit[..], &[&signed.homedir()]].concat())
        .expect_ok();
    let text = signed.show("main");
    assert!(text.contains("Found 1 signature:\n"), "{text}");
    assert!(
        text.contains("Good signature from \"One <one@example.org>\""),
        "{text}"
    );

    signed.pull("good", &[one], &[]).expect_ok();
    let error = signed.pull("bad", &[two], &[]).expect_failure().stderr();
    assert!(error.contains("public key not found"), "{error}");

    // Another signature, and then that one again.
    let again = ["gpg-sign", "--repo=repo", &signed.homedir(), "main", two];
    signed.ours(&again).expect_ok();
    let text = signed.show("main");
    assert!(text.contains("Found 2 signatures:\n"), "{text}");
    let error = signed.ours(&again).expect_failure().stderr();
    assert_eq!(
        error,
        format!("error: Commit is already signed with GPG key {two}\n")
    );
    signed.pull("both", &[two], &[]).expect_ok();

    // Each is deleted by a name of its own.
    for (key, left) in [(one.as_str(), "Found 1 signature:\n"), (&two[24..], "")] {
        let delete = ["gpg-sign", "--repo=repo", "--delete", "main", key];
        let said = signed.ours(&delete).expect_ok().stdout();
        assert_eq!(said, "Signatures deleted: 1\n");
        let text = signed.show("main");
        assert_eq!(text.contains("signature"), !left.is_empty(), "{text}");
        assert!(text.contains(left), "{text}");
    }
    let error = signed.pull("none", &[two], &[]).expect_failure().stderr();
    assert!(error.contains("no signatures found"), "{error}");

    let unknown = [
        "gpg-sign",
        "--repo=repo",
        &signed.homedir(),
        "main",
        "DEADBEEF",
    ];
    let error = signed.ours(&unknown).expect_failure().stderr();
    assert_eq!(error, signed.real(&unknown).expect_failure().stderr());
    for wrong in [
        &["gpg-sign", "--repo=repo"][..],
        &["gpg-sign", "--repo=repo", "main"],
    ] {
        let last = |output: Output| output.stderr().lines().last().map(str::to_owned);
        assert_eq!(last(signed.ours(wrong)), last(signed.real(wrong)));
    }
}

#[test]
fn both_say_the_same_of_signatures() {
    let signed = Signed::new();
    let [one, two] = &signed.keys;
    let subkey = signed.gpg.add_subkey(two, "rsa2048", "never");
    let commit = signed.side.commit("main", &["--subject=s"]);
    let sign = [
        "gpg-sign",
        "--repo=repo",
        &signed.homedir(),
        "main",
        one,
        two,
    ];
    signed.real(&sign).expect_ok();

    signed.trust(&[one, two]);
    let text = signed.show("main");
    assert!(
        text.contains(&format!("RSA key ID {}", &subkey[24..])),
        "{text}"
    );
    assert!(
        text.contains(&format!("Primary key ID {}", &two[24..])),
        "{text}"
    );
    assert_eq!(signed.show(&commit), text);
    signed.trust(&[one]);
    assert!(signed.show("main").contains("public key not found"));

    // The keyring of a remote, and no other.
    let add = ["remote", "add", "--repo=repo", "o", "http://example.org/"];
    signed.real(&add).expect_ok();
    let ring = signed.side.path("two.gpg");
    fs::write(&ring, signed.gpg.export(&[two])).unwrap();
    let import = ["remote", "gpg-import", "--repo=repo", "o", "-k", "two.gpg"];
    signed.real(&import).expect_ok();
    let both = |args: &[&str]| {
        let (real, ours) = (signed.real(args), signed.ours(args));
        assert_eq!(
            (ours.code, ours.stdout()),
            (real.code, real.stdout()),
            "{args:?}"
        );
        ours.stdout()
    };
    let text = both(&["show", "--repo=repo", "main"]);
    assert_eq!(text.matches("Good signature").count(), 2, "{text}");
    let text = both(&["show", "--repo=repo", "--gpg-verify-remote=o", "main"]);
    assert_eq!(text.matches("Good signature").count(), 1, "{text}");
    fs::remove_file(signed.side.repo().join("o.trustedkeys.gpg")).unwrap();

    // Expiry and revocation, of the key and of its subkey.
    signed.gpg.set_time("20240301T000000");
    let expire = |args: &[&str]| signed.gpg.run(args).expect_ok();
    expire(&["--quick-set-expire", one, "seconds=1"]);
    expire(&["--quick-set-expire", two, "60y"]);
    signed.trust(&[one, two]);
    let text = signed.show("main");
    assert!(
        text.contains("BAD signature from \"One <one@example.org>\"\n"),
        "{text}"
    );
    assert!(text.contains("  Key expired "), "{text}");
    assert!(text.contains("  Primary key expires "), "{text}");
    signed.gpg.revoke(two);
    signed.trust(&[one, two]);
    assert!(signed.show("main").contains("  Key revoked\n"));
}

#[test]
fn summaries_are_signed() {
    let signed = Signed::new();
    let [one, two] = &signed.keys;
    let sign = format!("--gpg-sign={one}");
    let homedir = signed.homedir();
    let commit = [
        "commit",
        "--repo=repo",
        "-b",
        "main",
        "--tree=dir=tree",
        &sign,
        &homedir,
    ];
    signed.ours(&commit).expect_ok();
    let update = ["summary", "--repo=repo", "-u"];
    let more = format!("--gpg-sign={two}");
    signed
        .ours(&[&update[..], &[&sign, &more, &homedir]].concat())
        .expect_ok();
    let stat = |name: &str| signed.side.repo().join(name).metadata().unwrap();
    let (summary, signatures) = (stat("summary"), stat("summary.sig"));
    assert_eq!(
        (summary.mtime(), summary.mtime_nsec()),
        (signatures.mtime(), signatures.mtime_nsec())
    );
    let verify = ["--set=gpg-verify-summary=true"];
    signed.pull("good", &[one], &verify).expect_ok();
    // The second key has signed the summary, but not the commit.
    let error = signed
        .pull("half", &[two], &verify)
        .expect_failure()
        .stderr();
    assert!(error.contains("public key not found"), "{error}");
    // Another summary under the old signatures.
    let path = signed.side.repo().join("summary");
    let mut bytes = fs::read(&path).unwrap();
    let version = bytes.iter().position(|byte| *byte == b'm').unwrap();
    bytes[version] = b'n';
    fs::write(&path, bytes).unwrap();
    let error = signed
        .pull("bad", &[one], &verify)
        .expect_failure()
        .stderr();
    assert!(error.contains("BAD signature"), "{error}");
    signed.ours(&update).expect_ok();
    assert!(!signed.side.repo().join("summary.sig").exists());
    // A key that there is not changes nothing.
    let before = fs::read(&path).unwrap();
    let unknown = [&update[..], &["--gpg-sign=DEADBEEF", &homedir]].concat();
    signed.ours(&unknown).expect_failure();
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn plain_keys() {
    let side = Side::new();
    ed25519_keys(&side.path("."));
    let key = side.path("public.pem");
    let commit = |args: &[&str]| {
        let words = ["commit", "--repo=repo", "-b", "main", "--tree=dir=tree"];
        side.ours(&[&words[..], args].concat())
    };
    let id = commit(&["--sign-from-file=secret"]).expect_ok().stdout();
    let id = id.trim();
    // OpenSSL says that the signature is of the commit object.
    let print = [
        "show",
        "--repo=repo",
        "--print-detached-metadata-key=ostree.sign.ed25519",
        id,
    ];
    let value = side.same(&[
        "show",
        "--print-detached-metadata-key=ostree.sign.ed25519",
        id,
    ]);
    // A signature that ends in a zero byte is printed as a string.
    let value = text::parse(value.stdout().trim()).unwrap();
    let bytes: &[u8] = value
        .as_ref()
        .as_::<Seq<'_, &[u8]>>()
        .unwrap()
        .get(0)
        .unwrap();
    let (first, rest) = id.split_at(2);
    let object = side.repo().join(format!("objects/{first}/{rest}.commit"));
    assert_ed25519_signature(&key, &object, bytes);
    let public = fs::read_to_string(side.path("public")).unwrap();
    let secret = fs::read_to_string(side.path("secret")).unwrap();
    let verify = |args: &[&str]| side.ours(&[&["sign", "--repo=repo", "--verify"], args].concat());
    let said = verify(&[id, &public]).expect_ok().stdout();
    assert!(
        said.starts_with("ed25519: Signature verified successfully with key '"),
        "{said}"
    );
    verify(&["--keys-file=public", id]).expect_ok();
    assert_eq!(
        verify(&[id, "AAAA"]).expect_failure().stderr(),
        "error: No valid signatures found\n"
    );
    verify(&["--keys-dir=.", id]).expect_failure();
    fs::create_dir(side.path("trusted.ed25519.d")).unwrap();
    fs::copy(side.path("public"), side.path("trusted.ed25519.d/x")).unwrap();
    verify(&["--keys-dir=.", id]).expect_ok();

    // spki with the same pair, on top of it.
    let spki = [
        "sign",
        "--repo=repo",
        "--sign-type=spki",
        "--keys-file=secret.pem",
        id,
    ];
    side.ours(&spki).expect_ok();
    let said = verify(&["-s", "spki", "--keys-file=public.pem", id]).expect_ok();
    assert!(
        said.stdout().starts_with("spki: Signature verified"),
        "{said:?}"
    );
    verify(&[id, &public]).expect_ok();
    side.real(&print).expect_ok();

    // Only what the key has made is deleted, and that once.
    let delete = ["sign", "--repo=repo", "--delete", id, &public];
    for count in [1, 0] {
        let said = side.ours(&delete).expect_ok().stdout();
        assert_eq!(said, format!("Signatures deleted: {count}\n"));
    }
    verify(&[id, &public]).expect_failure();
    verify(&["-s", "spki", "--keys-file=public.pem", id]).expect_ok();

    // Secret keys are in no message.
    for args in [
        &["sign", "--repo=repo", id, &secret[2..]][..],
        &["sign", "--repo=repo", "-v", id, &secret],
        &["summary", "--repo=repo", "-u", "--sign", &secret],
    ] {
        let output = side.ours(args);
        let all = output.stdout() + &output.stderr();
        assert!(!all.contains(&secret[4..30]), "{output:?}");
    }
    assert!(side.repo().join("summary.sig").exists());
    assert!(
        commit(&["--sign=x", "--sign-type=odd"])
            .expect_failure()
            .stderr()
            .contains("Requested signature type is not implemented")
    );
}

#[test]
fn dummies_are_for_tests() {
    let side = Side::new();
    let id = side.commit("main", &[]);
    let enabled = |tool: Tool| {
        tool.env("OSTREE_DUMMY_SIGN_ENABLED", "1")
            .dir(side.path("."))
    };
    let run = |words: &[&str]| {
        let real = enabled(Tool::ostree()).run(words);
        let ours = enabled(ours("ostree")).run(words);
        assert_eq!(
            (ours.code, ours.stdout()),
            (real.code, real.stdout()),
            "{words:?}"
        );
        ours
    };
    run(&["sign", "--repo=repo", "--sign-type=dummy", &id, "key"]).expect_ok();
    run(&[
        "sign",
        "--repo=repo",
        "-s",
        "dummy",
        "--verify",
        "main",
        "x",
        "key",
    ])
    .expect_ok();
    run(&[
        "sign",
        "--repo=repo",
        "-s",
        "dummy",
        "--verify",
        "main",
        "x",
    ])
    .expect_failure();
    run(&[
        "summary",
        "--repo=repo",
        "-u",
        "--sign=k",
        "--sign-type=dummy",
    ])
    .expect_ok();
    let raw = side.real(&[
        "show",
        "--repo=repo",
        "--raw",
        "--print-detached-metadata-key=ostree.sign.dummy",
        &id,
    ]);
    assert_eq!(
        raw.expect_ok().stdout(),
        "[[byte 0x6b, 0x65, 0x79], [0x6b, 0x65, 0x79]]\n"
    );
    side.same(&["sign", "-s", "dummy", &id, "key"]);
    side.same(&["sign", "-s", "dummy", "--verify", &id, "key"]);
    side.same(&["sign", "-s", "odd", &id, "key"]);
    side.same(&["sign", "-s", "dummy", &id]);
    side.same(&["sign"]);
}

/// Two who sign one commit at once: both signatures are there in the end.
#[test]
fn no_signature_is_lost() {
    let side = Side::new();
    let id = side.commit("main", &[]);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (side, id) = (&side, id.as_str());
            scope.spawn(move || {
                for step in 0..4 {
                    let key = format!("key{worker}{step}");
                    ours("ostree")
                        .env("OSTREE_DUMMY_SIGN_ENABLED", "1")
                        .dir(side.path("."))
                        .ok(["sign", "--repo=repo", "-s", "dummy", id, &key]);
                }
            });
        }
    });
    let print = [
        "show",
        "--print-detached-metadata-key=ostree.sign.dummy",
        &id,
    ];
    assert_eq!(
        side.same(&print)
            .stdout()
            .matches("0x6b, 0x65, 0x79")
            .count(),
        16
    );
}
