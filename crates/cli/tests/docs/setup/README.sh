# SPDX-License-Identifier: MIT OR Apache-2.0
SERVER=server.example
WHERE=/srv/published
URL=http://server.example/published
