// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one request that brings all objects.

use std::collections::HashMap;
use std::io::{self, Read};

use hyper::StatusCode;
use oxtree_format::checksum::Hashing;
use oxtree_format::{FileId, ObjectId, ObjectKind};
use oxtree_repo::memory::Buffer;
use oxtree_transfer::protocol::frame::{self, FrameKind, MAX_FRAME};
use oxtree_transfer::protocol::message::Limits;
use oxtree_transfer::protocol::stream::{Form, Record, pack};
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::push::Push;
use oxtree_transfer::semaphore::ClientSemaphore;

use super::parse;
use crate::answer::{Answer, Fault};
use crate::body::fill;
use crate::limits::ClientId;
use crate::limits::MemoryBudget;
use crate::multipart::Multipart;

/// Objects up to this size are put together.
const SMALL: usize = 1 << 20;

/// So many bytes of them are taken in at once.
const BATCH: usize = 2 << 20;

/// The longest field that is no file, in bytes.
const MAX_FIELD: u64 = 1 << 10;

/// Objects on their way in.
pub(super) struct Upload<'a> {
    push: &'a Push,
    destination: &'a LocalReceiver,
    limits: Limits,
    memory: &'a MemoryBudget,
    client: ClientId,
    /// Small objects, as a stream of frames.
    batch: Vec<u8>,
    /// The SHA-256 of the file that came last, by its name. Its field follows it.
    checksums: HashMap<String, String>,
}

impl<'a> Upload<'a> {
    pub(super) fn new(
        push: &'a Push,
        destination: &'a LocalReceiver,
        memory: &'a MemoryBudget,
        client: ClientId,
    ) -> Answer<Self> {
        Ok(Self {
            push,
            destination,
            limits: destination.limits()?,
            memory,
            client,
            batch: Vec::new(),
            checksums: HashMap::new(),
        })
    }

    /// Takes all parts, to the last one.
    pub(super) fn take(self, parts: &mut Multipart<impl Read>) -> Answer<()> {
        let taken = self.take_parts(parts);
        taken.map_err(|fault| match parts.failed() {
            Some((io::ErrorKind::TimedOut, reason)) => {
                Fault::new(StatusCode::REQUEST_TIMEOUT, reason)
            }
            Some((_, reason)) => Fault::bad_request(format!(
                "the request body is no complete multipart/form-data: {reason}"
            )),
            None => fault,
        })
    }

    fn take_parts(mut self, parts: &mut Multipart<impl Read>) -> Answer<()> {
        while let Some(head) = parts.next_part().map_err(broken)? {
            match head.name.as_str() {
                "file" => self.file(&head.file_name.unwrap_or_default(), parts)?,
                "checksum" => self.checksum(parts)?,
                name => return Err(unprocessable(format!("unsupported form field {name}"))),
            }
        }
        self.flush()
    }

    fn file(&mut self, name: &str, from: &mut impl Read) -> Answer<()> {
        let object = parse(name).map_err(|fault| unprocessable(fault.text))?;
        let mut from = Hashing::new(from);
        let mut content = Vec::new();
        let limit = SMALL as u64 + 1;
        (&mut from)
            .take(limit)
            .read_to_end(&mut content)
            .map_err(broken)?;
        match content.len() <= SMALL {
            true if object.kind.is_metadata() => {
                self.check(name, content.len())?;
                self.add(object, &content)?;
            }
            true => self.add(object, &content)?,
            false => {
                self.flush()?;
                let mut rest = content.chain(&mut from);
                match object.kind.is_metadata() {
                    true => self.metadata(name, object, &mut rest)?,
                    false => {
                        let file = FileId(object.checksum);
                        self.push.put_file(self.destination, file, &mut rest)?;
                    }
                }
                // Bytes after the end of the object.
                io::copy(&mut from, &mut io::sink()).map_err(broken)?;
            }
        }
        self.checksums.clear();
        let checksum = from.finish().to_hex();
        self.checksums.insert(name.to_owned(), checksum);
        Ok(())
    }

    /// A metadata object that is not small. It is known at its end only how large it is.
    fn metadata(&self, name: &str, object: ObjectId, from: &mut impl Read) -> Answer<()> {
        let most = usize::try_from(self.limits.metadata()).unwrap_or(usize::MAX);
        let _held = self.memory.hold_blocking(&self.client, most, 1)?;
        let mut content = Buffer::zeroed(most.saturating_add(1)).map_err(broken)?;
        let len = fill(from, &mut content).map_err(broken)?;
        self.check(name, len)?;
        let content = &mut &content[..len];
        self.push
            .put(self.destination, object, len as u64, content)?;
        Ok(())
    }

    /// Checks the size of a metadata object.
    fn check(&self, name: &str, len: usize) -> Answer<()> {
        let most = self.limits.metadata();
        match len as u64 <= most {
            true => Ok(()),
            false => {
                let text = format!("{name} has more than {most} bytes");
                Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, text))
            }
        }
    }

    fn add(&mut self, object: ObjectId, content: &[u8]) -> Answer<()> {
        let form = match object.kind {
            ObjectKind::File => Form::Filez,
            _ => Form::Metadata,
        };
        let mut record = Vec::with_capacity(content.len() + 64);
        let len = content.len() as u64;
        Record { object, form, len }.put(&mut record);
        record.extend_from_slice(content);
        let most = usize::try_from(self.limits.frame)
            .unwrap_or(MAX_FRAME)
            .min(MAX_FRAME);
        for piece in record.chunks(most.saturating_sub(1024).max(1)) {
            let framed = frame::write(&mut self.batch, FrameKind::Data, &pack(piece, None));
            framed.map_err(broken)?;
        }
        match self.batch.len() >= BATCH {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Answer<()> {
        if !self.batch.is_empty() {
            // It is not in zstd.
            let room = ClientSemaphore::new(0, 0);
            let batch = &mut &self.batch[..];
            self.push.take(self.destination, batch, &room)?;
            self.batch.clear();
        }
        Ok(())
    }

    /// A field that says what the SHA-256 of a file is that has just come.
    fn checksum(&mut self, from: &mut impl Read) -> Answer<()> {
        let mut field = String::new();
        let read = from.take(MAX_FIELD).read_to_string(&mut field);
        read.map_err(|_| unprocessable("bad checksum format"))?;
        let mut words = field.split(':');
        match (words.next(), words.next(), words.next()) {
            (Some(""), Some(_), None) | (Some(_), Some(""), None) => {
                Err(unprocessable("empty object name or checksum"))
            }
            (Some(name), Some(checksum), None) => match self.checksums.get(name) {
                Some(known) if known == checksum => Ok(()),
                _ => Err(unprocessable(format!("bad checksum for {name}"))),
            },
            _ => Err(unprocessable("bad checksum format")),
        }
    }
}

fn unprocessable(text: impl Into<String>) -> Fault {
    Fault::new(StatusCode::UNPROCESSABLE_ENTITY, text)
}

/// The body cannot be read: [`Upload::take`] says whose fault that is.
fn broken(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::TimedOut => Fault::new(StatusCode::REQUEST_TIMEOUT, error.to_string()),
        _ => Fault::internal(error.to_string()),
    }
}
