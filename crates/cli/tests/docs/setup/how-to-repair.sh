# SPDX-License-Identifier: MIT OR Apache-2.0
repo repo demo/stable
COMMIT=$(oxtree rev-parse --repo=repo demo/stable)
: >repo/refs/heads/demo/stable
