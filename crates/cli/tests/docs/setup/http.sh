# SPDX-License-Identifier: MIT OR Apache-2.0
# A served repository that lacks the commit, and a commit that the push does not need.
repo repo app/main
repo repo os/other
oxtree init --repo=/srv/repo --mode=archive
serve oxtree serve --allow-anonymous-push /srv/repo >/dev/null
