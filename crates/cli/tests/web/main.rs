// SPDX-License-Identifier: MIT OR Apache-2.0
//! `oxtree push` over HTTP: to `oxtree serve`, through connections that break, to servers that lie; and by
//! the name of ostree-upload.

mod between;
mod fixture;
mod flatpak;
mod liars;
mod old_server;
mod proxy;
mod push;
mod through;
mod trouble;
mod upload;
mod ways;
