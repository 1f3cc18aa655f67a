// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a receiver makes of what it is asked for, step by step beside the original's: the same exit
//! codes, the same words, the same refs at the same commits.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use oxtree_testkit::{BinDir, GpgHome, Output, Repo, WebServer};

use crate::BINS;
use crate::fixture::{Fixture, ORIGINAL};

/// The two receivers, each with a repository, and what they are led to.
struct Pair {
    fixture: Fixture,
    source: Repo,
    web: WebServer,
    dests: [Repo; 2],
}

impl Pair {
    fn new() -> Self {
        let fixture = Fixture::original();
        let source = fixture.repo("source", "archive");
        let dests = ["ours", "theirs"].map(|name| fixture.repo(name, "archive"));
        let web = WebServer::serve(source.path());
        Self {
            fixture,
            source,
            web,
            dests,
        }
    }

    fn commit(&self, name: &str, seed: u64, time: u32) {
        self.fixture.commit(&self.source, name, seed, time);
        self.source.ok("summary", ["-u"]);
    }

    fn env(&self, name: &str) -> String {
        let path = self.fixture.dir.path().join(name);
        path.display().to_string()
    }

    /// Both receive, over ssh, with this configuration, where `{}` is a name of the side, and these
    /// words. They end with this code, and have the same refs. Returns what ours has said.
    fn receive(&self, conf: &str, words: &str, code: i32) -> String {
        let mut said = Vec::new();
        for (programs, dest) in [BINS.path(), &*ORIGINAL].iter().zip(&self.dests) {
            let name = dest.path().file_name().expect("a name").display();
            let path = self.env("conf.yaml");
            fs::write(&path, conf.replace("{}", &name.to_string())).expect("write");
            let (options, refs): (Vec<&str>, Vec<&str>) = words
                .split_whitespace()
                .partition(|word| word.starts_with('-'));
            let command = format!(
                "OSTREE_RECEIVE_CONF={path} GNUPGHOME={} {}/ostree-receive-1 {} {} {} {}",
                self.env("gnupg"),
                programs.display(),
                options.join(" "),
                dest.path().display(),
                self.web.url(),
                refs.join(" "),
            );
            let output = self.fixture.sshd.ssh(&command);
            assert_eq!(output.code, Some(code), "{conf} {output:?}");
            said.push(output);
        }
        // Where the one stops and where the other is no matter to anybody.
        if code == 0 {
            assert_eq!(told(&said[0]), told(&said[1]), "{said:#?}");
        }
        let [ours, theirs] = &self.dests;
        assert_eq!(ours.refs(), theirs.refs(), "{said:#?}");
        let made = |name: &&String| *name != "ostree-metadata";
        for name in ours.refs().iter().filter(made) {
            assert_eq!(
                ours.rev_parse(name),
                theirs.rev_parse(name),
                "{name}: {said:#?}"
            );
        }
        for (dest, other) in [(ours, theirs), (theirs, ours)] {
            let there = |repo: &Repo| repo.path().join("summary").exists();
            assert_eq!(there(dest), there(other), "{said:#?}");
        }
        said[0].stderr()
    }

    fn refs(&self) -> Vec<String> {
        self.dests[0].refs()
    }
}

/// What the original's receiver itself says, in order.
fn told(output: &Output) -> Vec<String> {
    let stderr = output.stderr();
    let lines = stderr
        .lines()
        .filter(|line| line.contains(":otpush.receive:"));
    let lines = lines.filter(|line| !line.starts_with("DEBUG"));
    // What it says of its steps is its own affair.
    let steps = [
        "Pulling",
        "Merging",
        "Updating",
        "Executing",
        "Copied",
        "Setting",
    ];
    // The original has no key either, and deletes the signatures without a word.
    let lines = lines.filter(|line| !line.contains("the summary stays as it was"));
    let own = |line: &&str| !steps.iter().any(|step| line.contains(step));
    let own: Vec<String> = lines.filter(own).map(str::to_owned).collect();
    own.into_iter()
        .filter(|line| !line.starts_with("ERROR"))
        .collect()
}

