# SPDX-License-Identifier: MIT OR Apache-2.0
repo build demo/stable
mkdir bin
