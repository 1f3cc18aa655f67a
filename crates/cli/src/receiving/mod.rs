// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every receiver shares, over SSH and HTTP: its configuration, its policy and the log of
//! refused connections.

pub(crate) mod conf;
pub(crate) mod policy;
pub(crate) mod refusals;
