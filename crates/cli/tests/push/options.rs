// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options, ways to name a destination, names of the binary.

use std::path::Path;

use oxtree_testkit::{BinDir, Snapshot, Sshd, Tool, trees};

use crate::fixture::{Fixture, OXTREE, check_published, json, number, oxtree, status};

#[test]
fn a_dry_run_writes_nothing_and_tells_what_a_push_would_do() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main", "other"]);
    let dest = fixture.repo("dest", "archive");
    fixture.push_ok(&source, &dest, &["other"]);
    fixture.commit(&source, "other", 9);
    let before = (Snapshot::of(source.path()), Snapshot::of(dest.path()));
    let plan = fixture.push_ok(&source, &dest, &["--dry-run"]);
    let text = fixture.push(&source, &dest, &["-n"]).expect_ok().stdout();
    before.0.assert_unchanged(&Snapshot::of(source.path()));
    before.1.assert_unchanged(&Snapshot::of(dest.path()));
    assert_eq!(plan["dry_run"], true);
    assert_eq!(
        (status(&plan, "main"), status(&plan, "other")),
        ("created", "updated")
    );
    assert!(
        text.contains("nothing is changed") && text.contains("Would send"),
        "{text}"
    );

    let done = fixture.push_ok(&source, &dest, &[]);
    for key in ["objects_offered", "objects_missing", "object_bytes"] {
        assert_eq!(number(&plan, key), number(&done, key), "{key}");
    }
    assert!(number(&done, "objects_missing") > 0);
    check_published(&source, &dest, &["main", "other"]);
}

#[test]
fn a_dry_run_to_a_local_path_writes_nothing() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "bare-user");
    let before = (Snapshot::of(source.path()), Snapshot::of(dest.path()));
    let dest_path = dest.path().to_str().expect("UTF-8");
    oxtree()
        .repo(source.path())
        .ok("push", ["--dry-run", dest_path]);
    before.0.assert_unchanged(&Snapshot::of(source.path()));
    before.1.assert_unchanged(&Snapshot::of(dest.path()));
}

#[test]
fn destinations_can_be_written_as_scp_does() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let port = format!("-p{}", fixture.sshd.port());
    let options = fixture.sshd.ssh_options();
    let home = fixture.sshd.ssh("pwd -P").expect_ok().stdout();
    let up = "../".repeat(Path::new(home.trim()).components().count() - 1);
    for (name, relative) in [("absolute", false), ("relative", true), ("it's one", false)] {
        let dest = fixture.repo(name, "archive");
        let path = dest.path().display().to_string();
        let path = match relative {
            true => format!("{up}{}", path.trim_start_matches('/')),
            false => path,
        };
        let mut words = vec![
            port.clone(),
            fixture.sshd.scp_style(path),
            "main".to_owned(),
        ];
        words.splice(1..1, options.clone());
        oxtree().repo(source.path()).ok("push", words);
        check_published(&source, &dest, &["main"]);
    }
}

#[test]
fn destinations_can_be_local() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let here = fixture.at("");
    for (name, url) in [
        ("absolute", fixture.at("absolute").display().to_string()),
        ("relative", "./relative".to_owned()),
        ("plain", "plain".to_owned()),
        ("file", format!("file://{}", fixture.at("file").display())),
    ] {
        let dest = fixture.repo(name, "archive");
        let output = oxtree()
            .dir(&here)
            .repo(source.path())
            .run("push", ["--json", &url]);
        assert_eq!(status(&json(&output.expect_ok()), "main"), "created");
        check_published(&source, &dest, &["main"]);
    }
}

#[test]
fn a_far_side_by_the_originals_name_is_found() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    let sshd = Sshd::builder()
        .bins(BinDir::linked(OXTREE, &["ostree-receive"]))
        .start();
    let mut words = vec!["--json".to_owned()];
    words.extend(sshd.ssh_options());
    words.push(sshd.url(dest.path()));
    let output = oxtree().repo(source.path()).run("push", words).expect_ok();
    assert_eq!(status(&json(&output), "main"), "created");
    check_published(&source, &dest, &["main"]);
}

