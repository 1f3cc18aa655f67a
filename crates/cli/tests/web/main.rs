// SPDX-License-Identifier: MIT OR Apache-2.0
//! `oxtree push` over HTTP: to `oxtree serve`, through connections that break, and to servers that lie.

mod between;
mod fixture;
mod liars;
mod push;
mod trouble;
