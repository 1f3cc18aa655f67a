// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each file that a repository keeps is emptied, truncated and filled with noise, and this says what each command
//! then does: it names the file, goes on with everything else, and loses nothing. `docs/how-to/repair.md` says the same.

mod fixture;

use self::fixture::{Damage, Does, Kept, Template};
use Does::{Fails, Goes, Incomplete};

/// Files, with commands and what they do. `{dest}` is an empty repository, `{out}` a path where nothing is.
/// Each command has a copy of its own.
const KEPT: &[Kept] = &[
    Kept {
        path: "refs/heads/other",
        but: &[],
        commands: &[
            ("refs", Incomplete("refs/heads/other")),
            ("refs -c", Goes),
            ("refs other", Incomplete("refs/heads/other")),
            ("fsck", Fails("refs/heads/other")),
            ("fsck --all", Fails("refs/heads/other")),
            ("summary -u", Incomplete("refs/heads/other")),
            ("prune", Goes),
            ("prune --refs-only", Incomplete("refs/heads/other")),
            (
                "prune --refs-only --no-prune",
                Incomplete("refs/heads/other"),
            ),
            (
                "prune --keep-younger-than=now",
                Incomplete("refs/heads/other"),
            ),
            ("log main", Goes),
            ("log other", Fails("refs/heads/other")),
            ("show other", Fails("refs/heads/other")),
            ("rev-parse other", Fails("refs/heads/other")),
            ("ls main", Goes),
            ("checkout -U main {out}", Goes),
            ("checkout -U other {out}", Fails("refs/heads/other")),
            ("export -o {out} main", Goes),
            ("push {dest}", Incomplete("refs/heads/other")),
            ("push {dest} main", Goes),
            ("push {dest} other", Fails("refs/heads/other")),
            ("pull-local --repo={dest} {repo} main", Goes),
            (
                "pull-local --repo={dest} {repo} other",
                Fails("refs/heads/other"),
            ),
            ("static-delta generate --empty main", Goes),
            ("commit --orphan --tree=ref=main", Goes),
            ("commit -b main --tree=ref=main", Goes),
            ("commit -b other --tree=ref=main", Goes),
            ("reset other main", Goes),
            ("refs --create=other main", Fails("refs/heads/other")),
            ("refs --force --create=other main", Goes),
            ("refs --create=new main", Goes),
            ("refs --delete other", Goes),
            ("refs --delete main", Goes),
            ("push --repo={source} {repo} other", Goes),
            ("push --repo={source} --delete other {repo}", Goes),
            ("push --repo={source} {repo} main", Goes),
        ],
    },
    Kept {
        path: "refs/remotes/origin/main",
        but: &[],
        commands: &[
            ("refs", Incomplete("refs/remotes/origin/main")),
            ("fsck", Fails("refs/remotes/origin/main")),
            ("log origin:main", Fails("refs/remotes/origin/main")),
            ("log main", Goes),
            ("summary -u", Goes),
            ("prune --refs-only", Incomplete("refs/remotes/origin/main")),
            ("refs --delete origin:main", Goes),
            ("refs --delete origin:", Goes),
            ("push {dest}", Goes),
        ],
    },
    Kept {
        path: "refs/mirrors/org.example.M/m",
        but: &[],
        commands: &[
            ("refs", Goes),
            ("refs -c", Incomplete("refs/mirrors/org.example.M/m")),
            ("fsck", Fails("refs/mirrors/org.example.M/m")),
            (
                "prune --refs-only",
                Incomplete("refs/mirrors/org.example.M/m"),
            ),
            ("refs -c --delete org.example.M", Goes),
            ("summary -u", Goes),
        ],
    },
    Kept {
        path: "{commit other}",
        but: &[],
        commands: &[
            ("refs", Goes),
            ("fsck", Fails(".commit")),
            ("prune", Fails("other")),
            ("prune --refs-only", Fails("other")),
            ("summary -u", Incomplete("other")),
            ("checkout -U main {out}", Goes),
            ("checkout -U other {out}", Fails("commit")),
            ("push {dest} main", Goes),
            ("pull-local --repo={dest} {repo} main", Goes),
            ("refs --delete other", Goes),
            ("commit -b new --tree=ref=main", Goes),
        ],
    },
    Kept {
        path: "{dirtree other}",
        but: &[],
        commands: &[
            ("fsck", Fails(".dirtree")),
            ("prune", Fails("irtree")),
            ("checkout -U main {out}", Goes),
            ("checkout -U other {out}", Fails("irtree")),
            ("push {dest} main", Goes),
            ("push {dest} other", Fails("irtree")),
        ],
    },
    Kept {
        path: "{file other}",
        but: &[],
        commands: &[
            ("fsck", Fails(".file")),
            ("checkout -U main {out}", Goes),
            ("checkout -U other {out}", Fails("")),
            ("push {dest} main", Goes),
            ("push {dest} other", Fails("")),
            ("prune --refs-only", Goes),
        ],
    },
    Kept {
        path: "{commitmeta main}",
        // No bytes are no signatures.
        but: &[Damage::Empty],
        commands: &[
            ("fsck", Fails(".commitmeta")),
            ("checkout -U main {out}", Goes),
            ("checkout -U other {out}", Goes),
            ("prune --refs-only", Goes),
            ("refs", Goes),
            ("push {dest} other", Goes),
        ],
    },
    Kept {
        path: "summary",
        but: &[],
        commands: &[
            ("summary -v", Fails("summary")),
            ("fsck", Fails("summary")),
            ("summary -u", Goes),
            ("refs", Goes),
            ("push {dest}", Goes),
            ("prune --refs-only", Goes),
        ],
    },
    Kept {
        path: "{superblock}",
        but: &[],
        commands: &[
            ("fsck", Fails("deltas/")),
            ("static-delta list", Goes),
            ("static-delta reindex", Goes),
            ("static-delta generate --empty main", Goes),
            ("summary -u", Goes),
            ("prune --refs-only", Goes),
            ("pull-local --repo={dest} {repo} main", Goes),
        ],
    },
    Kept {
        path: "{part}",
        but: &[],
        commands: &[
            ("fsck", Fails("deltas/")),
            ("summary -u", Goes),
            ("pull-local --repo={dest} {repo} main", Goes),
        ],
    },
    Kept {
        path: "{index}",
        // No bytes are an index of no deltas.
        but: &[Damage::Empty],
        commands: &[
            ("fsck", Fails("delta-indexes/")),
            ("static-delta reindex", Goes),
            ("summary -u", Goes),
            ("pull-local --repo={dest} {repo} main", Goes),
        ],
    },
    Kept {
        path: "state/refs-journal",
        but: &[],
        commands: &[
            ("fsck", Fails("state/refs-journal")),
            ("refs", Goes),
            ("refs --create=new main", Goes),
            ("commit -b main --tree=ref=main", Goes),
            ("prune --refs-only", Goes),
        ],
    },
    Kept {
        path: "config",
        // The half that is left is a config.
        but: &[Damage::Truncated],
        commands: &[
            ("refs", Fails("config")),
            ("fsck", Fails("config")),
            ("commit -b main --tree=ref=main", Fails("config")),
            ("push {dest}", Fails("config")),
            ("prune --refs-only", Fails("config")),
            ("pull-local --repo={dest} {repo}", Fails("config")),
        ],
    },
    Kept {
        path: ".lock",
        but: &[],
        commands: &[("commit -b new --tree=ref=main", Goes), ("prune", Goes)],
    },
    Kept {
        path: "tmp/cache/summaries/origin",
        but: &[],
        commands: &[
            ("refs", Goes),
            ("prune", Goes),
            ("commit -b new --tree=ref=main", Goes),
        ],
    },
    Kept {
        path: "origin.trustedkeys.gpg",
        but: &[],
        commands: &[
            ("refs", Goes),
            ("fsck", Goes),
            ("remote list", Goes),
            ("push {dest}", Goes),
        ],
    },
    Kept {
        path: "origin.cookies.txt",
        but: &[],
        commands: &[("refs", Goes), ("remote list-cookies origin", Goes)],
    },
];

