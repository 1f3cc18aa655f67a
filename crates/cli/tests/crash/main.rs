// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes and commits that are killed at random instants, with the real `ostree fsck` as the
//! referee of what they leave.

mod commit;
mod look;
mod push;
mod restart;
mod rig;
