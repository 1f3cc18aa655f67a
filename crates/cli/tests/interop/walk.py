#!/usr/bin/python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads and writes a repository through libostree's GObject introspection.

walk.py read REPO: prints all that is in it, one fact a line, sorted.
walk.py write REPO DIR: commits DIR to `gi`, on top of `main`, sets detached metadata, and makes the summary.
walk.py apply REPO FILE: applies the static delta in FILE.
walk.py split REPO TO: copies all into the empty repository TO, whose mode is bare-split-xattrs.
"""

import hashlib
import os
import sys

import gi

gi.require_version("OSTree", "1.0")
from gi.repository import Gio, GLib, OSTree  # noqa: E402

FILE, TREE, META, COMMIT = (
    OSTree.ObjectType.FILE,
    OSTree.ObjectType.DIR_TREE,
    OSTree.ObjectType.DIR_META,
    OSTree.ObjectType.COMMIT,
)
# They tell when and by whom a summary was made.
UNSTEADY = ("ostree.summary.last-modified", "ostree.summary.tombstone-commits", "ostree.static-deltas")


def hexed(value):
    return bytes(value).hex()


def attributes(variant):
    return sorted((bytes(name).rstrip(b"\0"), bytes(value)) for name, value in variant.unpack())


def contents(stream):
    sha, size = hashlib.sha256(), 0
    while stream is not None:
        piece = stream.read_bytes(1 << 16, None).get_data()
        if not piece:
            break
        sha.update(piece)
        size += len(piece)
    return size, sha.hexdigest()


class Walk:
    def __init__(self, repo):
        self.repo, self.seen = repo, set()

    def file(self, path, checksum):
        _, stream, info, xattrs = self.repo.load_file(checksum, None)
        size, digest = contents(stream)
        assert size == info.get_size() or info.get_is_symlink(), path
        unix = [info.get_attribute_uint32("unix::" + name) for name in ("uid", "gid", "mode")]
        print("file", path, checksum, unix, size, digest, info.get_symlink_target(), attributes(xattrs))

    def tree(self, path, tree, meta):
        _, value = self.repo.load_variant(META, meta)
        uid, gid, mode, xattrs = value.unpack()
        print("dir", path, tree, meta, uid, gid, mode, sorted((bytes(n), bytes(v)) for n, v in xattrs))
        _, value = self.repo.load_variant(TREE, tree)
        files, dirs = value.unpack()
        for name, checksum in files:
            self.file(f"{path}/{name}", hexed(checksum))
        for name, tree, meta in dirs:
            self.tree(f"{path}/{name}", hexed(tree), hexed(meta))

    def commit(self, name, checksum):
        while checksum and checksum not in self.seen:
            self.seen.add(checksum)
            _, commit, state = self.repo.load_commit(checksum)
            metadata, parent, _, subject, body, time, tree, meta = commit.unpack()
            print("commit", name, checksum, state, sorted(metadata.items()), hexed(parent), subject, body, time)
            _, detached = self.repo.read_commit_detached_metadata(checksum, None)
            print("detached", checksum, detached and sorted(detached.unpack().items()))
            try:
                _, sizes = OSTree.commit_get_object_sizes(commit)
                for size in sizes:
                    print("size", checksum, size.checksum, int(size.objtype), size.unpacked, size.archived)
            except GLib.Error as error:
                print("sizes", checksum, error.message)
            self.tree(name, hexed(tree), hexed(meta))
            checksum = OSTree.commit_get_parent(commit)


def read(repo, path):
    _, refs = repo.list_refs(None, None)
    walk = Walk(repo)
    for name, checksum in sorted(refs.items()):
        print("ref", name, checksum)
        walk.commit(name, checksum)
    _, objects = repo.list_objects(OSTree.RepoListObjectsFlags.ALL | OSTree.RepoListObjectsFlags.NO_PARENTS, None)
    for key in objects:
        checksum, kind = key.unpack()
        repo.fsck_object(OSTree.ObjectType(kind), checksum, None)
        print("object", checksum, kind)
    _, deltas = repo.list_static_delta_names(None)
    for name in deltas:
        print("delta", name)
    summary = os.path.join(path, "summary")
    if os.path.exists(summary):
        with open(summary, "rb") as file:
            data = GLib.Bytes.new(file.read())
        value = GLib.Variant.new_from_bytes(GLib.VariantType("(a(s(taya{sv}))a{sv})"), data, False)
        assert value.is_normal_form()
        refs, metadata = value.unpack()
        for name, (size, checksum, more) in refs:
            print("summary", name, size, hexed(checksum), sorted(more.items()))
        print("summary", sorted((k, v) for k, v in metadata.items() if k not in UNSTEADY))


def write(repo, tree):
    _, parent = repo.resolve_rev("main", False)
    repo.prepare_transaction(None)
    mtree = OSTree.MutableTree.new()
    modifier = OSTree.RepoCommitModifier.new(OSTree.RepoCommitModifierFlags.CANONICAL_PERMISSIONS, None)
    repo.write_directory_to_mtree(Gio.File.new_for_path(tree), mtree, modifier, None)
    _, root = repo.write_mtree(mtree, None)
    metadata = GLib.Variant("a{sv}", {"version": GLib.Variant("s", "7"), "n": GLib.Variant("u", 1)})
    _, commit = repo.write_commit_with_time(parent, "by GI", "body", metadata, root, 1700000000, None)
    repo.transaction_set_ref(None, "gi", commit)
    repo.commit_transaction(None)
    detached = GLib.Variant("a{sv}", {"note": GLib.Variant("as", ["x"])})
    repo.write_commit_detached_metadata(commit, detached, None)
    repo.regenerate_summary(None, None)
    print(commit)


def split(repo, to):
    def place(checksum, kind):
        path = os.path.join(to, "objects", checksum[:2], f"{checksum[2:]}.{kind}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    _, objects = repo.list_objects(OSTree.RepoListObjectsFlags.ALL | OSTree.RepoListObjectsFlags.NO_PARENTS, None)
    for checksum, kind in (key.unpack() for key in objects):
        if kind != FILE:
            _, value = repo.load_variant(OSTree.ObjectType(kind), checksum)
            with open(place(checksum, OSTree.object_type_to_string(OSTree.ObjectType(kind))), "wb") as file:
                file.write(value.get_data_as_bytes().get_data())
            continue
        _, stream, info, xattrs = repo.load_file(checksum, None)
        path = place(checksum, "file")
        if stream is None:
            os.symlink(info.get_symlink_target(), path)
        else:
            with open(path, "wb") as file:
                while piece := stream.read_bytes(1 << 16, None).get_data():
                    file.write(piece)
            os.chmod(path, info.get_attribute_uint32("unix::mode") & 0o7777)
        data = xattrs.get_data_as_bytes().get_data()
        shared = place(hashlib.sha256(data).hexdigest(), "file-xattrs")
        if not os.path.exists(shared):
            with open(shared, "wb") as file:
                file.write(data)
        os.link(shared, place(checksum, "file-xattrs-link"))
    _, refs = repo.list_refs(None, None)
    for name, checksum in refs.items():
        path = os.path.join(to, "refs/heads", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(checksum + "\n")


def main():
    # Bytes that are no text are printed as they are.
    sys.stdout.reconfigure(errors="surrogateescape")
    action, path, *more = sys.argv[1:]
    repo = OSTree.Repo.new(Gio.File.new_for_path(path))
    repo.open(None)
    if action == "read":
        read(repo, path)
    elif action == "write":
        write(repo, *more)
    elif action == "split":
        split(repo, *more)
    else:
        repo.prepare_transaction(None)
        repo.static_delta_execute_offline(Gio.File.new_for_path(more[0]), False, None)
        repo.commit_transaction(None)


main()
