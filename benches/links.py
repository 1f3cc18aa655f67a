# SPDX-License-Identifier: MIT OR Apache-2.0
"""Two network namespaces, the link between them, and the servers at the far end."""

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


class Web:
    """Where a repository is served to the real ostree, and what each server is told for it."""

    def __init__(self, home, tls):
        self.home, self.tls, self.port = home, tls, 8443 if tls else 8080
        self.url = f"http{'s' if tls else ''}://{SERVER}:{self.port}"
        self.key, self.certificate = os.path.join(home, "tls.key"), os.path.join(home, "tls.crt")
        if not os.path.exists(self.certificate):
            sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
               "/CN=bench", "-addext", "subjectAltName=IP:" + SERVER, "-keyout", self.key, "-out", self.certificate)

    def ours(self, repo):
        listen = f"listen_tls: ['{SERVER}:{self.port}']\nlisten: []\n" if self.tls else \
            f"listen: ['{SERVER}:{self.port}']\ninsecure_http: yes\n"
        return (f"{listen}tls_certificate: {self.certificate}\ntls_key: {self.key}\n"
                f"repos:\n  /: {{path: {repo}}}\n")

    def nginx(self, repo):
        tls = f"ssl http2; ssl_certificate {self.certificate}; ssl_certificate_key {self.key}" if self.tls else ""
        return (f"daemon off; user root; worker_processes auto; pid {self.home}/nginx.pid;\n"
                f"events {{ worker_connections 1024; }}\n"
                f"http {{ access_log off; sendfile on; tcp_nopush on; gzip off; keepalive_requests 1000000;\n"
                f"server {{ listen {SERVER}:{self.port} {tls}; root {repo}; }} }}\n")
