# SPDX-License-Identifier: MIT OR Apache-2.0
check() {
  [ "$(ostree rev-parse --repo=/srv/repo app/main)" = "$(ostree rev-parse --repo=repo app/main)" ]
  ostree fsck --repo=/srv/repo
}
check
# Objects of other refs were neither asked for nor sent.
other=$(ostree rev-parse --repo=repo os/other)
[ "$(grep -c "$other" all.json)" = 0 ]
[ ! -e "/srv/repo/objects/${other:0:2}/${other:2}.commit" ]
# The same commands push the next commit.
repo repo app/main
. "$HOME/page" | grep '"status":"updated"'
check
