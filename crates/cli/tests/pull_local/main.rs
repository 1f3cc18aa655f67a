// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pull-local`, beside the real one and in both directions.

mod fixture;
mod modes;
mod options;
mod partial;
mod tampered;
