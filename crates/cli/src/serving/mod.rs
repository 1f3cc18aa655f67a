// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `oxtree serve`, `oxtree token` and `ostree-upload receive` share: the configuration of the
//! server.

pub(crate) mod conf;
