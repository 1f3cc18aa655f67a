// SPDX-License-Identifier: MIT OR Apache-2.0
//! `commit` beside the real `ostree`: the same input gives the same checksum, and each tool finds
//! the other's repository in order.

mod archives;
mod derived;
mod everything;
mod failures;
mod members;
mod options;
mod pair;
mod reuse;
mod selinux;
mod tar;
