// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that look at a repository and its refs, beside the real `ostree`: same output,
//! same errors, same exit code, same files.

mod checkout;
mod composefs;
mod config;
mod deltas;
mod diff;
mod export;
mod fsck;
mod half_done;
mod help;
mod init;
mod ls;
mod mistakes;
mod names;
mod places;
mod prune;
mod refs;
mod rev_parse;
mod show;
mod side;
mod signature_times;
mod signatures;
mod summary;
mod terminal;
mod times;
