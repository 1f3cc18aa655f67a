// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes by the original's names through a real sshd.

use std::fs;
use std::path::Path;

use oxtree_testkit::{BinDir, Output, Repo, Sshd, Tool, temp_dir, trees};

use crate::{NAMES, OXTREE, called};

struct Fixture {
    dir: tempfile::TempDir,
    sshd: Sshd,
}

impl Fixture {
    fn new() -> Self {
        Self {
            dir: temp_dir(),
            sshd: Sshd::builder().bins(BinDir::linked(OXTREE, &NAMES)).start(),
        }
    }

    fn repo(&self, name: &str) -> Repo {
        Tool::ostree()
            .repo(self.dir.path().join(name))
            .init("archive")
    }

    fn source(&self, branches: &[&str]) -> Repo {
        let source = self.repo("source");
        let tree = self.dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        trees::small(&tree, 1);
        for branch in branches {
            source.commit(branch, &tree, &["--canonical-permissions"]);
        }
        source
    }

    fn push(&self, source: &Repo, dest: &str, args: &[&str]) -> Output {
        let mut words = vec!["--repo".to_owned(), source.path().display().to_string()];
        words.extend(self.sshd.ssh_options());
        let (options, refs): (Vec<&str>, Vec<&str>) =
            args.iter().partition(|arg| arg.starts_with('-'));
        words.extend(options.into_iter().map(str::to_owned));
        words.push(dest.to_owned());
        words.extend(refs.into_iter().map(str::to_owned));
        called("ostree-push").run(words)
    }
}

/// `test_full.*` and `test_push.push_refs.*`, with both ends ours.
#[test]
fn both_ends_by_the_originals_names() {
    let fixture = Fixture::new();
    let dest = |name: &str| {
        let repo = fixture.repo(name);
        let url = fixture.sshd.url(repo.path());
        (repo, url)
    };
    // no_commits: there is nothing to be set, and what is named is not there.
    let empty = fixture.repo("empty");
    let (none, url) = dest("none");
    fixture.push(&empty, &url, &[]).expect_ok();
    assert_eq!(none.refs(), [""; 0]);

    let source = fixture.source(&["b", "a"]);
    let missing = fixture.push(
        &source,
        "nobody@no.host.invalid:r",
        &["foo", "a", "bar", "a b", "foo"],
    );
    let error = format!("Refs a b bar foo not found in {}", source.path().display());
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr().contains(&error), "{missing:?}");

    // dry_run
    for option in ["-n", "--dry-run"] {
        let output = fixture.push(&source, &url, &[option]).expect_ok();
        assert!(
            output.stderr().contains("INFO:otpush.push:Would send"),
            "{output:?}"
        );
        fixture.push(&source, &url, &[option, "a"]).expect_ok();
        assert_eq!(none.refs(), [""; 0]);
    }
    // basic
    let (one, url) = dest("one");
    let output = fixture.push(&source, &url, &["a"]).expect_ok();
    assert_eq!(
        (one.refs(), output.stdout()),
        (vec!["a".to_owned()], String::new())
    );
    let text = format!("INFO:otpush.push:a none -> {}", source.rev_parse("a"));
    assert!(output.stderr().contains(&text), "{output:?}");
    let output = fixture.push(&source, &url, &["-q"]).expect_ok();
    assert_eq!(
        (one.refs(), output.stderr()),
        (vec!["a".to_owned(), "b".to_owned()], String::new())
    );
    one.fsck();

    // scp_dest, and -p over the port of a URL
    let (scp, url) = dest("scp");
    let port = format!("-p{}", fixture.sshd.port());
    fixture
        .push(&source, &fixture.sshd.scp_style(scp.path()), &[&port])
        .expect_ok();
    assert_eq!(scp.refs(), ["a", "b"]);
    let closed = url.replace(&format!(":{}/", fixture.sshd.port()), ":1/");
    fixture.push(&source, &closed, &[&port]).expect_ok();

    // command_abspath, unversioned, commands
    let bins = BinDir::linked(OXTREE, &["ostree-receive-1"]);
    let path = bins.path().join("ostree-receive-1").display().to_string();
    for (name, command) in [
        ("path", path.as_str()),
        ("plain", "ostree-receive"),
        ("own", "oxtree receive"),
    ] {
        let (repo, url) = dest(name);
        let command = format!("--command={command}");
        fixture
            .push(&source, &url, &["--command=no-such-thing", &command])
            .expect_ok();
        assert_eq!(repo.refs(), ["a", "b"]);
    }
    let output = fixture.push(
        &source,
        &url,
        &["--command=no-such", "--command='nor this' -x"],
    );
    let error = "ostree-push: error: Could not find commands no-such nor this on server\n";
    assert_eq!((output.code, output.stderr().as_str()), (Some(1), error));
    // What the far side runs may have options of its own: here it must not, and says so.
    let output = fixture.push(&source, &url, &["--command=ostree-receive-1 --bogus"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr().contains("unrecognized arguments: --bogus"),
        "{output:?}"
    );
}

