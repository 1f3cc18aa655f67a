# SPDX-License-Identifier: MIT OR Apache-2.0
for _ in 1 2 3; do
  repo repo demo/stable
  repo repo demo/testing
  repo repo demo/old
done
