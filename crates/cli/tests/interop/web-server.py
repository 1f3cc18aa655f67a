#!/usr/bin/python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Stands in for the web-server.py of flatpak's tests: `oxtree serve` answers for each repository.

It is started with the directory of the repositories, writes httpd-port and httpd-pid, and reports
on descriptor 3 that it runs. A repository's server starts with the first request for it. Other
files are served as the original does. OXTREE is the binary, OXTREE_LOG gets what the servers print.
"""

import http.client
import http.server
import os
import subprocess
import sys

servers = {}


def port_of(name):
    """The port of the server of repos/NAME, or None if that is no repository."""
    if not os.path.isdir(os.path.join(name, "objects")):
        return None
    if name not in servers:
        words = [os.environ["OXTREE"], "serve", "--listen", "127.0.0.1:0", name]
        log = open(os.environ["OXTREE_LOG"], "ab")
        server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
        servers[name] = (server, int(server.stdout.readline().strip().rstrip("/").rsplit(":", 1)[1]))
    return servers[name][1]


class Front(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        name, _, path = self.path.lstrip("/").partition("/")
        # The tests lay files of flatpak's beside a repository's own.
        port = None if path.endswith((".flatpakrepo", ".flatpakref")) else port_of(name)
        if port is None:
            del self.headers["If-Modified-Since"]
            return super().do_GET()
        upstream = http.client.HTTPConnection("127.0.0.1", port)
        upstream.request("GET", "/" + path, headers=dict(self.headers))
        answer = upstream.getresponse()
        self.log_request(answer.status)
        self.send_response_only(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("connection", "transfer-encoding"):
                self.send_header(key, value)
        self.end_headers()
        while piece := answer.read(1 << 16):
            self.wfile.write(piece)


def main():
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
    for name, number in ("port", httpd.server_address[1]), ("pid", os.getpid()):
        with open("httpd-" + name, "w") as file:
            file.write(str(number))
    os.write(3, b"Started\n")
    os.chdir(sys.argv[1])
    httpd.serve_forever()


main()