/// The repository's path is one word on the far side, whatever is in it.
#[test]
fn paths_are_quoted() {
    let fixture = Fixture::new();
    let source = fixture.source(&["a"]);
    for name in ["with space", "a; touch pwned", "$(touch pwned)", "it's"] {
        let repo = fixture.repo(name);
        fixture
            .push(&source, &fixture.sshd.url(repo.path()), &[])
            .expect_ok();
        assert_eq!(repo.refs(), ["a"]);
    }
    assert!(!fixture.sshd.remote_home().join("pwned").exists());
    // But for the home directory at the beginning, as with the original, scp and rsync.
    let home = fixture.sshd.remote_home().join("in home");
    let repo = Tool::ostree().repo(home).init("archive");
    let port = format!("-p{}", fixture.sshd.port());
    let dest = format!("{}@127.0.0.1:~/in home", fixture.sshd.user());
    fixture.push(&source, &dest, &[&port]).expect_ok();
    assert_eq!(repo.refs(), ["a"]);
}

/// `root`, which holds for every name, and a configuration that is wrong: the pusher is told.
#[test]
fn the_receivers_configuration_counts() {
    let fixture = Fixture::new();
    let source = fixture.source(&["a"]);
    fs::create_dir(fixture.dir.path().join("root")).unwrap();
    let inside = fixture.repo("root/inside");
    let outside = fixture.repo("outside");
    let conf = fixture
        .sshd
        .remote_home()
        .join(".config/ostree/ostree-receive.conf");
    fs::create_dir_all(conf.parent().unwrap()).unwrap();
    let audit = fixture.dir.path().join("audit");
    let root = fixture.dir.path().join("root");
    fs::write(&conf, format!("root: {}\n", root.display())).unwrap();
    let by_scp = |path: &str| format!("{}@127.0.0.1:{path}", fixture.sshd.user());
    let port = format!("-p{}", fixture.sshd.port());
    let commands = ["ostree-receive-1", "ostree-receive", "oxtree receive"];
    for command in commands {
        let command = format!("--command={command}");
        for dest in [
            outside.path().display().to_string(),
            "../outside".to_owned(),
        ] {
            let output = fixture.push(&source, &by_scp(&dest), &[&port, &command]);
            assert_eq!(output.code, Some(1), "{output:?}");
            let error = format!("repo {dest} not found");
            assert!(output.stderr().contains(&error), "{output:?}");
        }
        fixture
            .push(&source, &by_scp("inside"), &[&port, &command])
            .expect_ok();
    }
    assert_eq!((outside.refs().len(), inside.refs().len()), (0, 1));

    // Rules that cannot be kept are not passed over.
    let unkept = format!("identities: {{ci: }}\naudit_log: {}\n", audit.display());
    for (text, error) in [
        (
            "gpg_sign: yes\n",
            "gpg_sign must be an instance of <class 'list'>, but found <class 'bool'>",
        ),
        (&unkept, "--identity NAME"),
    ] {
        fs::write(&conf, text).unwrap();
        for command in commands {
            let command = format!("--command={command}");
            let output = fixture.push(&source, &by_scp(&path(&inside)), &[&port, &command]);
            assert_eq!(output.code, Some(1), "{output:?}");
            assert!(output.stderr().contains(error), "{output:?}");
        }
    }
    let lines = fs::read_to_string(&audit).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["result"], &line["asked"]),
            (&"refused".into(), &path(&inside).into())
        );
    }
}

fn path(repo: &Repo) -> String {
    Path::new(repo.path()).display().to_string()
}

