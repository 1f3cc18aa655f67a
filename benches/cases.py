# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is measured: the cases, and what each shall reach."""

import re
from typing import NamedTuple

TREES = ("v1", "v2", "tiny", "huge")
# When the trees' commits are made: the same commits, whoever makes them.
STAMPS = {"v1": "2024-01-01T00:00:00Z", "v2": "2024-02-01T00:00:00Z", "v3": "2024-02-02T00:00:00Z",
          "tiny": "2024-01-01T00:00:00Z", "huge": "2024-01-01T00:00:00Z"}


class Local(NamedTuple):
    """Arguments that `ostree` and ours are both called with.

    {name} is the path of a tree or of a prepared repository, {dst} what is
    made for each run: `init:MODE`, an empty repository, `clone:REPO`, a copy
    whose objects are hard links, or nothing. The result's check:

        rev:TREE   the ref `os` is what libostree commits for that tree
        tree:TREE  {dst} has that tree's contents
        exact:TREE and its modes and owners, too
        has:PATH   there is such a file in {dst}
        out        all contenders print the same lines
        rc         it ends well
    """
    made_of: str
    arguments: str
    check: str
    about: str


class Push(NamedTuple):
    """A push over SSH of a prepared repository's ref `os`."""
    source: str
    made_of: str
    tree: str
    about: str


class Pull(NamedTuple):
    """The real `ostree pull` of a prepared repository's ref `os`; the contenders are servers."""
    source: str
    made_of: str
    tree: str
    tls: bool
    about: str


def _commit(made_of, tree, about):
    return Local(made_of, f"--repo={{dst}} commit -b os -s {tree} --timestamp={STAMPS[tree]} --tree=dir={{{tree}}}",
                 f"rev:{tree}", about)


_PUSHES = {
    "ssh-initial": Push("src-v1", "init:archive", "v1", "push of v1 to an empty repository"),
    "ssh-update": Push("src-v2", "clone:src-v1", "v2", "push of v2 where v1 is"),
    "ssh-small": Push("src-v3", "clone:src-v2", "v3", "push of v3, ten edited files, where v2 is"),
    "ssh-noop": Push("src-v2", "clone:src-v2", "v2", "push of v2 where v2 is"),
    "ssh-tiny": Push("src-tiny", "init:archive", "tiny", "push of 100,000 tiny files"),
    "ssh-huge": Push("src-huge", "init:archive", "huge", "push of 4 files of 512 MiB"),
}
_LINKS = {"ssh-initial": ("lan", "wan"), "ssh-update": ("wan",), "ssh-small": ("wan",),
          "ssh-noop": ("wan", "lan"), "ssh-tiny": ("lan",), "ssh-huge": ("lan",)}

CASES = {f"{name}-{link}": push for name, push in _PUSHES.items() for link in _LINKS[name]}
CASES.update({
    "serve-http1": Pull("src-v1", "init:archive", "v1", False, "the real ostree pulls v1, over HTTP/1.1"),
    "serve-http2": Pull("src-v1", "init:archive", "v1", True, "the same, over HTTP/2 with TLS"),
})
CASES.update({
    "commit-archive": _commit("init:archive", "v1", "v1 into an empty archive repository"),
    "commit-archive-v2": _commit("clone:src-v1", "v2", "v2 on top of v1: all is hashed, what is new is packed"),
    "commit-archive-tiny": _commit("init:archive", "tiny", "100,000 tiny files into an archive repository"),
    "commit-archive-huge": _commit("init:archive", "huge", "4 files of 512 MiB into an archive repository"),
    "commit-bare-user": _commit("init:bare-user", "v1", "v1 into an empty bare-user repository"),
    "commit-bare": _commit("init:bare", "v1", "v1 into an empty bare repository"),
    "fsck-archive": Local("", "--repo={src-v2} fsck --quiet", "rc", "fsck of v1 and v2 in an archive repository"),
    "fsck-bare-user": Local("", "--repo={bare-user} fsck --quiet", "rc", "the same in a bare-user repository"),
    "checkout-bare-user": Local("", "--repo={bare-user} checkout -U -H os {dst}", "tree:v2",
                                "v2 from a bare-user repository, as hard links"),
    "checkout-bare": Local("", "--repo={bare} checkout -H os {dst}", "exact:v2",
                           "v2 from a bare repository, as hard links"),
    "checkout-archive": Local("", "--repo={src-v1} checkout -U --disable-cache os {dst}", "tree:v1",
                              "v1 from an archive repository: every file is unpacked"),
    "ls": Local("", "--repo={src-v2} ls -R os", "out", "ls -R of v2"),
    "refs-5000": Local("", "--repo={refs-5000} refs", "out", "a list of 5000 refs"),
    "summary-5000": Local("clone:refs-5000", "--repo={dst} summary -u", "has:summary", "a summary of 5000 refs"),
})


