// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys, their types and defaults.

use super::*;

/// `Config: defaults`, `load_none`, `RepoConfig.defaults`.
#[test]
fn defaults() {
    let site = Site::new();
    let config = site.config(CommandLine::default()).unwrap();
    let expected = ReceiveConfig {
        repo: site.at("root/path/repo"),
        confined: None,
        gpg_sign: Vec::new(),
        gpg_homedir: None,
        gpg_verify: false,
        gpg_trustedkeys: None,
        sign_type: "ed25519".to_owned(),
        sign_keyfiles: Vec::new(),
        sign_verify: false,
        sign_trustedkeyfile: None,
        update: true,
        update_is_own: false,
        update_hook: Vec::new(),
        log_level: LogLevel::Info,
        force: false,
        dry_run: false,
        commits: None,
        legacy_protocol: true,
        urls: Urls::Loopback,
        max_future: 86_400,
        allow_force: None,
        allow_delete: None,
        receive_hook: Vec::new(),
        audit_log: None,
        identity: None,
    };
    assert_eq!(config, expected);
    // What says nothing changes nothing; null is a value where the default is null.
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "{}",
        "root: null\ngpg_homedir:\ngpg_trustedkeys: ~\n",
        "root: ''\nupdate_hook: ''\ngpg_trustedkeys: \"\"\n",
        "repos: {}",
        "allow_force: null",
        "allow_delete: null",
    ] {
        site.system(text);
        assert_eq!(
            site.config(CommandLine::default()).unwrap(),
            expected,
            "{text:?}"
        );
    }
}

/// `Config: load_valid`.
#[test]
fn every_key() {
    let site = Site::new();
    fs::write(site.at("k1"), "").unwrap();
    fs::write(site.at("k2"), "").unwrap();
    let dir = site.at("");
    let dir = dir.display();
    site.system(&format!(
        "root: {dir}/root\ngpg_sign: [01234567, 'AB CD', 1234ABCD]\ngpg_homedir: /g\n\
         gpg_verify: yes\ngpg_trustedkeys: {dir}k1\nsign_type: spki\nsign_keyfiles: [{dir}k1, {dir}k2]\n\
         sign_verify: On\nsign_trustedkeyfile: {dir}k2\nupdate: off\nupdate_hook: /h 'a b' $c\n\
         log_level: WARN\nforce: true\ndry_run: Yes\ncommits: copy\nlegacy_protocol: no\nurls: any\n\
         max_future: 2h\nallow_force: yes\nallow_delete: no\nreceive_hook: /r\naudit_log: /a\n\
         identities: {{ci: {{refs: [main]}}}}\nrepos: {{x: {{}}}}\n"
    ));
    let mut conf = site.load().unwrap();
    let config = conf.for_repo(Path::new("path/repo"), Some("ci"), CommandLine::default());
    let config = config.unwrap();
    assert_eq!(level(&mut conf, LogLevel::Warning), [""; 0]);
    assert_eq!(config.repo, site.at("root/path/repo"));
    assert_eq!(config.gpg_sign, ["01234567", "AB CD", "1234ABCD"]);
    assert_eq!(config.gpg_homedir.as_deref(), Some(Path::new("/g")));
    assert_eq!(config.gpg_trustedkeys, Some(site.at("k1")));
    assert_eq!(config.sign_keyfiles, [site.at("k1"), site.at("k2")]);
    assert_eq!(config.sign_trustedkeyfile, Some(site.at("k2")));
    assert_eq!((config.sign_type.as_str(), config.update), ("spki", false));
    assert_eq!(config.update_hook, ["/h", "a b", "$c"]);
    assert_eq!(config.log_level, LogLevel::Warning);
    assert!(config.gpg_verify && config.sign_verify && config.force && config.dry_run);
    assert_eq!(
        (config.commits, config.urls),
        (Some(Commits::Copy), Urls::Any)
    );
    assert!(!config.legacy_protocol && config.allow_force == Some(true));
    assert_eq!(config.allow_delete, Some(false));
    assert_eq!(
        (config.max_future, config.receive_hook),
        (7200, vec!["/r".to_owned()])
    );
    assert_eq!(config.audit_log.as_deref(), Some(Path::new("/a")));
    assert!(config.identity.unwrap().may_write("main"));
}

