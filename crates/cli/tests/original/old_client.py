# SPDX-License-Identifier: MIT OR Apache-2.0
"""A pusher of the protocol before version 0.1.1. What goes over the wire is read and written by the
original's own code. Its input is an object in JSON: `command` is what runs the receiver, `repo` the
local repository, `branches` what is pushed; `from` and `skip` are for lies."""

import json
import os
import subprocess
import sys

import gi

gi.require_version("OSTree", "1.0")
from gi.repository import Gio, OSTree
from otpush.receive_legacy import PushMessageReader, PushMessageWriter, ostree_object_path

NONE = "0" * 64


def new_commits(repo, remote, local):
    """The commits from `local` back to `remote`, which has to be among its ancestors."""
    found = []
    while local != remote:
        if local is None:
            sys.exit(f"Remote commit {remote} not descendent of commit {found[0]}")
        found.append(local)
        _, commit = repo.load_variant(OSTree.ObjectType.COMMIT, local)
        local = OSTree.commit_get_parent(commit)
        if local is None and remote == NONE:
            break
    return found


def objects(repo, commit):
    """The files of all objects of a commit, with its detached metadata."""
    _, reachable = repo.traverse_commit(commit, 0, None)
    for checksum, kind in (key.unpack() for key in reachable):
        name = OSTree.object_to_string(checksum, kind)
        if kind == OSTree.ObjectType.FILE:
            name += "z"
        yield name
        if kind == OSTree.ObjectType.COMMIT and os.path.exists(ostree_object_path(repo, name + "meta")):
            yield name + "meta"


def main():
    asked = json.load(sys.stdin)
    repo = OSTree.Repo.new(Gio.File.new_for_path(asked["repo"]))
    repo.open(None)
    receiver = subprocess.Popen(asked["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    writer, reader = PushMessageWriter(receiver.stdin), PushMessageReader(receiver.stdout)
    info = reader.receive_info()
    if info["mode"] != OSTree.RepoMode.ARCHIVE:
        sys.exit("can only push to archives")
    changes = {}
    for branch in asked["branches"]:
        local = repo.resolve_rev(branch, False)[1]
        remote = info["refs"].get(branch, NONE)
        if local != remote:
            changes[branch] = asked.get("from", remote), local
    if changes:
        writer.send_update(changes)
        status = reader.receive_status()
        print("update:", status["message"])
        if status["result"]:
            commits = [new_commits(repo, *revs) for revs in changes.values()]
            names = {name for some in commits for commit in some for name in objects(repo, commit)}
            for name in sorted(names):
                if name.endswith(asked.get("skip", "none")):
                    continue
                writer.send_putobject(repo, name)
                status = reader.receive_status()
                if not status["result"]:
                    print("object:", status["message"])
                    break
    writer.send_done()
    receiver.stdin.close()
    rest = receiver.stdout.read()
    assert rest == b"", rest
    sys.exit(receiver.wait())


main()
