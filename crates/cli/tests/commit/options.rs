// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every option, with the real tool's checksum.

use std::path::Path;

use oxtree_testkit::trees::{self, directory, file, xattr};

use crate::pair::{MODES, Pair};

/// What the options may change: owners, modes, attributes, executables.
fn rich(path: &Path) {
    trees::small(path, 1);
    directory(&path.join("dir"), 0o1777);
    xattr(&path.join("dir"), "user.dir", b"d");
    file(&path.join("dir/suid"), b"suid\n", 0o755);
    std::os::unix::fs::chown(path.join("dir/suid"), Some(12), Some(34)).unwrap();
    file(&path.join("dir/writable"), b"w\n", 0o775);
    file(&path.join("dir/attributes"), b"a\n", 0o664);
    xattr(&path.join("dir/attributes"), "user.b", b"2");
    xattr(&path.join("dir/attributes"), "user.a", b"1");
}

#[test]
fn what_changes_the_tree() {
    for mode in MODES {
        let pair = Pair::new(mode);
        pair.tree("tree", rich);
        pair.tree("over", |path| {
            file(&path.join("seed"), b"another\n", 0o600);
            directory(&path.join("dir"), 0o700);
            file(&path.join("dir/new"), b"new\n", 0o644);
        });
        pair.file(
            "override",
            "2048 /dir/suid\n=384 /seed\n1024 /dir\n512 /\n\n=448 /sub\n",
        );
        pair.file("skip", "/dir\n/sub/link\n\n");
        pair.same(&["-b", "base", "tree"]);
        for args in [
            &["--owner-uid=7"][..],
            &["--owner-gid=8"],
            &["--owner-uid=0", "--owner-gid=-1"],
            &["--canonical-permissions"],
            &["--canonical-permissions", "--owner-uid=0"],
            &["--no-xattrs"],
            &["--mode-ro-executables"],
            &["--statoverride=override"],
            &["--skip-list=skip"],
            &["--statoverride=override", "--owner-uid=3", "--no-xattrs"],
            &["--link-checkout-speedup"],
            &["--fsync=false"],
            &["--fsync=TRUE"],
            &["--disable-fsync"],
        ] {
            pair.same(&[args, &["-b", "dir", "tree"]].concat());
            pair.same(&[args, &["-b", "tree", "--tree=dir=tree"]].concat());
            pair.same(&[args, &["-b", "ref", "--tree=ref=base"]].concat());
            pair.same(&[args, &["-b", "both", "--tree=ref=base", "--tree=dir=over"]].concat());
            pair.same(&[args, &["-b", "twice", "--tree=dir=tree", "--tree=dir=tree"]].concat());
            pair.same(&[args, &["-b", "onto", "--base=base", "--tree=dir=tree"]].concat());
        }
        pair.same(&["-b", "order", "--tree=dir=over", "--tree=dir=tree"]);
        pair.same(&["-b", "order", "--tree=dir=over", "--tree=ref=base"]);
        pair.same(&["-b", "order", "--tree=ref=base", "--tree=ref=base"]);
        pair.fsck();
    }
}

#[test]
fn what_changes_the_commit() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| trees::small(path, 1));
    pair.file("body", "One\n\nTwo\n");
    let first = pair.same(&["-b", "main", "tree"]);
    let none = format!("--parent={first}");
    for args in [
        &["-s", "subject"][..],
        &["--subject=größer", "--body=the\nbody"],
        &["-m", "body"],
        &["-F", "body"],
        &["--body-file=body", "-s", "s"],
        &[
            "--add-metadata-string=version=1.2",
            "--add-metadata-string=x=a=b",
        ],
        &[
            "--add-metadata=number=uint32 7",
            "--add-metadata-string=first=1",
        ],
        &[
            "--add-metadata=d={'x': <1>, 'y': <@as []>}",
            "--add-metadata=b=true",
        ],
        &["--keep-metadata=d", "--keep-metadata=b"],
        &["--add-detached-metadata-string=side=note"],
        &["--bind-ref=zz", "--bind-ref=aa"],
        &["--no-bindings"],
        &["--orphan"],
        &["--orphan", "--bind-ref=elsewhere"],
        &["--parent=none"],
        &[&none],
        &["--timestamp=2024-05-06 07:08:09"],
        &["--timestamp=Mon, 06 May 2024 07:08:09 +0200"],
        &["--table-output"],
        &["--skip-if-unchanged"],
        &["--skip-if-unchanged", "--parent=none"],
    ] {
        let branch = ["-b", "main", "tree"];
        pair.same(&[args, &branch].concat());
        if args[0] != "--keep-metadata=d" {
            pair.same(&[args, &["--orphan", "tree"]].concat());
        }
        let key = ["--print-detached-metadata-key=side", "main"];
        let (real, ours) = (pair.real.run("show", key), pair.ours.run("show", key));
        assert_eq!((ours.code, ours.stdout()), (real.code, real.stdout()));
    }
    assert_eq!(pair.real.refs(), pair.ours.refs());
    pair.fsck();
}

