// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which files are read, and which of them counts.

use super::*;

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

/// A misspelt rule is not left out with a warning that the pusher sees and the owner does not.
#[test]
fn misspelt_rules() {
    let site = Site::new();
    let repo = site.at("root/path/repo");
    let repo = repo.display();
    for (text, said) in [
        ("gpg_verfy: yes", "option gpg_verfy in config file"),
        ("gpg_verfy: yes", "is gpg_verify meant?"),
        ("gpg-verify: yes", "is gpg_verify meant?"),
        ("GPG_Verify: yes", "is gpg_verify meant?"),
        ("sign_verifi: yes", "is sign_verify meant?"),
        ("identites: {}", "is identities meant?"),
        ("idenities: {}", "is identities meant?"),
        ("rooot: /srv", "is root meant?"),
        ("allow_froce: no", "is allow_force meant?"),
        ("recieve_hook: /bin/false", "is receive_hook meant?"),
        ("max_futrue: 1h", "is max_future meant?"),
        ("commit: copy", "is commits meant?"),
    ] {
        let error = site.system(text).error();
        assert!(error.contains(said), "{text}: {error}");
    }
    for (own, said) in [
        ("gpg_verfy: yes", "is gpg_verify meant?"),
        ("root: /x", "cannot stand there"),
        ("dry_run: yes", "cannot stand there"),
    ] {
        let error = site
            .system(&format!("repos: {{{repo}: {{{own}}}}}"))
            .error();
        assert!(
            error.contains(&format!("of repos {repo}")) && error.contains(said),
            "{error}"
        );
    }
    for other in ["foo: 1", "update_hok: x", "log-level: INFO"] {
        site.system(other);
        assert_eq!(
            level(&mut site.load().unwrap(), LogLevel::Warning).len(),
            1,
            "{other}"
        );
    }
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
