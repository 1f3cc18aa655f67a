# SPDX-License-Identifier: MIT OR Apache-2.0
repo build demo/stable
repo build demo/unsigned
oxtree init --repo=/srv/repo --mode=archive