/// §1.6: `receive_missing`, `receive_specific`, `receive_all`, `receive_dry_run`, `receive_force`,
/// `receive`, `receive_update`.
#[test]
fn refs_as_the_original_takes_them() {
    let pair = Pair::new();
    pair.source.ok("summary", ["-u"]);
    pair.receive("", "", 0);
    for (name, seed) in [
        ("main", 1),
        ("other", 2),
        ("os/c", 3),
        ("ostree-metadata", 4),
        ("appstream/x", 4),
    ] {
        pair.commit(name, seed, 100);
    }
    let error = pair.receive("", "main nope", 1);
    assert!(
        error.contains("Could not find ref nope in summary file"),
        "{error}"
    );
    pair.receive("", "-n", 0);
    pair.receive("dry_run: yes\n", "main", 0);
    assert_eq!(pair.refs(), [""; 0]);
    pair.receive("", "--no-update main", 0);
    assert_eq!(pair.refs(), ["main"]);
    assert!(!pair.dests[0].path().join("summary").exists());
    let said = pair.receive("", "main main ostree-metadata appstream/x", 0);
    assert!(
        said.contains("INFO:otpush.receive:No refs need updating"),
        "{said}"
    );
    pair.receive("", "", 0);
    assert_eq!(pair.refs(), ["main", "os/c", "other"]);
    assert!(pair.dests[0].path().join("summary").exists());
    // Older, the same again, both; and something new, which is taken all the same.
    pair.commit("main", 5, 50);
    pair.commit("other", 2, 200);
    pair.commit("os/c", 3, 50);
    pair.commit("new", 1, 1);
    let said = pair.receive("", "", 0);
    assert_eq!(
        said.matches("is not newer than current").count(),
        2,
        "{said}"
    );
    assert_eq!(
        said.matches("has the same content as current").count(),
        2,
        "{said}"
    );
    let before = pair.dests[0].rev_parse("main");
    pair.receive("", "-f -n", 0);
    let said = pair.receive("", "-f main other", 0);
    assert!(
        said.contains("INFO:otpush.receive:Forcing merge of ref main"),
        "{said}"
    );
    assert_eq!(pair.dests[0].rev_parse("main^"), before);
    // Also where it is the very same.
    pair.receive("force: yes\n", "new", 0);
    // Quiet says warnings only.
    assert!(!pair.receive("", "-q os/c", 0).contains("INFO"));
    assert!(
        !pair
            .receive("log_level: WARNING\n", "os/c", 0)
            .contains("INFO")
    );
    // A collection's repository has its metadata as a ref, and commits are bound to it.
    for dest in &pair.dests {
        dest.ok("config", ["set", "core.collection-id", "org.example.C"]);
    }
    pair.commit("other", 6, 300);
    pair.receive("", "", 0);
    assert!(
        pair.refs().contains(&"ostree-metadata".to_owned()),
        "{:?}",
        pair.refs()
    );
    let bound = pair.dests[0].ok(
        "show",
        ["--print-metadata-key=ostree.collection-binding", "other"],
    );
    assert_eq!(bound.trim(), "'org.example.C'");
    for dest in &pair.dests {
        dest.fsck();
    }
}

