// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pull` from web servers: a real nginx, one of our own that misbehaves, and no memory to spare.

mod deltas;
mod elsewhere;
mod fixture;
mod hostile;
mod lacking;
mod options;
mod resume;
mod server;
mod web;
