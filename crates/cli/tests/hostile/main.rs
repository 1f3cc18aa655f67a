// SPDX-License-Identifier: MIT OR Apache-2.0
//! Peers that mean harm: pushers against the real `oxtree receive` and `oxtree serve`, receivers against the real
//! `oxtree push`. What they say is put together by hand, from the specification of the protocol.

mod asked;
mod conversation;
mod doors;
mod floods;
mod hidden;
mod messages;
mod objects;
mod pushers;
mod receivers;
mod rules;
mod served;
mod site;
mod stalls;
mod trees;
mod victim;
mod web;
