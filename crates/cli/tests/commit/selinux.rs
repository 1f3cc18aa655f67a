// SPDX-License-Identifier: MIT OR Apache-2.0
//! Labels by a policy that lies in a directory or in a commit. The kernel need not know SELinux.

use std::os::unix::fs::symlink;
use std::path::Path;

use oxtree_testkit::trees;

use crate::pair::Pair;

const CONTEXTS: &str = r"# every kind of line
/.*			system_u:object_r:default_t:s0
/	-d	system_u:object_r:root_t:s0
/usr/lib/.*\.so	--	u:object_r:lib_t:s0
/usr/lib/exact\.so	u:object_r:exact_t:s0
/usr/lib/[^/]*	u:object_r:any_t:s0
/usr/lib/later	u:object_r:plain_t:s0
/usr/lib/la.*	u:object_r:meta_t:s0
/alt|/b	u:object_r:alt_t:s0
/usr/(bin|sbin)/x?y+	u:object_r:group_t:s0
/usr/sbin(/.*)?	u:object_r:sbin_t:s0
/opt	-d	u:object_r:optdir_t:s0
/opt	-l	u:object_r:optlink_t:s0
/etc(/.*)?	u:object_r:etc_t:s0
/usr/etc/.*	u:object_r:usretc_t:s0
/usr/lib/none	<<none>>
/home/[^/]+/\.x[0-9]{2}	u:object_r:digits_t:s0
";

fn policy(root: &Path) {
    let files = root.join("selinux/test/contexts/files");
    std::fs::create_dir_all(&files).unwrap();
    let write = |path: &str, text: &str| std::fs::write(root.join("selinux").join(path), text);
    write("config", "SELINUX=permissive\nSELINUXTYPE=test\n").unwrap();
    // libostree reads the policy itself, too, to name it by its checksum.
    std::fs::create_dir(root.join("selinux/test/policy")).unwrap();
    write("test/policy/policy.33", "x").unwrap();
    let contexts = |suffix: &str, text: &str| {
        let path = format!("test/contexts/files/file_contexts{suffix}");
        write(&path, text).unwrap();
    };
    contexts("", CONTEXTS);
    contexts(".homedirs", "/home/[^/]*\tu:object_r:home_t:s0\n");
    contexts(".local", "/home/me\t-d\tu:object_r:mine_t:s0\n");
    contexts(".subs_dist", "/mnt/usr /usr\n/mnt /opt\n");
    contexts(".subs", "/foo /mnt\n# /opt /usr\n/foo/usr /usr\n");
}

fn files(path: &Path) {
    let paths = "usr/lib/a.so usr/lib/exact.so usr/lib/later usr/lib/latest usr/lib/d/a.so alt b \
                 bxx xb altx usr/bin/y usr/bin/xyy usr/bin/xx usr/sbin/y usr/sbin/z \
                 foo/usr/lib/zz foo/x mnt/usr/lib/a.so home/me/.x12 home/you/.x1 home/me/f";
    for name in paths.split_whitespace() {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, name).unwrap();
    }
    std::fs::write(path.join("usr/lib/later\n"), "").unwrap();
    std::fs::create_dir_all(path.join("opt")).unwrap();
    symlink("x", path.join("opt/link")).unwrap();
    symlink("x", path.join("usr/bin/yy")).unwrap();
    std::fs::write(path.join("usr/lib/none"), "").unwrap();
    // What the policy has no label for keeps the one it has; any other is replaced.
    trees::xattr(&path.join("usr/lib/none"), "security.selinux", b"old");
    trees::xattr(&path.join("usr/lib/a.so"), "security.selinux", b"old");
}

