// SPDX-License-Identifier: MIT OR Apache-2.0
//! `oxtree push` and `oxtree receive` through a real sshd, with the real `ostree` as the referee.

mod fixture;
mod history;
mod modes;
mod options;
mod refs;
