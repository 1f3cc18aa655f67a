# SPDX-License-Identifier: MIT OR Apache-2.0
repo build demo/stable
oxtree init --repo=/srv/repo --mode=archive
mkdir bin
