# SPDX-License-Identifier: MIT OR Apache-2.0
for repo in build /srv/repo; do
  repo $repo demo/stable
  repo $repo demo/testing
done
oxtree init --repo=/srv/first --mode=archive
oxtree init --repo=/srv/second --mode=archive
