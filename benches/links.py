# SPDX-License-Identifier: MIT OR Apache-2.0
"""Two network namespaces, the link between them, and an sshd at the far end."""

import os
import subprocess

from measurement import Command, Failed, helper, sh

WAN = ("50", "100")  # round trip in ms, Mbit/s each way
CLIENT, SERVER, PORT = "198.18.0.1", "198.18.0.2", 2222


class Link:
    """`lan`: a veth pair without limits. `wan`: slowlink.c."""

    def __init__(self, kind, work):
        self.kind, self.work, self.slow = kind, work, None
        self.client, self.server = f"oxbench{os.getpid()}c", f"oxbench{os.getpid()}s"
        self.device = "veth0" if kind == "lan" else "slow0"

    def __enter__(self):
        try:
            self.open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def open(self):
        for ns in (self.client, self.server):
            sh("ip", "netns", "add", ns)
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        if self.kind == "lan":
            sh("ip", "link", "add", self.device, "netns", self.client, "type", "veth",
               "peer", "name", self.device, "netns", self.server)
        else:
            self.slow = subprocess.Popen([helper("slowlink", self.work), self.client, self.server, *WAN],
                                         stdout=subprocess.PIPE, text=True)
            if self.slow.stdout.readline() != "ready\n":
                raise Failed("slowlink does not start; is there a /dev/net/tun?")
        for ns, address in ((self.client, CLIENT), (self.server, SERVER)):
            sh("ip", "-n", ns, "addr", "add", address + "/30", "dev", self.device)
            sh("ip", "-n", ns, "link", "set", self.device, "txqueuelen", "1000", "up")

    def __exit__(self, *_):
        if self.slow:
            self.slow.kill()
            self.slow.wait()
        for ns in (self.client, self.server):
            subprocess.run(["ip", "netns", "del", ns], check=False, stderr=subprocess.DEVNULL)

    def megabytes(self):
        """-> (sent, received) by the client until now, packet headers included"""
        out = sh("nsenter", "--net=/run/netns/" + self.client, "--", "cat", "/proc/self/net/dev")
        for line in out.splitlines():
            name, _, counts = line.partition(":")
            if name.strip() == self.device:
                cells = counts.split()
                return int(cells[8]) / 1e6, int(cells[0]) / 1e6
        raise Failed(f"no device {self.device}")


class Ssh:
    """Keys of the benchmark's own, and the sshd that takes them for root."""

    def __init__(self, work):
        self.home = os.path.join(work, "ssh")
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        os.makedirs("/run/sshd", exist_ok=True)
        for name in ("key", "host"):
            path = os.path.join(self.home, name)
            if not os.path.exists(path):
                sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
        self.options = ["-i", os.path.join(self.home, "key"), "-o", "StrictHostKeyChecking=no",
                        "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]

    def server(self, measure, netns, path, log):
        """Starts an sshd whose sessions find their commands in `path`."""
        conf = os.path.join(self.home, "sshd_config")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"Port {PORT}\nListenAddress {SERVER}\nHostKey {self.home}/host\n"
                    f"AuthorizedKeysFile {self.home}/key.pub\nStrictModes no\nUsePAM no\n"
                    f"PermitRootLogin yes\nPidFile none\nSetEnv PATH={path}\nPrintMotd no\n"
                    f"PrintLastLog no\nUseDNS no\n")
        return Command(measure, ["/usr/sbin/sshd", "-D", "-e", "-f", conf], log, netns).listening(PORT)
