// SPDX-License-Identifier: MIT OR Apache-2.0
//! One repository: where it may be, and what holds for it alone.

use std::os::unix::fs::MetadataExt;

use super::*;

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
        "repos: {{{repo}: {{log_level: INFO, force: yes, nosuch: 1}}}}"
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

/// What was found could be another directory by the time that it is opened.
#[test]
fn what_was_opened_is_what_was_found() {
    let site = Site::new();
    let config = site.system(&format!("root: {}", site.at("root").display()));
    let config = config.config(CommandLine::default()).unwrap();
    assert!(config.confined.is_some());
    let number = |path: &str| {
        let found = site.at(path).metadata().unwrap();
        (found.dev(), found.ino())
    };
    let [inside, outside] = ["root/path/repo", "outside/repo"].map(number);
    assert!(is_still_at(&config.repo, inside));
    assert!(!is_still_at(&config.repo, outside));
    // A link takes its place, or that of a folder above it, before it is opened.
    let (path, away) = (site.at("root/path"), site.at("root/away"));
    fs::rename(&path, &away).unwrap();
    assert!(!is_still_at(&config.repo, inside));
    symlink(site.at("outside"), &path).unwrap();
    assert!(!is_still_at(&config.repo, outside));
    // And is gone again afterwards.
    fs::remove_file(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    assert!(!is_still_at(&config.repo, outside));
    assert!(is_still_at(&config.repo, inside));
}
