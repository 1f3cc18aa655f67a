// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration beside what ostree-push 1.2.0 makes of the same files. Its messages were
//! recorded from it; its own tests of the same things are named.

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::config::Commits;
use super::*;

/// A system's and a user's directory, and a root with a repository in it.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for dir in [
            "etc/ostree",
            "home/ostree",
            "root/path/repo",
            "outside/repo",
        ] {
            fs::create_dir_all(site.at(dir)).unwrap();
        }
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        // The temporary directory may itself be behind a link.
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn places(&self) -> Places {
        Places {
            file: None,
            dirs: vec![self.at("etc/ostree"), self.at("home/ostree")],
        }
    }

    fn system(&self, text: &str) -> &Self {
        fs::write(self.at("etc/ostree/ostree-receive.conf"), text).unwrap();
        self
    }

    fn user(&self, text: &str) -> &Self {
        fs::write(self.at("home/ostree/ostree-receive.conf"), text).unwrap();
        self
    }

    fn load(&self) -> Result<Conf, ConfError> {
        Conf::load(self.places())
    }

    /// What holds for the repository in the root, which is named absolutely.
    fn config(&self, command_line: CommandLine) -> Result<ReceiveConfig, ConfError> {
        self.load()?
            .for_repo(&self.at("root/path/repo"), None, command_line)
    }

    fn error(&self) -> String {
        self.config(CommandLine::default()).unwrap_err().to_string()
    }
}

fn level(conf: &mut Conf, level: LogLevel) -> Vec<String> {
    let notes = conf.notes().into_iter();
    notes
        .filter(|(at, _)| *at == level)
        .map(|(_, text)| text)
        .collect()
}

