# SPDX-License-Identifier: MIT OR Apache-2.0
repo build demo/stable
repo build other/stable
for repo in repo web; do
  oxtree init --repo=/srv/$repo --mode=archive
done
