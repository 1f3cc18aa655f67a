// SPDX-License-Identifier: MIT OR Apache-2.0
//! `oxtree push` and `oxtree receive` through a real sshd, with the real `ostree` as the referee.

mod errors_far;
mod errors_here;
mod errors_login;
mod errors_there;
mod fixture;
mod history;
mod limits;
mod memory;
mod modes;
mod options;
mod refs;
mod turns;
mod unfinished;
