# SPDX-License-Identifier: MIT OR Apache-2.0
oxtree init --repo=/srv/repo --mode=archive