/// `receive_update_hook`, `update_repo_hook`.
#[test]
fn hooks_as_the_original_runs_them() {
    let pair = Pair::new();
    let hooks = BinDir::empty();
    hooks.script(
        "hook",
        &format!(
            "echo \"$1|$2|$#\" $OSTREE_RECEIVE_REPO $OSTREE_RECEIVE_REFS >{}/$1.seen",
            pair.env("")
        ),
    );
    hooks.script("fails", "echo broken >&2; exit 3");
    let at = |name: &str| hooks.path().join(name).display().to_string();
    let hook = format!("update_hook: {} {{}} 'two words'\n", at("hook"));
    let seen = |dest: &Repo| {
        let name = dest.path().file_name().expect("a name").display();
        let path = pair.env(&format!("{name}.seen"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(Path::new(&path));
        text
    };
    pair.commit("z", 1, 100);
    pair.commit("a/b", 2, 100);
    pair.receive(&hook, "", 0);
    for dest in &pair.dests {
        let name = dest.path().file_name().expect("a name").display();
        let path = dest.path().display();
        assert_eq!(seen(dest), format!("{name}|two words|2 {path} a/b z\n"));
        assert!(!dest.path().join("summary").exists());
    }
    // Not where nothing is to be done, or may be done.
    pair.receive(&hook, "", 0);
    pair.commit("z", 3, 50);
    pair.receive(&hook, "", 0);
    pair.commit("z", 4, 200);
    pair.receive(&hook, "-n", 0);
    pair.receive(&format!("{hook}update: no\n"), "", 0);
    pair.commit("z", 5, 300);
    pair.receive(&hook, "--no-update", 0);
    for dest in &pair.dests {
        assert_eq!(seen(dest), "");
    }
    // What fails comes too late to undo anything.
    let plain = pair.env("plain");
    fs::write(&plain, "#!/bin/sh\n").expect("write");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).expect("chmod");
    for (hook, seed) in [(at("fails"), 6), (at("missing"), 7), (plain, 8)] {
        let time = 100 * u32::try_from(seed).expect("a small number");
        pair.commit("z", seed, time);
        pair.receive(&format!("update_hook: {hook}\n"), "", 1);
        let now = pair.dests[0].ok("log", ["z"]);
        assert!(
            now.contains(&format!("1970-01-01 00:{:02}", time / 60)),
            "{now}"
        );
    }
}

/// `receive_gpg_sign`, `receive_gpg_verify`.
#[test]
fn keys_where_the_original_finds_them() {
    let pair = Pair::new();
    let home = GpgHome::new();
    let key = home.generate("server@example.com", "rsa2048");
    std::os::unix::fs::symlink(home.path(), pair.env("gnupg")).expect("link");
    pair.commit("main", 1, 100);
    pair.receive("gpg_sign: ['0123456789ABCDEF']\n", "", 1);
    assert_eq!(pair.refs(), [""; 0]);
    // By $GNUPGHOME, and by name.
    pair.receive(&format!("gpg_sign: [{key}]\n"), "", 0);
    pair.commit("main", 2, 200);
    let there = format!(
        "gpg_sign: [{key}]\ngpg_homedir: {}\n",
        home.path().display()
    );
    pair.receive(&there, "", 0);
    let by = format!("--gpg-homedir={}", home.path().display());
    for (dest, rev) in pair
        .dests
        .iter()
        .flat_map(|dest| [(dest, "main"), (dest, "main^")])
    {
        let shown = dest.ok("show", [&by, rev]);
        assert!(shown.contains("Found 1 signature:"), "{shown}");
        assert!(shown.contains(&key[24..]), "{shown}");
        assert!(dest.path().join("summary.sig").exists());
    }
    pair.commit("main", 3, 300);
    let missing = pair.env("missing.gpg");
    let error = pair.receive(
        &format!("gpg_verify: yes\ngpg_trustedkeys: {missing}\n"),
        "",
        1,
    );
    assert!(
        error.contains(&format!(
            "gpg_trustedkeys keyring \"{missing}\" does not exist"
        )),
        "{error}"
    );
    pair.receive("gpg_verify: yes\n", "", 1);
    // A keyring in binary or in letters.
    pair.source.ok("gpg-sign", [by.as_str(), "main", &key]);
    for (name, letters) in [("keys.gpg", &[][..]), ("keys.asc", &["--armor"])] {
        let exported = home
            .run(&[letters, &["--export", &key]].concat())
            .expect_ok();
        fs::write(pair.env(name), exported.stdout_bytes).expect("write");
        let verify = format!("gpg_verify: yes\ngpg_trustedkeys: {}\n", pair.env(name));
        pair.receive(&verify, "-f", 0);
    }
}
