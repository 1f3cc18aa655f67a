// SPDX-License-Identifier: MIT OR Apache-2.0
//! `serve`: what curl, the stock `ostree` and those who mean no good see of it.

mod access;
mod behind;
mod bounds;
mod damaged;
mod files;
mod fixture;
mod h2;
mod hidden;
mod hooks;
mod hostile;
mod http2;
mod identities;
mod jobs;
mod jwt;
mod openapi;
mod places;
mod publish;
mod read_only;
mod rush;
mod signatures;
mod signed;
mod summaries;
mod systemd;
mod unread;
mod upkeep;
