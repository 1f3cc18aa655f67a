# SPDX-License-Identifier: MIT OR Apache-2.0
"""The trees and the repositories that runs begin from: made once, then reused."""

import os
import shutil
import subprocess
import sys

from cases import STAMPS, TREES
from measurement import ENV, HERE, Failed, say, sh


def files(top):
    """The paths, below `top`, of the files there."""
    for folder, _, names in os.walk(top):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), top)


def listing(top):
    """What every file and folder below `top` is, but for contents and times."""
    found = set()
    for folder, folders, names in os.walk(top):
        for name in folders + names:
            path = os.path.join(folder, name)
            at = os.lstat(path)
            link = os.readlink(path) if os.path.islink(path) else ""
            found.add((os.path.relpath(path, top), at.st_mode, at.st_uid, at.st_gid, link))
    return found


class Workloads:
    """Trees in one folder, repositories (all made by the real ostree) in another."""

    def __init__(self, work, trees):
        self.trees, self.repos = trees, os.path.join(work, "repos")
        os.makedirs(self.repos, exist_ok=True)

    def path(self, name):
        return os.path.join(self.trees if name in TREES else self.repos, name)

    def need(self, name):
        """-> the path of a tree or repository, which is made if it is not there."""
        path = self.path(name)
        if name in TREES:
            if not os.path.exists(os.path.join(self.trees, f".{name}.done")):
                if subprocess.run([os.path.join(HERE, "make-trees"), self.trees, name],
                                  stdout=sys.stderr, check=False).returncode:
                    raise Failed(f"the tree {name} cannot be made")
        elif not os.path.exists(path):
            part = path + ".part"
            sh("rm", "-rf", part)
            before = {"src-v2": "src-v1", "src-v3": "src-v2", "bare": "src-v2", "bare-user": "src-v2"}.get(name)
            if before:
                self.need(before)
            say("preparing the repository", name)
            self.make(name, part)
            os.rename(part, path)
        return path

    def make(self, name, dst):
        def ostree(*argv):
            return sh("ostree", "--repo=" + dst, *argv)

        if name in ("src-v1", "src-tiny", "src-huge"):
            ostree("init", "--mode=archive")
        elif name == "src-v2":
            self.clone("src-v1", dst)
        elif name == "src-v3":
            self.clone("src-v2", dst)
            edits = dst + ".edits"
            self.edit_ten_files(edits)
            ostree("commit", "-b", "os", "-s", "v3", "--timestamp=" + STAMPS["v3"],
                   "--tree=ref=os", "--tree=dir=" + edits)
            sh("rm", "-rf", edits)
        elif name in ("bare", "bare-user"):
            ostree("init", "--mode=" + name)
            for rev in ("os^", "os"):
                ostree("pull-local", self.path("src-v2"), self.rev("src-v2", rev))
            ostree("refs", "--create=os", self.rev("src-v2"))
        elif name == "refs-5000":
            self.make_refs(dst, ostree, 5000)
        else:
            raise Failed(f"no such workload: {name}")
        if name in ("src-v1", "src-v2", "src-tiny", "src-huge"):
            tree = name[4:]
            ostree("commit", "-b", "os", "-s", tree, "--timestamp=" + STAMPS[tree], "--tree=dir=" + self.need(tree))
        if name.startswith("src-"):
            ostree("summary", "-u")

    def edit_ten_files(self, edits):
        """Ten of v2's configuration files, each with a line more."""
        tree = self.need("v2")
        plain = [f"usr/etc/{path}" for path in sorted(files(tree + "/usr/etc"))]
        plain = [p for p in plain if not os.path.islink(f"{tree}/{p}") and os.path.getsize(f"{tree}/{p}") > 500]
        chosen = plain[::len(plain) // 10][:10]
        os.makedirs(edits)
        # With their folders, so that nothing but these ten files changes.
        subprocess.run(["cp", "-a", "--parents", *chosen, edits], cwd=tree, check=True)
        for path in chosen:
            with open(f"{edits}/{path}", "a", encoding="utf-8") as f:
                f.write(f"# edited: {path}\n")

    @staticmethod
    def make_refs(dst, ostree, count):
        """So many refs, to a hundred small commits."""
        ostree("init", "--mode=archive")
        folder, revs = dst + ".tree", []
        os.makedirs(folder, exist_ok=True)
        for number in range(100):
            with open(folder + "/number", "w", encoding="ascii") as f:
                f.write(str(number))
            revs.append(ostree("commit", "-b", "first", "-s", str(number), "--timestamp=" + STAMPS["v1"],
                               "--tree=dir=" + folder))
        shutil.rmtree(folder)
        os.unlink(dst + "/refs/heads/first")
        for number in range(count):
            path = f"{dst}/refs/heads/app/org.example.App{number:04}/x86_64/stable"
            os.makedirs(os.path.dirname(path))
            with open(path, "w", encoding="ascii") as f:
                f.write(revs[number % len(revs)])

    def rev(self, name, rev="os"):
        return sh("ostree", "--repo=" + self.path(name), "rev-parse", rev).strip()

    def clone(self, name, dst):
        """A copy of a prepared repository, its objects as hard links."""
        src = self.path(name)
        os.makedirs(dst + "/tmp/cache")
        for entry in sorted(os.listdir(src)):
            if entry not in ("tmp", "uncompressed-objects-cache"):
                sh("cp", "-al" if entry == "objects" else "-a", f"{src}/{entry}", f"{dst}/{entry}")

    def fresh(self, made_of, dst):
        """Makes what a run begins from."""
        sh("rm", "-rf", dst)
        kind, _, what = made_of.partition(":")
        if kind == "init":
            sh("ostree", "--repo=" + dst, "init", "--mode=" + what)
        elif kind == "clone":
            self.clone(what, dst)

    @staticmethod
    def warm(*paths):
        """Reads what a run will read, so that all find it in the page cache."""
        for path in paths:
            subprocess.run(["sh", "-c", 'find "$1" -type f -print0 | xargs -0 -r cat >/dev/null', "sh", path],
                           env=ENV, check=True)
        os.sync()

    def check_repo(self, dst, tree, fsck):
        """-> what was found right; Failed if something is wrong."""
        got, want = sh("ostree", "--repo=" + dst, "rev-parse", "os").strip(), self.rev("src-" + tree)
        if got != want:
            raise Failed(f"the ref is {got[:10]}, not {want[:10]}")
        if os.path.exists(f"{dst}/state/{got}.commitpartial"):
            raise Failed("the commit is partial")
        if not fsck:
            return "ref"
        sh("ostree", "--repo=" + dst, "fsck", "--quiet")
        return "fsck"

    def check_tree(self, dst, tree, exact):
        if exact and listing(dst) != listing(self.path(tree)):
            raise Failed("modes or owners differ")
        sh("diff", "-rq", "--no-dereference", self.path(tree), dst)
        return "same tree"
