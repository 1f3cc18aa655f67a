# SPDX-License-Identifier: MIT OR Apache-2.0
"""A pusher that asks what ostree-upload's does: URL, repository, ref and the objects on top of what
the server has. Exit code 0: published; 1: refused; 2: nobody can say, as the server went away."""

import http.client
import json
import os
import sys
import urllib.error
import urllib.request

NONE = ""


def ask(method, url, body=None, kind="application/json"):
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def path_of(repo, name):
    return os.path.join(repo, "objects", name[:2], name[2:])


def multipart(repo, names, boundary):
    for name in names:
        yield (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n').encode()
        with open(path_of(repo, name), "rb") as file:
            yield file.read()
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def main(url, repo, ref):
    with open(os.path.join(repo, "refs/heads", ref), encoding="ascii") as file:
        new = file.read().strip()
    there = json.loads(ask("GET", url + "/api/v1/info"))["revs"].get(ref, NONE)
    if there == new:
        return
    objects = os.path.join(repo, "objects")
    names = [folder + name for folder in os.listdir(objects) for name in os.listdir(os.path.join(objects, folder))]
    wish = {"refs": {ref: {"server": there, "client": new}}, "objects": names}
    entry = f"{url}/api/v1/queue/" + json.loads(ask("POST", url + "/api/v1/queue", json.dumps(wish).encode()))["id"]
    missing = json.loads(ask("GET", entry))["objects"]
    body = b"".join(multipart(repo, missing, "between"))
    ask("PUT", entry, body, "multipart/form-data; boundary=between")


try:
    main(*sys.argv[1:])
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode(), file=sys.stderr)
    # A server that begins anew knows nothing of the lists of the one before.
    sys.exit(2 if error.code in (404, 503) else 1)
except (OSError, http.client.HTTPException) as error:
    print(error, file=sys.stderr)
    sys.exit(2)
