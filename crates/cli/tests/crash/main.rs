// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes, commits and what tends a repository, killed at random instants, with the real `ostree fsck` as the
//! referee of what they leave.

mod commit;
mod doors;
mod look;
mod pull_local;
mod push;
mod restart;
mod rig;
mod upkeep;
