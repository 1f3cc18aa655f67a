# SPDX-License-Identifier: MIT OR Apache-2.0
"""How each contender is called."""

import functools
import os
import re
import shlex
import subprocess

from links import PORT, SERVER, Ssh
from measurement import say, sh
from workloads import files

OSTREE_PUSH = "ostree-push==1.2.0"
FAR = f"root@{SERVER}"
PATH = "/usr/bin:/bin"


class Peers:
    def __init__(self, work, binary, workloads):
        self.work, self.binary, self.workloads = work, binary, workloads
        self.ssh = Ssh(work)
        # The only folder of the far side's PATH in which there is our binary.
        self.bin, self.venv = os.path.join(work, "bin"), os.path.join(work, "venv")
        os.makedirs(self.bin, exist_ok=True)
        sh("ln", "-sfn", binary, os.path.join(self.bin, "oxtree"))

    @functools.cache
    def here(self, name):
        """Whether a contender can take part."""
        if name == "ours" and not os.access(self.binary, os.X_OK):
            say(f"there is no {self.binary} (make build): only the peers are measured")
            return False
        return name != "ostree-push" or self.install_ostree_push()

    def install_ostree_push(self):
        program = os.path.join(self.venv, "bin/ostree-push")
        if not os.path.exists(program):
            say("installing", OSTREE_PUSH, "in", self.venv)
            # What it depends on, gi's bindings of libostree above all, are Debian's packages.
            sh("/usr/bin/python3", "-m", "venv", "--system-site-packages", self.venv)
            subprocess.run([self.venv + "/bin/pip", "-q", "install", "--no-deps", OSTREE_PUSH], check=False)
        if not os.path.exists(program):
            say("ostree-push cannot be installed and is left out")
            return False
        return True

    def far_path(self, name):
        """The PATH of what the contender runs at the far side."""
        return {"ours": self.bin + ":", "ostree-push": self.venv + "/bin:"}.get(name, "") + PATH

    def local(self, name, case, dst):
        """-> the command of a local case"""
        program = "/usr/bin/ostree" if name == "libostree" else self.binary

        def path(found):
            return dst if found[1] == "dst" else self.workloads.path(found[1])
        return [program] + [re.sub(r"\{([\w-]+)\}", path, word) for word in case.arguments.split()]

    def push(self, name, case, dst):
        """-> the command of a push to `dst` at the far side"""
        src = self.workloads.path(case.source)
        if name == "ours":
            program = [self.binary, "push"]
        elif name == "ostree-push":
            program = [os.path.join(self.venv, "bin/ostree-push")]
        else:
            return ["sh", "-ec", self.rsync(src, dst) if name == "rsync" else self.tar(case, src, dst)]
        return [*program, "-q", "--repo", src, *self.ssh.options, f"ssh://{FAR}:{PORT}{dst}", "os"]

    def serve(self, name, repo, web):
        """-> the command of a web server of a repository"""
        conf = os.path.join(web.home, name + ".conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(web.ours(repo) if name == "ours" else web.nginx(repo))
        return [self.binary, "serve", "--config", conf] if name == "ours" else ["nginx", "-c", conf]

    def rsync(self, src, dst):
        """Objects first, then what names them: as mirrors of OSTree repositories are made."""
        src, dst = shlex.quote(src), shlex.quote(dst)
        rsync = f"rsync -a -e {shlex.quote(self.ssh_command())}"
        return (f"{rsync} --ignore-existing {src}/objects/ {FAR}:{dst}/objects/\n"
                f"{rsync} {src}/refs {src}/summary {FAR}:{dst}/\n")

    def tar(self, case, src, dst):
        """For scale: exactly the objects that are missing, which nobody knows beforehand."""
        objects = set(files(src + "/objects"))
        if case.made_of.startswith("clone:"):
            objects -= set(files(self.workloads.path(case.made_of[6:]) + "/objects"))
        if not objects:
            return f"exec {self.ssh_command()} {FAR} true"
        names = os.path.join(self.work, "new-objects")
        with open(names, "w", encoding="utf-8") as f:
            f.write("".join(f"objects/{each}\n" for each in sorted(objects)) + "refs\nsummary\n")
        return (f"tar -C {shlex.quote(src)} -cf - -T {shlex.quote(names)} |"
                f" {self.ssh_command()} {FAR} tar -C {shlex.quote(dst)} -xf -")

    def ssh_command(self):
        return shlex.join(["ssh", "-p", str(PORT), *self.ssh.options])