class Target(NamedTuple):
    """Ours over the peer's shall be at most so much."""
    case: str
    figure: str  # wall, or bytes: sent and received
    peer: str
    limit: float


TARGETS = [Target(*line) for line in (
    ("ssh-initial-lan", "wall", "ostree-push", 0.1), ("ssh-initial-lan", "wall", "rsync", 1.0),
    ("ssh-initial-wan", "wall", "rsync", 1.0), ("ssh-initial-wan", "bytes", "rsync", 1.0),
    ("ssh-update-wan", "wall", "rsync", 0.6), ("ssh-update-wan", "bytes", "rsync", 0.4),
    ("ssh-update-wan", "wall", "ostree-push", 0.02),
    ("ssh-small-wan", "wall", "rsync", 0.3), ("ssh-small-wan", "wall", "ostree-push", 0.3),
    ("ssh-noop-wan", "wall", "ostree-push", 0.65), ("ssh-noop-lan", "wall", "ostree-push", 0.5),
    ("ssh-tiny-lan", "wall", "rsync", 1.0), ("ssh-huge-lan", "wall", "rsync", 1.0),
    ("serve-http1", "wall", "nginx", 1.0), ("serve-http2", "wall", "nginx", 1.0),
    ("commit-archive", "wall", "libostree", 0.25), ("commit-archive-v2", "wall", "libostree", 0.25),
    ("commit-archive-tiny", "wall", "libostree", 0.25), ("commit-archive-huge", "wall", "libostree", 0.25),
    ("commit-bare-user", "wall", "libostree", 0.8), ("commit-bare", "wall", "libostree", 1.0),
    ("fsck-archive", "wall", "libostree", 0.4), ("fsck-bare-user", "wall", "libostree", 0.5),
    ("checkout-bare-user", "wall", "libostree", 0.7), ("checkout-bare", "wall", "libostree", 0.7),
    ("checkout-archive", "wall", "libostree", 0.9),
    ("ls", "wall", "libostree", 0.4), ("refs-5000", "wall", "libostree", 0.4),
    ("summary-5000", "wall", "libostree", 0.4),
)]
# The most memory that either end of our push, and our server, may use, in MB.
PUSH_PEAK_MB = 100

# Peers that take many minutes or hours for one run: left out unless asked for.
SLOW = {("ssh-initial-wan", "ostree-push"), ("ssh-update-wan", "ostree-push")}


def contenders(case):
    """Who takes part in a case, in the order they run."""
    what = CASES[case]
    if isinstance(what, Push):
        return ["ostree-push", "ours", "rsync", "tar"]
    return ["nginx" if isinstance(what, Pull) else "libostree", "ours"]


def needs(case):
    """The trees and prepared repositories that a case uses."""
    what = CASES[case]
    found = set()
    if what.made_of.startswith("clone:"):
        found.add(what.made_of[6:])
    if isinstance(what, (Push, Pull)):
        return found | {what.source, "src-" + what.tree}
    found |= set(re.findall(r"\{([\w-]+)\}", what.arguments)) - {"dst"}
    kind, _, tree = what.check.partition(":")
    if kind == "rev":
        found.add("src-" + tree)
    elif kind in ("tree", "exact"):
        found.add(tree)
    return found
