// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asking a receiver what has become of pushes, instead of pushing.

use std::io::{BufWriter, Read, Write};

use super::reader::Reader;
use super::session::{Event, Session};
use super::{PushOptions, greet, say};
use crate::error::{Error, Result};
use crate::protocol::STATUS;
use crate::protocol::message::{Message, UnfinishedPush};

/// Asks a receiver for the pushes that are running or were cut off.
pub fn status(
    options: &PushOptions,
    from: impl Read + Send + 'static,
    to: impl Write,
) -> Result<Vec<UnfinishedPush>> {
    let reader = Reader::start(from, options.idle);
    let mut session = Session::default();
    while session.receive(reader.next()?)? != Event::Remote {}
    let receiver = &session.receiver;
    if !receiver.can(STATUS) {
        let agent = &receiver.agent;
        let reason = format!("{agent} on the far side cannot say: update it");
        return Err(Error::Remote(reason));
    }
    session.speaking();
    let mut to = BufWriter::new(to);
    greet(&mut to, &options.agent)?;
    say(&mut to, &Message::Status)?;
    to.flush().map_err(Error::Connection)?;
    session.asked();
    loop {
        if let Event::Unfinished(found) = session.receive(reader.next()?)? {
            return Ok(found);
        }
    }
}
