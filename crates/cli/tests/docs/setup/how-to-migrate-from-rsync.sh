# SPDX-License-Identifier: MIT OR Apache-2.0
repo build demo/stable
mkdir -p /srv
cp -a build /srv/repo
repo build demo/stable