/// `command="oxtree receive --identity NAME"` in `authorized_keys`: the key has a name, and what it
/// asks for is done if `ostree-receive-shell` would do it.
#[test]
fn a_key_with_a_name() {
    let fixture = Fixture::new();
    let dest = fixture.repo("dest");
    let conf = fixture
        .sshd
        .remote_home()
        .join(".config/ostree/ostree-receive.conf");
    fs::create_dir_all(conf.parent().unwrap()).unwrap();
    let audit = fixture.dir.path().join("audit");
    let text = "identities:\n  ci: {refs: [app/*], read_only: no}\n";
    fs::write(&conf, format!("audit_log: {}\n{text}", audit.display())).unwrap();
    let keys = fixture.sshd.key().with_file_name("authorized_keys");
    let key = fs::read_to_string(&keys).unwrap();
    let force = |command: &str| fs::write(&keys, format!("command=\"{command}\" {key}")).unwrap();
    let dest = path(&dest);
    let url = "http://127.0.0.1:1/";

    force("oxtree receive --identity ci");
    let touch = fixture.dir.path().join("touched");
    let cases = [
        (
            format!("ostree-receive-1 {dest} {url} app/x main"),
            "ci may not write the ref main",
        ),
        (
            format!("oxtree receive {dest}"),
            "the pusher has left before it said anything",
        ),
        (
            format!("touch {}", touch.display()),
            "Executing touch not allowed",
        ),
        (
            format!("oxtree receive --identity boss {dest}"),
            "takes nothing but a repository",
        ),
        (
            format!("ostree-receive-1 {dest} file:///etc"),
            "is not on this machine's loopback",
        ),
        (String::new(), "REPO must be specified"),
    ];
    for (command, error) in &cases {
        let output = fixture.sshd.ssh(command);
        assert!(matches!(output.code, Some(1 | 2)), "{command}: {output:?}");
        let said = output.stderr() + &output.stdout();
        assert!(said.contains(error), "{command}: {output:?}");
    }
    assert!(!touch.exists());
    let lines = fs::read_to_string(&audit).unwrap();
    assert_eq!(lines.lines().count(), 4, "{lines}");

    // Hooks are told who it is.
    let seen = fixture.dir.path().join("seen");
    let hook = BinDir::empty();
    let say = "echo $OSTREE_RECEIVE_IDENTITY $OSTREE_RECEIVE_REPO $OSTREE_RECEIVE_REFS";
    hook.script("hook", &format!("{say} >{}", seen.display()));
    let hook = hook.path().join("hook");
    fs::write(&conf, format!("update_hook: {}\n{text}", hook.display())).unwrap();
    let source = fixture.source(&["app/x"]);
    let url = fixture.sshd.url(&dest);
    fixture.push(&source, &url, &[]).expect_ok();
    let told = fs::read_to_string(&seen).unwrap();
    assert_eq!(told, format!("ci {dest} app/x\n"));

    force("oxtree receive --identity nobody");
    let output = fixture.sshd.ssh(&format!("ostree-receive-1 {dest} {url}"));
    assert!(
        output.stderr().contains("identity nobody is not in"),
        "{output:?}"
    );
    // Without a name there is no way around the others'.
    force(&format!("oxtree receive {dest}"));
    let output = fixture.sshd.ssh("anything");
    assert!(output.stderr().contains("--identity NAME"), "{output:?}");
}

/// A receiver that copies commits has none that the pusher knows, but it tells what is in them.
#[test]
fn copies_are_told_by_what_is_in_them() {
    let fixture = Fixture::new();
    let tree = fixture.dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    trees::many(&tree, 300, 1);
    let large = tree.join("large");
    let lines = |last: u32| -> String {
        let lines = (0..20_000).chain([last]);
        lines.map(|n| format!("{}\n", n * 7919 % 100_003)).collect()
    };
    fs::write(&large, lines(1)).unwrap();
    let [source, dest] = ["source", "dest"].map(|name| fixture.repo(name).without_fsync());
    let commit = |name: &str, time: u32| {
        let time = format!("--timestamp=@{time}");
        // In another order than in copies.
        let keys =
            ["zz", "aa", "mm", "version"].map(|key| format!("--add-metadata-string={key}=1"));
        let options = ["--canonical-permissions", &time].into_iter();
        let options: Vec<&str> = options.chain(keys.iter().map(String::as_str)).collect();
        source.commit(name, &tree, &options)
    };
    let push = || {
        let mut words = vec!["push".to_owned(), "--json".to_owned()];
        words.push(format!("--repo={}", source.path().display()));
        words.push("--command=ostree-receive-1".to_owned());
        words.extend(fixture.sshd.ssh_options());
        words.push(fixture.sshd.url(dest.path()));
        let output = called("oxtree").run(words).expect_ok();
        let report: serde_json::Value = serde_json::from_str(&output.stdout()).unwrap();
        ["objects_offered", "bytes_sent"].map(|key| report[key].as_u64().unwrap())
    };
    commit("main", 100);
    assert!(push()[0] > 300);
    let first = dest.rev_parse("main");
    assert_ne!(first, source.rev_parse("main"));
    fs::write(&large, lines(2)).unwrap();
    commit("main", 200);
    let pushed = commit("main", 300);
    let [offered, sent] = push();
    // The file, the root and the commit; of the file only what is new.
    assert_eq!(offered, 3);
    assert!(sent < 3000, "{sent}");
    assert_eq!(dest.rev_parse("main^"), first);
    assert_ne!(dest.rev_parse("main"), pushed);
    dest.fsck();
    assert_eq!(push()[0], 1);
}
