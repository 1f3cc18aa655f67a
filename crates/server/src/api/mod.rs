// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handlers of the API: pushes, repositories, tokens, and the state of the server.

mod change;
pub(crate) mod pushes;
pub(crate) mod repo;
pub(crate) mod status;
pub(crate) mod tokens;
