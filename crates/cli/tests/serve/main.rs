// SPDX-License-Identifier: MIT OR Apache-2.0
//! `serve`: what curl, the stock `ostree` and those who mean no good see of it.

mod access;
mod behind;
mod bounds;
mod files;
mod fixture;
mod hidden;
mod hostile;
mod jobs;
mod jwt;
mod openapi;
mod publish;
mod rush;
mod systemd;
mod upkeep;
mod walkthrough;
