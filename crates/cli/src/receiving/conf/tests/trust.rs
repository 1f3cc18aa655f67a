// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys that count, and who pushes.

use super::*;

/// `receive_gpg_verify`, `receive_ed25519_verify`, `receive_ed25519_sign`: named keys have to be
/// there, others are looked for where they usually are.
#[test]
fn keys_to_verify_and_sign_with() {
    let site = Site::new();
    for (text, error) in [
        (
            "{gpg_verify: yes, gpg_trustedkeys: /no/k}",
            "gpg_trustedkeys keyring \"/no/k\" does not exist",
        ),
        (
            "{sign_verify: yes, sign_trustedkeyfile: /no/k}",
            "sign_trustedkeyfile keyfile \"/no/k\" does not exist",
        ),
        (
            "{sign_keyfiles: [/no/k]}",
            "sign_keyfiles keyfile \"/no/k\" does not exist",
        ),
    ] {
        assert_eq!(site.system(text).error(), error);
    }
    // Nobody needs what is not used.
    site.system("{gpg_trustedkeys: /no/k, sign_trustedkeyfile: /no/k}");
    assert_eq!(
        site.config(CommandLine::default()).unwrap().gpg_trustedkeys,
        None
    );
    let found = || {
        let config = site.config(CommandLine::default()).unwrap();
        (config.gpg_trustedkeys, config.sign_trustedkeyfile)
    };
    site.system("{gpg_verify: yes, sign_verify: yes, sign_type: spki}");
    assert_eq!(found(), (None, None));
    for dir in ["home", "etc"] {
        let keys = [
            "ostree-receive-trustedkeys.gpg",
            "ostree-receive-trustedkeyfile.spki",
        ];
        let [gpg, spki] = keys.map(|name| site.at(&format!("{dir}/ostree/{name}")));
        fs::write(&gpg, "").unwrap();
        fs::write(&spki, "").unwrap();
        assert_eq!(found(), (Some(gpg), Some(spki)));
    }
}

#[test]
fn who_pushes() {
    let site = Site::new();
    let ask = |who| {
        site.load()
            .unwrap()
            .for_repo(&site.at("root"), who, CommandLine::default())
    };
    assert_eq!(ask(None).unwrap().identity, None);
    assert!(
        ask(Some("ci"))
            .unwrap_err()
            .to_string()
            .contains("identity ci is not in")
    );
    site.system("allow_force: yes\nidentities: {ci: {dry_run_only: yes, allow_force: no}, al: }\n");
    assert!(ask(None).unwrap_err().to_string().contains("--identity"));
    assert!(ask(Some("cia")).is_err());
    let ci = ask(Some("ci")).unwrap();
    assert!(ci.dry_run && ci.allow_force == Some(false));
    let al = ask(Some("al")).unwrap();
    assert!(!al.dry_run && al.allow_force == Some(true) && !al.deletes());
    assert!(al.identity.unwrap().may_write("x"));
}

/// Who may not move a ref back may not delete it and push it again, unless that is said.
#[test]
fn no_way_around_force() {
    let site = Site::new();
    for (text, who, force, delete) in [
        ("", None, None, true),
        ("allow_force: yes", None, Some(true), true),
        ("allow_force: no", None, Some(false), false),
        (
            "allow_force: no\nallow_delete: yes",
            None,
            Some(false),
            true,
        ),
        ("allow_delete: no", None, None, false),
        ("identities: {ci: }", Some("ci"), Some(false), false),
        (
            "identities: {ci: {allow: [push, force]}}",
            Some("ci"),
            Some(true),
            false,
        ),
        (
            "identities: {ci: {allow: [push, delete]}}",
            Some("ci"),
            Some(false),
            true,
        ),
        (
            "allow_force: yes\nidentities: {ci: }",
            Some("ci"),
            Some(true),
            false,
        ),
        (
            "allow_delete: yes\nidentities: {ci: }",
            Some("ci"),
            Some(false),
            false,
        ),
        (
            "allow_force: no\nidentities: {ci: {allow: [push, delete]}}",
            Some("ci"),
            Some(false),
            false,
        ),
    ] {
        site.system(text);
        let config = site
            .load()
            .unwrap()
            .for_repo(&site.at("root"), who, CommandLine::default())
            .unwrap();
        assert_eq!(
            (config.allow_force, config.deletes()),
            (force, delete),
            "{text}"
        );
    }
    site.system("identities: {ci: }");
    let forced = CommandLine {
        force: true,
        ..CommandLine::default()
    };
    let error = site
        .load()
        .unwrap()
        .for_repo(&site.at("root"), Some("ci"), forced)
        .unwrap_err();
    assert!(
        error.to_string().contains("does not allow --force for ci"),
        "{error}"
    );
}
