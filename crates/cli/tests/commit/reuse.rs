// SPDX-License-Identifier: MIT OR Apache-2.0
//! Committing checkouts: hard links into the repository are recognised.

use oxtree_testkit::{Tool, trees};

use crate::pair::{Pair, our_tool};

#[test]
fn checkouts_are_committed_alike() {
    for (mode, ways) in [
        ("bare", &[&["-H"][..], &["-C"], &["-U", "-C"]][..]),
        ("bare-user", &[&["-U", "-H"], &["-U", "-C"]]),
        ("bare-user-only", &[&["-U", "-H"], &["-U", "-C"]]),
    ] {
        let pair = Pair::new(mode);
        pair.tree("tree", |path| {
            trees::small(path, 1);
            trees::file(&path.join("suid"), b"suid\n", 0o4755);
            trees::file(&path.join("attribute"), b"a\n", 0o640);
            trees::xattr(&path.join("attribute"), "user.a", b"1");
            std::os::unix::fs::chown(path.join("attribute"), Some(3), Some(4)).unwrap();
            trees::incompressible(&path.join("big"), trees::QUICK, 1);
        });
        // Both tools work on one repository, so that both see the same hard links.
        let real = Tool::ostree().repo(pair.real.path());
        let ours = our_tool().repo(pair.real.path());
        real.ok("config", ["set", "core.fsync", "false"]);
        let base = real.commit("base", pair.path("tree"), &[]);
        for way in ways {
            let out = pair.path("out");
            real.checkout(&base, &out, way);
            trees::file(&out.join("new"), b"new\n", 0o644);
            std::fs::remove_file(out.join("program")).unwrap();
            for args in [
                &[][..],
                &["--link-checkout-speedup"],
                &["-I"],
                &["--devino-canonical", "--owner-uid=7"],
                &["--link-checkout-speedup", "--owner-uid=7"],
                &["--link-checkout-speedup", "--no-xattrs"],
                &["--link-checkout-speedup", "--canonical-permissions"],
            ] {
                assert_eq!(
                    ours.commit("ours", &out, args),
                    real.commit("ours", &out, &[args, &["--parent=none"]].concat()),
                    "{mode} {way:?} {args:?}"
                );
                real.ok("refs", ["--delete", "ours"]);
            }
            std::fs::remove_dir_all(&out).unwrap();
        }
        real.fsck();
    }
}

#[test]
fn links_are_not_even_read() {
    let pair = Pair::new("bare-user");
    pair.tree("tree", |path| trees::many(path, 500, 1));
    let base = pair.ours.commit("base", pair.path("tree"), &[]);
    let out = pair.path("out");
    Tool::ostree()
        .repo(pair.ours.path())
        .checkout(&base, &out, &["-U", "-H"]);
    for option in ["--link-checkout-speedup", "-I"] {
        let args = [
            "-b",
            "again",
            "--table-output",
            option,
            out.to_str().unwrap(),
        ];
        let table = pair.ours.ok("commit", args);
        assert!(table.contains("Content Total: 0\n"), "{table}");
        assert!(table.contains("Content Cache Hits: 500\n"), "{table}");
    }
}
