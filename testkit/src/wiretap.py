# SPDX-License-Identifier: MIT OR Apache-2.0
# wiretap.py LOG COMMAND ARGS...: runs the command, passes on what goes through its standard
# input and output, and writes down every piece: its direction, its length, its bytes.
import os, select, subprocess, sys

log = open(sys.argv[1], "ab")
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
open_ends = {0: (b">", child.stdin.fileno()), child.stdout.fileno(): (b"<", 1)}


def pass_on(to, piece):
    try:
        while piece:
            piece = piece[os.write(to, piece):]
    except BrokenPipeError:
        pass


while open_ends:
    # One at a time: what is an answer cannot come before what it answers.
    source = select.select(list(open_ends), [], [])[0][0]
    direction, to = open_ends[source]
    piece = os.read(source, 1 << 16)
    if piece:
        log.write(direction + len(piece).to_bytes(4, "big") + piece)
        log.flush()
        pass_on(to, piece)
    else:
        del open_ends[source]
        if source == 0:
            child.stdin.close()
        else:
            break
sys.exit(child.wait())
