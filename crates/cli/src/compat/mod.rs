// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compatibility front-ends: programs of other projects, by their own names, in front of the work of
//! `oxtree push`, `oxtree receive` and `oxtree serve`.

pub(crate) mod ostree_push;
pub(crate) mod ostree_upload;
