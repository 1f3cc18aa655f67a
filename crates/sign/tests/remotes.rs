// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a remote's configuration demands of signatures.

use std::fs;
use std::path::{Path, PathBuf};

use oxtree_format::NewDetached;
use oxtree_format::detached::keys;
use oxtree_format::refs::RemoteName;
use oxtree_repo::sign::{Signer, Subject};
use oxtree_repo::{Mode, Repo};
use oxtree_sign::{Engine, SecretKey, Trust, Wanted, commit_verifier, encoding, summary_verifier};
use oxtree_testkit::{GpgHome, Tool};

const DATA: &[u8] = b"the bytes of a commit";

struct World {
    dir: tempfile::TempDir,
    trust: Trust,
}

impl World {
    fn new() -> Self {
        let dir = oxtree_testkit::temp_dir();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let trust = Trust {
            now: now.unwrap().as_secs(),
            show_time: |time| time.to_string(),
            gpg_dir: dir.path().join("trusted.gpg.d"),
            key_dirs: vec![dir.path().join("etc")],
            dummy: true,
        };
        fs::create_dir(&trust.gpg_dir).unwrap();
        Repo::create(&dir.path().join("repo"), Mode::Archive, None).unwrap();
        Self { dir, trust }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The repository with this in the section of the remote `o`.
    fn repo(&self, settings: &str) -> Repo {
        let config = format!(
            "[core]\nrepo_version=1\nmode=archive\n\n[remote \"o\"]\nurl=http://x\n{settings}\n"
        );
        fs::write(self.path("repo/config"), config).unwrap();
        Repo::open(self.path("repo")).unwrap()
    }

    /// What is said of a commit with these signatures; the empty text for a good one, [`None`] if
    /// nobody looks.
    fn said(&self, settings: &str, detached: &NewDetached) -> Option<String> {
        let repo = self.repo(settings);
        let verifier = match commit_verifier(&repo, &remote(), &self.trust, Wanted::default()) {
            Err(error) => return Some(error.to_string()),
            Ok(verifier) => verifier?,
        };
        let id = oxtree_format::CommitId(oxtree_format::Checksum::of(DATA));
        let verified = verifier.verify(Subject::Commit(id), DATA, Some(&detached.to_bytes()));
        Some(match verified {
            Ok(()) => String::new(),
            Err(error) => error.to_string().replace(&id.to_string(), "ID"),
        })
    }
}

fn remote() -> RemoteName {
    "o".parse().unwrap()
}

/// A secret and a public key of ed25519.
fn pair(dir: &Path) -> (SecretKey, String) {
    let openssl = |args: &[&str]| Tool::new("openssl").dir(dir).run(args).expect_ok();
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", "key.pem"]);
    let der = |more: &[&str]| {
        let words = [&["pkey", "-in", "key.pem", "-outform", "DER"], more].concat();
        let bytes = openssl(&words).stdout_bytes;
        bytes[bytes.len() - 32..].to_vec()
    };
    let (seed, public) = (der(&[]), der(&["-pubout"]));
    let secret = encoding::to_base64(&[seed, public.clone()].concat());
    (
        SecretKey::parse(Engine::Ed25519, &secret, false).unwrap(),
        encoding::to_base64(&public),
    )
}

fn signed(signers: &[&dyn Signer]) -> NewDetached {
    let mut detached = NewDetached::new();
    for signer in signers {
        let signature = signer.sign(DATA, &[]).unwrap();
        detached
            .add_signature(signer.metadata_key(), &signature)
            .unwrap();
    }
    detached
}

#[test]
fn gpg_is_asked_unless_it_is_switched_off() {
    let world = World::new();
    let gpg = GpgHome::new();
    let [one, two] = ["one", "two"].map(|user| gpg.generate(user, "ed25519"));
    let mut detached = NewDetached::new();
    detached
        .add_signature(keys::GPG, &gpg.sign(&one, DATA, &[]))
        .unwrap();
    assert_eq!(world.said("gpg-verify=false", &detached), None);
    assert_eq!(
        world.said("", &NewDetached::new()).unwrap(),
        "Commit ID: GPG verification enabled, but no signatures found (use gpg-verify=false in \
         remote config to disable)"
    );
    let missing = world.said("", &detached).unwrap();
    assert!(
        missing.starts_with("Commit ID: Signature made "),
        "{missing}"
    );
    assert!(
        missing.ends_with("Can't check signature: public key not found"),
        "{missing}"
    );

    // The ring of all remotes counts where the remote has none of its own.
    fs::write(world.trust.gpg_dir.join("all.gpg"), gpg.export(&[&one])).unwrap();
    assert_eq!(world.said("", &detached).unwrap(), "");
    let repo = world.repo("");
    repo.write_remote_keyring(&remote(), &gpg.export(&[&two]))
        .unwrap();
    assert_eq!(world.said("", &detached).unwrap(), missing);

    // gpgkeypath adds to it.
    let armored = gpg
        .run(&["--armor", "--export", &one])
        .expect_ok()
        .stdout_bytes;
    fs::create_dir(world.path("keys")).unwrap();
    fs::write(world.path("keys/one.asc"), armored).unwrap();
    let keys = world.path("keys").display().to_string();
    for good in [
        format!("gpgkeypath={keys}"),
        format!("gpgkeypath={keys}/"),
        format!("gpgkeypath={keys}/one.asc;"),
        format!("gpgkeypath={keys}/one.asc,{keys}"),
    ] {
        assert_eq!(world.said(&good, &detached).unwrap(), "", "{good}");
    }
    for (bad, why) in [
        (
            format!("gpgkeypath={keys}/none"),
            "none): No such file or directory",
        ),
        (
            format!("gpgkeypath=,{keys}"),
            "(): No such file or directory",
        ),
        (
            format!("gpgkeypath={keys},{keys};{keys}"),
            "contains more than one separator",
        ),
        ("gpg-verify=maybe".to_owned(), "gpg-verify"),
    ] {
        let said = world.said(&bad, &detached).unwrap();
        assert!(said.contains(why), "{bad}: {said}");
    }
    detached.add_signature(keys::GPG, b"garbage").unwrap();
    let said = world
        .said(&format!("gpgkeypath={keys}"), &detached)
        .unwrap();
    assert!(said.contains("GPG signature: "), "{said}");
}

#[test]
fn engines_are_asked_where_they_are_named() {
    let world = World::new();
    let (secret, public) = pair(world.dir.path());
    let (other, other_public) = pair(world.dir.path());
    let good = signed(&[&secret]);
    let ask = |settings: &str, detached: &NewDetached| {
        let said = world.said(&format!("gpg-verify=false\n{settings}"), detached);
        said.unwrap_or_else(|| "nobody asks".to_owned())
    };
    let key = format!("verification-ed25519-key={public}");
    assert_eq!(ask(&key, &signed(&[&other])), "nobody asks");
    assert_eq!(
        ask(&format!("sign-verify=false\n{key}"), &good),
        "nobody asks"
    );
    for engines in ["ed25519", "true", "ed25519;", "ed25519,ed25519"] {
        let settings = format!("sign-verify={engines}\n{key}");
        assert_eq!(ask(&settings, &good), "", "{engines}");
        assert_eq!(ask(&settings, &signed(&[&other, &secret])), "", "{engines}");
        let said = ask(&settings, &signed(&[&other]));
        assert!(
            said.starts_with("Can't verify commit: ed25519: Signature couldn't be verified with:"),
            "{said}"
        );
        assert_eq!(
            ask(&settings, &NewDetached::new()),
            "Can't verify commit: No signatures found"
        );
    }
    fs::write(world.path("file"), format!("{other_public}\n{public}\n")).unwrap();
    let file = world.path("file").display().to_string();
    let settings = format!("sign-verify=ed25519\nverification-ed25519-file={file}");
    assert_eq!(ask(&settings, &good), "");

    // One engine is enough.
    let settings = format!("sign-verify=ed25519,dummy\n{key}\nverification-dummy-key=k");
    assert_eq!(ask(&settings, &good), "");
    let dummy = SecretKey::parse(Engine::Dummy, "k", true).unwrap();
    assert_eq!(ask(&settings, &signed(&[&other, &dummy])), "");

    for (settings, why) in [
        (
            "sign-verify=ed25519",
            "No keys found for required signapi type ed25519",
        ),
        (
            "sign-verify=odd",
            "Requested signature type is not implemented",
        ),
        (
            "sign-verify=ed25519, ed25519",
            "Requested signature type is not implemented",
        ),
        ("sign-verify=true", "signature: ed25519: no keys loaded"),
        (
            "sign-verify=ed25519\nverification-ed25519-key=x",
            "Failed loading 'ed25519' keys",
        ),
        (
            "sign-verify=ed25519\nverification-ed25519-file=/x",
            "Failed loading 'ed25519' keys",
        ),
    ] {
        let said = ask(settings, &good);
        assert!(said.contains(why), "{settings}: {said}");
    }

    // The system's keys count where nothing is named, but not the revoked.
    fs::create_dir(world.path("etc")).unwrap();
    fs::write(world.path("etc/trusted.ed25519"), &public).unwrap();
    assert_eq!(ask("sign-verify=true", &good), "");
    fs::write(world.path("etc/revoked.ed25519"), &public).unwrap();
    assert_ne!(ask("sign-verify=true", &good), "");

    // Where both are asked for, both have to be content.
    let both = world
        .said(&format!("sign-verify=ed25519\n{key}"), &good)
        .unwrap();
    assert!(both.contains("GPG verification enabled"), "{both}");
}

#[test]
fn a_caller_may_want_something_else() {
    let world = World::new();
    let repo = world.repo("");
    let verifier = |wanted| commit_verifier(&repo, &remote(), &world.trust, wanted).unwrap();
    let wanted = |gpg| Wanted { gpg, sign: None };
    assert!(verifier(wanted(None)).is_some());
    assert!(verifier(wanted(Some(false))).is_none());
    let verifier = |wanted| summary_verifier(&repo, &remote(), &world.trust, wanted).unwrap();
    assert!(verifier(wanted(None)).is_none());
    let error = verifier(wanted(Some(true)))
        .unwrap()
        .verify(Subject::Summary, DATA, None)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "GPG verification enabled, but no signatures found"
    );
    let nobody: RemoteName = "nobody".parse().unwrap();
    let error = commit_verifier(&repo, &nobody, &world.trust, Wanted::default()).unwrap_err();
    assert_eq!(error.to_string(), "Remote \"nobody\" not found");
}