#[test]
fn every_kept_file() {
    let template = Template::new();
    let mut wrong = Vec::new();
    for kept in KEPT {
        for damage in Damage::ALL {
            if !kept.but.contains(&damage) {
                wrong.extend(template.check(kept, damage));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn links_and_folders_among_the_refs() {
    let template = Template::new();
    let repo = template.copy();
    let heads = repo.path().join("refs/heads");
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, heads.join(name)).expect("symlink");
    };
    link("nothing", "dangling");
    std::fs::create_dir(heads.join("folder")).expect("mkdir");
    // No commit is missing.
    let refs = template.run(&repo, "refs");
    assert_eq!(refs.code, Some(0), "{refs:?}");
    assert!(refs.stderr().contains("refs/heads/dangling"), "{refs:?}");
    assert_eq!(template.run(&repo, "summary -u").code, Some(0));
    assert_eq!(template.run(&repo, "prune --refs-only").code, Some(0));
    assert_eq!(template.run(&repo, "fsck").code, Some(1));
    link("loop", "loop");
    link("../../config", "out");
    let refs = template.run(&repo, "refs");
    assert_eq!(refs.code, Some(1), "{refs:?}");
    for name in ["dangling", "loop", "out"] {
        assert!(refs.stderr().contains(name), "{refs:?}");
        let deleted = template.run(&repo, &format!("refs --delete {name}"));
        assert_eq!(deleted.code, Some(0), "{deleted:?}");
    }
    assert_eq!(
        template.run(&repo, "commit -b folder --tree=ref=main").code,
        Some(0)
    );
    assert_eq!(template.run(&repo, "fsck").code, Some(0));
}

#[test]
fn a_pull_of_all_refs_names_those_that_it_cannot_have() {
    let template = Template::new();
    let repo = template.copy();
    assert_eq!(template.run(&repo, "refs --delete origin:").code, Some(0));
    std::fs::write(repo.path().join("refs/heads/bad"), "").expect("write");
    std::fs::remove_file(template.path(&repo, "{commit other}")).expect("delete the commit");
    let pulled = template.run(&repo, "pull-local --repo={dest} {repo}");
    assert_eq!(pulled.code, Some(1), "{pulled:?}");
    for name in ["refs/heads/bad", "refs/heads/other"] {
        assert!(pulled.stderr().contains(name), "{pulled:?}");
    }
    let refs = template.run(&repo, "refs --repo={dest}").stdout();
    assert_eq!(refs, "main\n");
}

#[test]
fn prune_needs_the_commit_of_each_ref() {
    let template = Template::new();
    for ways in [
        "prune",
        "prune --refs-only",
        "prune --refs-only --depth=0",
        "prune --keep-younger-than=now",
        "prune --retain-branch-depth=main=0",
        "prune --only-branch=main --depth=0",
        "prune '--keep-unreferenced-younger-than=1 day'",
        "prune --commit-only --refs-only",
        "prune --no-prune",
    ] {
        let repo = template.copy();
        let commit = template.path(&repo, "{commit other}");
        std::fs::remove_file(&commit).expect("delete the commit");
        let before = fixture::objects(repo.path());
        let pruned = template.run(&repo, ways);
        assert_eq!(pruned.code, Some(1), "{ways}: {pruned:?}");
        let said = pruned.stderr();
        assert!(
            said.contains("'other'") && said.contains("refs --delete"),
            "{ways}: {said}"
        );
        assert_eq!(fixture::objects(repo.path()), before, "{ways}");
        // As it says: delete the ref, or bring the commit back.
        assert_eq!(
            template
                .run(&repo, "push --repo={source} {repo} other")
                .code,
            Some(0)
        );
        let whole = template.run(&repo, ways);
        assert_eq!(whole.code, Some(0), "{ways}: {whole:?}");
    }
}

#[test]
fn all_users_cannot_write_to_a_new_repository() {
    use std::os::unix::fs::PermissionsExt;
    let template = Template::new();
    let path = template.dir.path().join("open to all");
    let init = format!(
        "umask 000; exec '{}' init --mode=archive --repo='{}'",
        fixture::OXTREE,
        path.display()
    );
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(init)
        .status();
    assert!(status.expect("sh").success());
    for folder in [".", "objects", "refs/heads", "tmp/cache", "state"] {
        let mode = path
            .join(folder)
            .metadata()
            .expect("a folder")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o775, "{folder}");
    }
}
