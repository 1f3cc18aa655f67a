// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a push reaches a receiver: in this process, through `ssh`, or through a tunnel that ssh
//! forwards to a receiver of ostree-push. Pushes over HTTP are in [`push::http`](crate::push::http).

pub mod local;
pub mod ssh;
mod ssh_process;
pub mod tunnel;

pub use self::ssh_process::{Ssh, SshOptions};