/// `Config: defaults`, `load_none`, `RepoConfig.defaults`.
#[test]
fn defaults() {
    let site = Site::new();
    let config = site.config(CommandLine::default()).unwrap();
    let expected = ReceiveConfig {
        repo: site.at("root/path/repo"),
        gpg_sign: Vec::new(),
        gpg_homedir: None,
        gpg_verify: false,
        gpg_trustedkeys: None,
        sign_type: "ed25519".to_owned(),
        sign_keyfiles: Vec::new(),
        sign_verify: false,
        sign_trustedkeyfile: None,
        update: true,
        update_hook: Vec::new(),
        log_level: LogLevel::Info,
        force: false,
        dry_run: false,
        commits: None,
        legacy_protocol: true,
        urls: Urls::Loopback,
        max_future: 86_400,
        allow_force: None,
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
         max_future: 2h\nallow_force: yes\nreceive_hook: /r\naudit_log: /a\n\
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

/// `Config: load_invalid`, `load_unknown`, `load_missing`, `load_empty`.
#[test]
fn files() {
    let site = Site::new();
    let file = site.at("etc/ostree/ostree-receive.conf");
    let file = file.display();
    for text in ["just text", "- a\n- b\n", "1"] {
        let error = site.system(text).error();
        assert_eq!(error, format!("Config file {file} is not a YAML mapping"));
    }
    for text in [
        "a: [",
        "a: 1\n---\nb: 2\n",
        "root: !!python/name:os.system x",
    ] {
        let error = site.system(text).error();
        assert!(
            error.starts_with(&format!("Config file {file}: ")),
            "{error}"
        );
    }
    let large = "# ".repeat((MAX_FILE / 2) as usize + 1);
    let error = site.system(&large).error();
    assert_eq!(error, format!("Config file {file}: larger than 1 MiB"));

    site.system("log-level: INFO\nfoo: 1\nyes: 2\nupdate: no\n")
        .user("");
    let mut conf = site.load().unwrap();
    let unrecognized = |key| format!("Unrecognized option {key} in config file {file}");
    assert_eq!(
        level(&mut conf, LogLevel::Warning),
        ["log-level", "foo", "True"].map(unrecognized)
    );
    let other = site.at("home/ostree/ostree-receive.conf");
    fs::remove_file(&other).unwrap();
    let missing = format!("Skipping missing config file {}", other.display());
    assert!(level(&mut site.load().unwrap(), LogLevel::Debug).contains(&missing));
    fs::write(&other, "\n").unwrap();
    let empty = format!("Ignoring empty config file {}", other.display());
    assert!(level(&mut site.load().unwrap(), LogLevel::Debug).contains(&empty));
    fs::remove_file(&other).unwrap();
    fs::create_dir(&other).unwrap();
    assert!(
        site.error().ends_with(": Is a directory (os error 21)"),
        "{}",
        site.error()
    );
}

/// `Config: load_multiple`: each key of the later file replaces that of the earlier, maps whole.
#[test]
fn the_later_file_counts() {
    let site = Site::new();
    let here = site.at("root/path/repo");
    site.system(&format!(
        "update: no\ngpg_homedir: /system\ngpg_sign: [a, b]\nrepos: {{{}: {{commits: keep}}}}\nforce: wrong\n",
        here.display()
    ));
    site.user("gpg_homedir: /user\ngpg_sign: [c]\nrepos: {}\nforce: yes\n");
    let config = site.config(CommandLine::default()).unwrap();
    assert!(!config.update && config.force && config.commits.is_none());
    assert_eq!(config.gpg_homedir.as_deref(), Some(Path::new("/user")));
    assert_eq!(config.gpg_sign, ["c"]);
}

/// `Config: default_paths`, `load_env`.
#[test]
fn where_the_files_are() {
    let path = |text: &str| Some(PathBuf::from(text));
    let files = |file, config, home| Places::new(file, config, home).files();
    let system = "/etc/ostree/ostree-receive.conf";
    for (file, config, home, expected) in [
        (
            None,
            None,
            path("/h"),
            vec![system, "/h/.config/ostree/ostree-receive.conf"],
        ),
        (
            None,
            path("/c"),
            path("/h"),
            vec![system, "/c/ostree/ostree-receive.conf"],
        ),
        (
            None,
            path("~/c"),
            path("/h"),
            vec![system, "/h/c/ostree/ostree-receive.conf"],
        ),
        (None, None, None, vec![system]),
        (path("/x.conf"), path("/c"), path("/h"), vec!["/x.conf"]),
        (path("~/x.conf"), None, path("/h"), vec!["/h/x.conf"]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(PathBuf::from).collect();
        assert_eq!(files(file, config, home), expected);
    }
    // A named file that is not there is skipped, and the others are not looked at.
    let site = Site::new();
    site.system("update: no");
    let places = Places {
        file: Some(site.at("none")),
        ..site.places()
    };
    let config =
        Conf::load(places)
            .unwrap()
            .for_repo(&site.at("root"), None, CommandLine::default());
    assert!(config.unwrap().update);
}

/// `Config: load_args`, `load_conf_and_args`, `Receiver: repos override applied`: the command line
/// wins over the files, and what stands below `repos` over both.
#[test]
fn what_wins() {
    let site = Site::new();
    let all = CommandLine {
        no_update: true,
        dry_run: true,
        force: true,
        log_level: Some(LogLevel::Debug),
    };
    site.system("update: yes\ndry_run: no\nforce: no\nlog_level: ERROR\n");
    let config = site.config(all).unwrap();
    assert!(!config.update && config.dry_run && config.force);
    assert_eq!(config.log_level, LogLevel::Debug);
    // An option that was not given overrides nothing.
    site.system("update: no\ndry_run: yes\nforce: yes\nlog_level: ERROR\n");
    let config = site.config(CommandLine::default()).unwrap();
    assert!(!config.update && config.dry_run && config.force);
    assert_eq!(config.log_level, LogLevel::Error);

    let repo = site.at("root/path/repo");
    site.system(&format!(
        "update: no\nrepos: {{{}: {{update: yes}}}}\n",
        repo.display()
    ));
    assert!(site.config(all).unwrap().update);
    // The pusher's wish to force needs leave, where there is a say.
    site.system("allow_force: no\nforce: yes\n");
    assert!(
        site.config(all)
            .unwrap_err()
            .to_string()
            .contains("--force")
    );
    assert!(site.config(CommandLine::default()).unwrap().force);
}

/// `Config: repo_config`: with and without a root, keys and paths relative, absolute and through
/// links, all mean the same directory; others do not.
#[test]
fn own_settings() {
    let site = Site::new();
    symlink("path/repo", site.at("root/link")).unwrap();
    symlink(site.at("root"), site.at("rootlink")).unwrap();
    let (root, repo) = (site.at("root"), site.at("root/path/repo"));
    let (root, repo) = (root.display().to_string(), repo.display().to_string());
    let rootlink = site.at("rootlink").display().to_string();
    for named in ["path/repo", "link", "path/../path/repo", &repo] {
        for root in [&root, &rootlink] {
            for (key, applies) in [
                ("path/repo", true),
                ("link", true),
                (&*repo, true),
                ("none", false),
                ("path", false),
            ] {
                site.system(&format!(
                    "root: {root}\nupdate: yes\nrepos:\n  {key}:\n    update: no\n"
                ));
                let config =
                    site.load()
                        .unwrap()
                        .for_repo(Path::new(named), None, CommandLine::default());
                let config = config.unwrap();
                assert_eq!(config.update, !applies, "{named} {root} {key}");
                assert_eq!(config.repo, Path::new(&repo));
            }
        }
    }
    // Without a root the path stays as it is, and the first key that fits counts.
    let link = site.at("root/link");
    site.system(&format!(
        "repos: {{/none: {{update: yes}}, {}: {{update: no}}, {repo}: {{update: yes}}}}",
        link.display()
    ));
    let config = site
        .load()
        .unwrap()
        .for_repo(&link, None, CommandLine::default())
        .unwrap();
    assert_eq!((config.update, config.repo), (false, link));

    // Other than the original's, these are checked, too.
    let file = site.at("etc/ostree/ostree-receive.conf");
    for (own, error) in [
        (
            "{update: maybe}",
            "update must be an instance of <class 'bool'>, but found <class 'str'>",
        ),
        (
            "{identities: {a: 1}}",
            "identities.a must be an instance of <class 'dict'>, but found <class 'int'>",
        ),
    ] {
        site.system(&format!("repos: {{{repo}: {own}}}"));
        let expected = format!("repos {repo}: {error} in config file {}", file.display());
        assert_eq!(site.error(), expected);
    }
    site.system(&format!("repos: {{{repo}: [update]}}"));
    assert!(
        site.error()
            .contains("must be an instance of <class 'dict'>, but found <class 'list'>")
    );
    site.system(&format!(
        "repos: {{{repo}: {{root: /x, force: yes, nosuch: 1}}}}"
    ));
    let mut conf = site.load().unwrap();
    assert!(
        !conf
            .for_repo(Path::new(&repo), None, CommandLine::default())
            .unwrap()
            .force
    );
    let warnings = level(&mut conf, LogLevel::Warning);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[1].starts_with(&format!(
        "Unrecognized option force of repos {repo} in config file "
    )));
}

/// `missing_repo`, and what tries to get out of the root: all are told the same.
#[test]
fn nothing_outside_the_root() {
    let site = Site::new();
    fs::create_dir(site.at("rootless")).unwrap();
    symlink(site.at("outside"), site.at("root/out")).unwrap();
    symlink("..", site.at("root/up")).unwrap();
    symlink("loop", site.at("root/loop")).unwrap();
    let outside = site.at("outside/repo").display().to_string();
    let dotted = site.at("root/../outside/repo").display().to_string();
    let beside = site.at("rootless").display().to_string();
    site.system(&format!("root: {}", site.at("root").display()));
    for path in [
        "none",
        "../outside/repo",
        "path/../../outside",
        "out/repo",
        "out",
        "up/outside/repo",
        "loop",
        "..",
        "/",
        "/etc",
        "",
        &outside,
        &dotted,
        &beside,
        "path/repo/../../../rootless",
        "a\nb",
    ] {
        if path.is_empty() {
            continue;
        }
        let config = site
            .load()
            .unwrap()
            .for_repo(Path::new(path), None, CommandLine::default());
        assert_eq!(
            config.unwrap_err().to_string(),
            format!("repo {path} not found")
        );
    }
    site.system("root: /no/such/root");
    assert!(site.error().ends_with(" not found"));
    // Without a root everything is where it says.
    site.system("");
    let mut conf = site.load().unwrap();
    assert!(
        conf.for_repo(Path::new(&outside), None, CommandLine::default())
            .is_ok()
    );
    let error = conf.for_repo(Path::new("/no/such"), None, CommandLine::default());
    assert_eq!(error.unwrap_err().to_string(), "repo /no/such not found");
}

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
    assert!(!al.dry_run && al.allow_force == Some(true) && al.identity.unwrap().may_write("x"));
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