/// `Config: invalid`: the types, in the original's words. The file is named, too.
#[test]
fn wrong_types() {
    let site = Site::new();
    let must = |key: &str, class: &str, found: &str| {
        format!("{key} must be an instance of <class '{class}'>, but found <class '{found}'>")
    };
    for (text, error) in [
        ("root: 1", must("root", "str", "int")),
        ("root: yes", must("root", "str", "bool")),
        ("gpg_sign: key", must("gpg_sign", "list", "str")),
        ("gpg_sign:", must("gpg_sign", "list", "NoneType")),
        ("gpg_homedir: []", must("gpg_homedir", "str", "list")),
        ("gpg_verify: 'yes'", must("gpg_verify", "bool", "str")),
        ("gpg_verify: 1", must("gpg_verify", "bool", "int")),
        (
            "gpg_trustedkeys: {}",
            must("gpg_trustedkeys", "str", "dict"),
        ),
        ("sign_type: null", must("sign_type", "str", "NoneType")),
        ("sign_keyfiles: {}", must("sign_keyfiles", "list", "dict")),
        ("sign_verify: null", must("sign_verify", "bool", "NoneType")),
        (
            "sign_trustedkeyfile: 1.5",
            must("sign_trustedkeyfile", "str", "float"),
        ),
        ("update: maybe", must("update", "bool", "str")),
        ("update_hook: [a]", must("update_hook", "str", "list")),
        ("repos: [a]", must("repos", "dict", "list")),
        ("repos:", must("repos", "dict", "NoneType")),
        (
            "log_level: 2026-01-02",
            must("log_level", "str", "datetime.date"),
        ),
        ("force: 0", must("force", "bool", "int")),
        ("dry_run: ''", must("dry_run", "bool", "str")),
        ("commits: [keep]", must("commits", "str", "list")),
        ("identities: []", must("identities", "dict", "list")),
        (
            "log_level: loud",
            "log_level: Unknown level: 'loud'; known are NOTSET, DEBUG, INFO, WARN, \
                             WARNING, ERROR, CRITICAL, FATAL"
                .to_owned(),
        ),
        (
            "commits: steal",
            "commits must be keep or copy, but found 'steal'".to_owned(),
        ),
        (
            "urls: all",
            "urls must be loopback or any, but found 'all'".to_owned(),
        ),
        (
            "max_future: soon",
            "max_future must be a time such as 90s, 5m, 24h or 0, but found 'soon'".to_owned(),
        ),
        (
            "update_hook: \"it's\"",
            "update_hook: No closing quotation in it's".to_owned(),
        ),
        (
            "gpg_sign: [[x]]",
            "gpg_sign: each item must be an instance of <class 'str'>, but found <class 'list'>"
                .to_owned(),
        ),
        (
            "gpg_sign: ['']",
            "gpg_sign: each item must be an instance of <class 'str'>, but found an empty one"
                .to_owned(),
        ),
        (
            "identities: {ci: {reffs: []}}",
            "identities.ci.reffs is not a known key".to_owned(),
        ),
    ] {
        site.system(text);
        let file = site.at("etc/ostree/ostree-receive.conf");
        assert_eq!(
            site.error(),
            format!("{error} in config file {}", file.display()),
            "{text:?}"
        );
    }
}

proptest! {
    /// Whatever is in the file, it is read or refused.
    #[test]
    fn any_file(text in "[-a-z:\\[\\]{}&*!|>'\"#%@`, \n0-9~<.\\\\]{0,80}") {
        let _ = yaml::parse(&text);
        let site = Site::new();
        let _ = site.system(&text).load();
    }

    #[test]
    fn any_bytes(text in proptest::collection::vec(any::<char>(), 0..60)) {
        let _ = yaml::parse(&text.into_iter().collect::<String>());
    }
}

/// The page explains every key, and its example is one.
#[test]
fn the_documentation() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/receive.md");
    let page = fs::read_to_string(page).unwrap();
    for key in &KEYS {
        assert!(
            page.contains(&format!("\n| `{}` | ", key.name)),
            "{}",
            key.name
        );
    }
    let example = page.split("```yaml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let site = Site::new();
    let conf = site.system(example).load();
    assert_eq!(level(&mut conf.unwrap(), LogLevel::Warning), [""; 0]);
}