#[test]
fn every_source_is_labelled() {
    for mode in ["archive", "bare", "bare-user"] {
        let pair = Pair::new(mode);
        pair.tree("tree", files);
        pair.tree("root", |path| policy(&path.join("etc")));
        pair.tree("base", |path| {
            policy(&path.join("usr/etc"));
            trees::small(path, 1);
        });
        oxtree_testkit::Tool::new("/bin/tar")
            .dir(pair.path(""))
            .ok(["-cf", "tree.tar", "-C", "tree", "."]);
        pair.same(&["-b", "plain", "--tree=dir=tree"]);
        pair.same(&["-b", "base", "--tree=dir=base"]);
        let by_root = "--selinux-policy=root";
        for args in [
            &[by_root, "--tree=dir=tree"][..],
            &[by_root, "--tree=tar=tree.tar"],
            &[by_root, "--tree=ref=plain"],
            &[by_root, "--base=plain", "--tree=dir=base"],
            &[by_root, "--no-xattrs", "--tree=dir=tree"],
            &[by_root, "--canonical-permissions", "--tree=dir=tree"],
            &["-P", "--tree=dir=base", "--tree=dir=tree"],
            &["-P", "base"],
            &["-P", "tree"],
            &["-P", "--tree=ref=base", "--tree=dir=tree"],
            &["-P", "--tree=ref=base", "--tree=tar=tree.tar"],
            &["-P", "--base=base", "--tree=tar=tree.tar"],
        ] {
            pair.same(&[&["--orphan"], args].concat());
        }
        for args in [&["-P", by_root, "tree"][..], &["-P", "--tree=tar=tree.tar"]] {
            pair.same_failure(&[&["--orphan"], args].concat());
        }
        pair.fsck();
    }
}

#[test]
fn usr_etc_as_etc() {
    let pair = Pair::new("archive");
    pair.tree("root", |path| policy(&path.join("etc")));
    pair.tree("tree", |path| {
        std::fs::create_dir_all(path.join("usr/etc")).unwrap();
        trees::small(&path.join("usr/etc"), 1);
    });
    let label = |more: &[&str]| {
        let args = [&["--orphan", "--selinux-policy=root", "tree"], more].concat();
        let commit = pair.ours.ok("commit", args);
        let listed = pair.ours.ok("ls", ["-X", commit.trim(), "/usr/etc/seed"]);
        ["usretc_t", "object_r:etc_t"].map(|label| listed.contains(label))
    };
    assert_eq!(label(&[]), [true, false]);
    assert_eq!(label(&["--selinux-labeling-epoch=0"]), [true, false]);
    assert_eq!(label(&["--selinux-labeling-epoch=1"]), [false, true]);
}

#[test]
fn no_labels_where_they_cannot_be_kept_or_are_switched_off() {
    let pair = Pair::new("bare-user-only");
    pair.tree("root", |path| policy(&path.join("etc")));
    pair.tree("none", |_| {});
    pair.tree("tree", files);
    let plain = pair
        .ours
        .ok("commit", ["--orphan", "--timestamp=@1", "tree"]);
    for root in ["root", "none"] {
        let policy = format!("--selinux-policy={root}");
        let args = ["--orphan", "--timestamp=@1", "tree", &policy];
        assert_eq!(pair.ours.ok("commit", args), plain);
    }
    pair.ours.fsck();
    pair.both_fail(&["--orphan", "--selinux-policy=nope", "tree"], "nope");
}

#[test]
fn a_checkout_is_labelled() {
    let pair = Pair::new("archive");
    pair.tree("root", |path| policy(&path.join("etc")));
    pair.tree("tree", files);
    let args = [
        "--orphan",
        "--timestamp=@1",
        "--selinux-policy=root",
        "tree",
    ];
    let labelled = pair.ours.ok("commit", args);
    let plain = pair.ours.ok("commit", ["--orphan", "tree"]);
    let out = pair.path("out");
    pair.ours
        .checkout(plain.trim(), &out, &["--selinux-policy=root"]);
    let again = pair
        .ours
        .ok("commit", ["--orphan", "--timestamp=@1", "out"]);
    // What has no label loses the one it had: that is not wanted from a commit any more.
    let unlabelled = out.join("usr/lib/none");
    trees::xattr(&unlabelled, "security.selinux", b"old");
    let restored = pair
        .ours
        .ok("commit", ["--orphan", "--timestamp=@1", "out"]);
    assert_ne!(again, labelled);
    assert_eq!(restored, labelled);
    std::fs::remove_dir_all(&out).unwrap();
    let part = [
        "--selinux-policy=root",
        "--subpath=/usr/lib",
        "--selinux-prefix=/usr/lib/",
    ];
    pair.ours.checkout(plain.trim(), &out, &part);
    pair.tree("whole", |path| {
        std::fs::create_dir(path.join("usr")).unwrap();
        std::fs::rename(&out, path.join("usr/lib")).unwrap();
    });
    let listed = |commit: &str| {
        let listed = pair.ours.ok("ls", ["-R", "-X", commit.trim(), "/usr/lib"]);
        let lines = listed.lines().filter(|line| !line.ends_with("/none"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let part = pair.ours.ok("commit", ["--orphan", "whole"]);
    assert_eq!(listed(&part), listed(&labelled));
}