#[test]
fn collections_are_bound() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| trees::small(path, 1));
    for repo in [&pair.real, &pair.ours] {
        repo.ok("config", ["set", "core.collection-id", "org.example.Os"]);
    }
    let own = "--add-metadata-string=ostree.collection-binding=org.example.Other";
    for args in [
        &["-b", "main"][..],
        &["--orphan"],
        &["-b", "main", "--no-bindings"],
        &["-b", "main", own],
    ] {
        pair.same(&[args, &["tree"]].concat());
    }
}

#[test]
fn the_editor_writes_the_message() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| trees::small(path, 1));
    let bins = oxtree_testkit::BinDir::empty();
    let editor = bins.script(
        "editor",
        "cp \"$1\" \"$SAW\"\nprintf '  sub ject  \\n# c\\n\\nbo dy\\n\\nmore  \\n\\n' >\"$1\"",
    );
    let run =
        |tool: oxtree_testkit::Tool, repo: &oxtree_testkit::Repo, saw: &str, args: &[&str]| {
            let tool = tool
                .env("OSTREE_EDITOR", &editor)
                .env("SAW", pair.path(saw));
            let args = [&["-b", "main", "-e", "--timestamp=@1"], args].concat();
            let tree = pair.path("tree");
            let args = [&args[..], &[tree.to_str().unwrap()]].concat();
            tool.repo(repo.path()).ok("commit", args)
        };
    for args in [&[][..], &["-s", "given"], &["-s", "given", "-m", "body"]] {
        let real = run(oxtree_testkit::Tool::ostree(), &pair.real, "real-saw", args);
        let ours = run(crate::pair::our_tool(), &pair.ours, "our-saw", args);
        assert_eq!(ours, real, "{args:?}");
        let saw = |name: &str| std::fs::read_to_string(pair.path(name)).unwrap();
        assert_eq!(saw("our-saw"), saw("real-saw"), "{args:?}");
    }
    let failing = crate::pair::our_tool().env("EDITOR", "true");
    let out = failing
        .repo(pair.ours.path())
        .run("commit", ["-b", "x", "-e", "."]);
    assert!(
        out.expect_failure()
            .stderr()
            .contains("Aborting commit due to empty")
    );
}

#[test]
fn a_tombstone_goes_when_its_commit_returns() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| trees::small(path, 1));
    let commit = pair.same(&["--orphan", "tree"]);
    pair.real
        .ok("config", ["set", "core.tombstone-commits", "true"]);
    pair.real.ok("prune", [format!("--delete-commit={commit}")]);
    let tombstone = pair.real.object(&commit, "tombstone-commit");
    assert!(tombstone.is_file());
    let ours = crate::pair::our_tool().repo(pair.real.path());
    let tree = pair.path("tree");
    let args = [
        "--orphan",
        "--timestamp=@1700000000",
        tree.to_str().unwrap(),
    ];
    assert_eq!(ours.ok("commit", args).trim(), commit);
    assert!(!tombstone.exists());
}

#[test]
fn consumed_directories_are_gone() {
    let pair = Pair::new("bare-user");
    for (name, repo) in [("a", &pair.real), ("b", &pair.ours)] {
        pair.tree(name, |path| trees::small(path, 1));
        pair.file("skip", "/sub\n");
        repo.ok(
            "commit",
            ["-b", "main", "--consume", "--skip-list=skip", name],
        );
        assert!(!pair.path(name).exists());
    }
    assert_eq!(pair.real.ok("ls", ["-RC", "main"]), {
        let real = oxtree_testkit::Tool::ostree().repo(pair.ours.path());
        real.ok("ls", ["-RC", "main"])
    });
}
