# SPDX-License-Identifier: MIT OR Apache-2.0
"""Running a command and learning what it used."""

import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "SHELL": "/bin/bash"}


class Failed(Exception):
    """A run that did not end well, and why."""


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def sh(*argv):
    """Runs a command of the benchmark's own; -> what it printed."""
    done = subprocess.run(argv, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode:
        raise Failed(f"{' '.join(argv[:4])} …: exit status {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def helper(name, work):
    """A small C program of ours, built in the work directory."""
    source, built = os.path.join(HERE, name + ".c"), os.path.join(work, name)
    if not os.path.exists(built) or os.path.getmtime(built) < os.path.getmtime(source):
        sh("cc", "-O2", "-o", built, source)
    return built


def tail(path):
    with open(path, "rb") as f:
        return " ".join(f.read()[-600:].decode("utf-8", "replace").split())


def descendants(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            children = [int(child) for child in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return children + [each for child in children for each in descendants(child)]


class Command:
    """A command that was started through `measure`, its output in the file `log`."""

    alive = set()

    def __init__(self, measure, argv, log, netns=None):
        self.log, self.used = log, log + ".used"
        argv = [measure, self.used, *argv]
        if netns:
            argv = ["nsenter", "--net=/run/netns/" + netns, "--", *argv]
        with open(log, "wb") as out:
            self.popen = subprocess.Popen(argv, env=ENV, stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=subprocess.STDOUT, start_new_session=True)
        self.alive.add(self)

    def wait(self, limit):
        """-> (exit status, wall seconds, CPU seconds, peak MB)"""
        try:
            self.popen.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"took longer than {limit} s") from None
        self.alive.discard(self)
        with open(self.used, encoding="ascii") as f:
            status, wall, user, system, peak = f.read().split()
        os.unlink(self.used)
        return int(status), float(wall), float(user) + float(system), int(peak) * 1024 / 1e6

    def kill(self):
        for pid in descendants(self.popen.pid):
            end(pid)
        end(self.popen.pid)
        self.popen.wait()
        self.alive.discard(self)

    def stop(self, patience):
        """Ends a server, when its sessions have ended or after so many seconds; -> as wait."""
        until = time.monotonic() + patience
        while (sessions := descendants(self.popen.pid)[1:]) and time.monotonic() < until:
            time.sleep(0.02)
        if patience:
            for pid in sessions:
                end(pid)
        os.killpg(self.popen.pid, signal.SIGTERM)
        return self.wait(30)

    def listening(self, port):
        """Waits until something listens on `port` in the process' network namespace."""
        for _ in range(400):
            if self.popen.poll() is not None:
                raise Failed(f"the server ended at once: {tail(self.log)}")
            with open(f"/proc/{self.popen.pid}/net/tcp", encoding="ascii") as f:
                sockets = [line.split() for line in f.readlines()[1:]]
            if any(cells[1].endswith(f":{port:04X}") and cells[3] == "0A" for cells in sockets):
                return self
            time.sleep(0.02)
        raise Failed(f"nothing listens on port {port}")


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