#[test]
fn the_ssh_command_comes_from_option_or_environment() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let ssh = fixture.sshd.ssh_command();
    let by_option = fixture.repo("option", "archive");
    let url = fixture.sshd.scp_style(by_option.path());
    let tool = Tool::new(OXTREE).env("OXTREE_SSH_COMMAND", "/bin/false");
    tool.repo(source.path())
        .ok("push", ["--ssh-command", &ssh, &url]);
    check_published(&source, &by_option, &["main"]);

    let by_variable = fixture.repo("variable", "archive");
    let url = fixture.sshd.scp_style(by_variable.path());
    let tool = Tool::new(OXTREE).env("OXTREE_SSH_COMMAND", &ssh);
    tool.repo(source.path()).ok("push", [&url]);
    check_published(&source, &by_variable, &["main"]);
}

#[test]
fn the_pace_is_kept() {
    let fixture = Fixture::new();
    let tree = fixture.tree(1);
    trees::incompressible(&tree.join("large"), 400 << 10, 9);
    let source = fixture.source(&[]);
    source.commit("main", &tree, &["--canonical-permissions"]);
    let dest = fixture.repo("dest", "archive");
    let report = fixture.push_ok(&source, &dest, &["--limit-rate=200K"]);
    let seconds = report["seconds"].as_f64().expect("a number");
    let sent = number(&report, "bytes_sent");
    assert!(sent >= 400 << 10, "{report}");
    // What is in the pipes when the last byte is written need not wait.
    assert!(seconds >= 1.8, "{report}");
    check_published(&source, &dest, &["main"]);
}

#[test]
fn compression_can_be_chosen() {
    let fixture = Fixture::new();
    let tree = fixture.tree(1);
    trees::file(
        &tree.join("text"),
        "line by line\n".repeat(40_000).as_bytes(),
        0o644,
    );
    let source = fixture.repo("source", "bare-user");
    source.commit("main", &tree, &["--canonical-permissions"]);
    let mut sent = Vec::new();
    for how in ["none", "1", "9", "auto"] {
        let dest = fixture.repo(&format!("dest-{how}"), "archive");
        let report = fixture.push_ok(&source, &dest, &[&format!("--compression={how}")]);
        sent.push(number(&report, "bytes_sent"));
        check_published(&source, &dest, &["main"]);
    }
    assert!(sent[0] > 500_000 && sent[1] < 100_000, "{sent:?}");
    assert!(sent[2] <= sent[1] && sent[3] < 100_000, "{sent:?}");
}

#[test]
fn any_number_of_jobs_will_do() {
    let fixture = Fixture::new();
    let tree = fixture.at("many");
    std::fs::create_dir(&tree).expect("mkdir");
    trees::many(&tree, 500, 1);
    let source = fixture.source(&[]);
    source.commit("main", &tree, &["--canonical-permissions"]);
    for jobs in ["--jobs=1", "-j3", "--jobs=32"] {
        let dest = fixture.repo(&format!("dest{jobs}"), "archive");
        let report = fixture.push_ok(&source, &dest, &[jobs]);
        assert!(number(&report, "objects_missing") > 500, "{report}");
        check_published(&source, &dest, &["main"]);
    }
}

#[test]
fn the_outcome_is_told_in_words_in_json_or_not_at_all() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    let output = fixture.push(&source, &dest, &["--quiet"]).expect_ok();
    assert_eq!(
        (output.stdout(), output.stderr()),
        (String::new(), String::new())
    );
    let output = fixture.push(&source, &dest, &[]).expect_ok();
    assert!(output.stdout().contains("[up to date]"), "{output:?}");
    assert_eq!(output.stderr(), "");
    fixture.commit(&source, "main", 8);
    let output = fixture.push(&source, &dest, &[]).expect_ok();
    let text = output.stdout();
    let url = fixture.sshd.url(dest.path());
    assert!(text.starts_with(&format!("To {url}\n")), "{text}");
    assert!(text.contains("Sent ") && text.contains(" main\n"), "{text}");
    fixture.commit(&source, "main", 9);
    let report = fixture.push_ok(&source, &dest, &[]);
    assert_eq!(report["destination"], url.as_str());
    assert_eq!(
        (&report["ok"], &report["dry_run"]),
        (&true.into(), &false.into())
    );
    for key in ["bytes_sent", "bytes_received", "turns"] {
        assert!(number(&report, key) > 0, "{report}");
    }
    check_published(&source, &dest, &["main"]);
}
