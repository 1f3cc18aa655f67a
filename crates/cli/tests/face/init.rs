// SPDX-License-Identifier: MIT OR Apache-2.0
//! `init`, and which repository a command works on.

use oxtree_testkit::{Tool, compare_trees};

use crate::side::{Side, ours};

#[test]
fn every_mode() {
    for mode in [
        "bare",
        "bare-user",
        "bare-user-only",
        "archive",
        "archive-z2",
        "bare-split-xattrs",
    ] {
        let side = Side::empty();
        let option = format!("--mode={mode}");
        side.real(&["init", "--repo=real", &option]).expect_ok();
        side.ours(&["init", "--repo=ours", &option]).expect_ok();
        let differences = compare_trees(side.path("real"), side.path("ours"));
        assert_eq!(differences, Vec::<String>::new(), "{mode}");
        side.real(&["fsck", "--repo=ours"]).expect_ok();
    }
}

#[test]
fn collection_id_and_default_mode() {
    let side = Side::empty();
    for (repo, run) in [
        ("real", Side::real as fn(&Side, &[&str]) -> _),
        ("ours", Side::ours),
    ] {
        let option = format!("--repo={repo}");
        run(&side, &["init", &option, "--collection-id=org.example.Os"]).expect_ok();
    }
    let config = |repo: &str| std::fs::read_to_string(side.path(repo).join("config")).unwrap();
    assert_eq!(config("ours"), config("real"));
}

#[test]
fn a_second_init_changes_nothing() {
    let side = Side::new();
    let before = std::fs::read(side.repo().join("config")).unwrap();
    side.same(&["init"]);
    side.same(&["init", "--mode=bare"]);
    side.same(&["init", "what", "is", "this"]);
    assert_eq!(std::fs::read(side.repo().join("config")).unwrap(), before);
}

#[test]
fn nothing_is_made_by_a_wrong_call() {
    let side = Side::empty();
    for args in [
        &["init", "--repo=repo", "--mode=foo"][..],
        &["init", "--repo=repo", "--collection-id=foo"],
        &["init", "--repo=repo", "--bogus"],
        &["init", "--repo"],
        &["init"],
    ] {
        let (real, ours) = (side.real(args), side.ours(args));
        assert_eq!(ours.code, real.code, "{args:?}");
        let line = |text: String| text.lines().last().unwrap_or("").to_owned();
        assert_eq!(line(ours.stderr()), line(real.stderr()), "{args:?}");
        assert_eq!(side.path("").read_dir().unwrap().count(), 0, "{args:?}");
    }
    side.ours(&["init", "--repo=no/such/folder"])
        .expect_failure();
    std::fs::write(side.path("file"), "").unwrap();
    side.ours(&["init", "--repo=file"]).expect_failure();
}

#[test]
fn which_repository() {
    let side = Side::new();
    let expected = side.commit("main", &[]) + "\n";
    let rev = ["rev-parse", "main"];
    let tool = ours("ostree");
    assert_eq!(tool.clone().dir(side.repo()).ok(rev), expected);
    let by_variable = tool.clone().env("OSTREE_REPO", side.repo());
    assert_eq!(by_variable.ok(rev), expected);
    // The current directory comes before the variable, the option before both.
    let other = Side::new();
    assert!(
        tool.clone()
            .dir(other.repo())
            .env("OSTREE_REPO", side.repo())
            .fails(rev)
            .contains("'main' not found")
    );
    let mut words = vec!["--repo".into(), side.repo().into_os_string()];
    words.extend(rev.map(Into::into));
    assert_eq!(tool.clone().dir(other.repo()).ok(words), expected);
    // The system's, below a given root.
    std::fs::create_dir(side.path("ostree")).unwrap();
    std::os::unix::fs::symlink(side.repo(), side.path("ostree/repo")).unwrap();
    assert_eq!(
        tool.clone().env("OSTREE_SYSROOT", side.path("")).ok(rev),
        expected
    );
    let nowhere = tool
        .env("OSTREE_SYSROOT", side.path("tree"))
        .dir(side.path("tree"));
    assert_eq!(
        nowhere.fails(rev),
        "error: Command requires a --repo argument\n"
    );
}

#[test]
fn what_is_no_repository() {
    let side = Side::empty();
    std::fs::create_dir_all(side.path("bad/objects")).unwrap();
    let of = |repo: &str| {
        let output = side
            .ours(&["refs", &format!("--repo={repo}")])
            .expect_failure();
        assert_eq!(output.code, Some(1));
        output.stderr()
    };
    assert!(of("nothing").starts_with("error: opening repo: nothing"));
    assert!(of("bad").contains("config"));
    for (config, said) in [
        ("", "repo_version"),
        ("[core]\nrepo_version=2\n", "Invalid repository version '2'"),
        (
            "[core]\nrepo_version=1\nmode=x\n",
            "Invalid mode 'x' in repository configuration",
        ),
        ("[core]\nmode=bare\n", "repo_version"),
        ("nonsense", "nonsense"),
    ] {
        std::fs::write(side.path("bad/config"), config).unwrap();
        let error = of("bad");
        assert!(error.contains(said), "{config:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_repository_of_somebody_else() {
    if !oxtree_testkit::is_root() {
        return;
    }
    let side = Side::new();
    side.commit("main", &[]);
    let open = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(&side.path(""));
    let nobody = ours("oxtree").as_nobody().repo(side.repo());
    assert_eq!(nobody.refs(), ["main"]);
    for (command, args) in [
        ("refs", &["--create=x", "main"][..]),
        ("refs", &["--delete", "main"]),
        ("config", &["set", "core.fsync", "false"]),
        ("reset", &["main", "main"]),
    ] {
        let output = nobody.run(command, args).expect_failure();
        let error = output.stderr();
        assert!(error.contains("Permission denied"), "{output:?}");
        assert!(error.contains("owner"), "no hint: {output:?}");
        assert_eq!(error.lines().count(), 1, "{output:?}");
    }
    assert_eq!(Tool::ostree().repo(side.repo()).refs(), ["main"]);
}

#[test]
fn a_repository_without_its_tmp() {
    let side = Side::new();
    side.commit("main", &[]);
    let tmp = side.repo().join("tmp");
    std::fs::remove_dir_all(&tmp).unwrap();
    side.ours(&["refs", "--repo=repo"]).expect_ok();
    assert!(tmp.is_dir());
    // Reading goes on where it cannot be made.
    if oxtree_testkit::is_root() {
        std::fs::remove_dir_all(&tmp).unwrap();
        let tmpfs = oxtree_testkit::Tmpfs::mount(1 << 20);
        Tool::new("/bin/cp").ok([
            "-a".as_ref(),
            side.repo().as_os_str(),
            tmpfs.path().as_os_str(),
        ]);
        tmpfs.make_read_only();
        let tool = ours("oxtree").dir(tmpfs.path());
        assert_eq!(tool.ok(["refs", "--repo=repo"]), "main\n");
        let error = tool.fails(["refs", "--repo=repo", "--create=x", "main"]);
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
