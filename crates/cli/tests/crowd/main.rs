// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many at once: pushes to one repository, alone and among the real `ostree`.

mod among_others;
mod fixture;
mod load;
mod one_ref;
mod own_refs;
