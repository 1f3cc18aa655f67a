// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the receiver would refuse is not sent in the first place.

use oxtree_format::{FileId, ObjectId, ObjectKind};
use oxtree_repo::object::check_storable;
use oxtree_repo::{Mode, Repo};
use rayon::prelude::*;

use crate::error::Result;
use crate::limits::check;
use crate::protocol::message::{Limits, Receiver};

/// Nothing is deflated to less than this part of itself.
const DEFLATE: u64 = 1040;

/// Checks that the receiver takes these objects, as far as that can be told before they are sent.
pub(super) fn check_objects(
    repo: &Repo,
    objects: &[(ObjectId, u64)],
    receiver: &Receiver,
) -> Result<()> {
    let limits = receiver.limits;
    limits.check_objects(objects.len() as u64)?;
    let narrow = receiver.mode == Mode::BareUserOnly.as_str() && repo.mode() != Mode::BareUserOnly;
    let unpacked = objects
        .par_iter()
        .map(|(object, stored)| {
            if narrow && object.kind == ObjectKind::File {
                let id = FileId(object.checksum);
                check_storable(Mode::BareUserOnly, &repo.open_file(id)?.header, id)?;
            }
            check_size(repo, object, *stored, &limits)
        })
        .try_reduce(|| 0, |a, b| Ok(a.saturating_add(b)))?;
    let what = "what a push unpacks to";
    check(what, unpacked, limits.unpacked, "max-unpacked-size")
}

/// Checks one object; how large it is unpacked, at the least.
fn check_size(repo: &Repo, object: &ObjectId, stored: u64, limits: &Limits) -> Result<u64> {
    let packed = object.kind == ObjectKind::File && repo.mode().is_archive();
    let size = match packed {
        // Only what might be too large is opened.
        true if stored.saturating_mul(DEFLATE) > limits.object => {
            repo.open_file(FileId(object.checksum))?.size
        }
        true => 0,
        false => stored,
    };
    limits.check_object(object, size)?;
    Ok(size)
}
