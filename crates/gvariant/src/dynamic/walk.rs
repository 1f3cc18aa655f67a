// SPDX-License-Identifier: MIT OR Apache-2.0
//! Going through the bytes of a value by its type.

use std::ops::Range;

use super::{DynType, Kind};
use crate::framing::{ArrayFrame, TupleFrame, require_zeros};
use crate::{Error, Result};

impl DynType {
    /// Checks that `data` is a value of this type in normal form.
    ///
    /// The time is linear in the length of `data`.
    pub(crate) fn check(&self, data: &[u8], depth: u8) -> Result<()> {
        if self.opaque && self.fixed.is_none_or(|size| size == data.len()) {
            return Ok(());
        }
        match &self.kind {
            Kind::Basic(basic) => basic.check(data),
            Kind::Array(element) => {
                let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
                let (element, wrappers) = element.unwrapped();
                let below = depth.checked_sub(wrappers).ok_or(Error::Depth)?;
                let frame = ArrayFrame::new(data, element.align, element.fixed)?;
                if element.opaque && element.fixed.is_some() {
                    return Ok(());
                }
                for i in 0..frame.count() {
                    element.check(part(data, frame.check(i)?)?, below)?;
                }
                Ok(())
            }
            _ => {
                let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
                self.children(data, |ty, range| ty.check(part(data, range)?, depth))
            }
        }
    }

    /// Calls `visit` with the type and the place of each child of a container, checking the
    /// container's framing on the way. A basic value has no children.
    pub(crate) fn children(
        &self,
        data: &[u8],
        mut visit: impl FnMut(&DynType, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        match &self.kind {
            Kind::Basic(_) => Ok(()),
            Kind::Variant => {
                let (sig, value) = split_variant(data)?;
                visit(&DynType::parse(sig)?, 0..value.len())
            }
            Kind::Maybe(_) if data.is_empty() => Ok(()),
            Kind::Maybe(inner) => match (inner.fixed, data.split_last()) {
                (Some(_), _) => visit(inner, 0..data.len()),
                (None, Some((0, value))) => visit(inner, 0..value.len()),
                (None, _) => Err(Error::Padding),
            },
            Kind::Array(element) => {
                let frame = ArrayFrame::new(data, element.align, element.fixed)?;
                (0..frame.count()).try_for_each(|i| visit(element, frame.check(i)?))
            }
            Kind::Tuple(members) => self.members(members, data, visit),
            Kind::Entry(members) => self.members(&members[..], data, visit),
        }
    }

    fn members(
        &self,
        members: &[DynType],
        data: &[u8],
        mut visit: impl FnMut(&DynType, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        if self.fixed.is_some_and(|size| size != data.len()) {
            return Err(Error::Length);
        }
        let Some((_, framed)) = members.split_last() else {
            return require_zeros(data);
        };
        let offsets = framed.iter().filter(|t| t.fixed.is_none()).count();
        let mut frame = TupleFrame::new(data, offsets)?;
        for (i, ty) in members.iter().enumerate() {
            visit(ty, frame.next(ty.align, ty.fixed, i + 1 == members.len())?)?;
        }
        frame.finish(self.fixed.is_some())
    }

    /// The type inside tuples of one member, and how many there are: they have the bytes of what
    /// they hold, so an array of millions of them need not go through each level each time.
    fn unwrapped(&self) -> (&DynType, u8) {
        let mut ty = self;
        let mut levels = 0;
        while let Kind::Tuple(members) = &ty.kind
            && let [only] = &members[..]
        {
            ty = only;
            levels += 1;
        }
        (ty, levels)
    }

    /// Turns every number in `out`, a copy of `data`, around to the other byte order.
    pub(crate) fn swap(&self, data: &[u8], out: &mut [u8], depth: u8) -> Result<()> {
        if self.align == 1 {
            return Ok(());
        }
        if let Kind::Basic(_) = self.kind {
            out.reverse();
            return Ok(());
        }
        let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
        self.children(data, |ty, range| {
            let into = out.get_mut(range.clone()).ok_or(Error::Offset)?;
            ty.swap(part(data, range)?, into, depth)
        })
    }
}

/// Splits the bytes of a variant into its type string and its value. The type string is not
/// checked, nor is the value.
pub(crate) fn split_variant(data: &[u8]) -> Result<(&str, &[u8])> {
    let end = data.iter().rposition(|x| *x == 0).ok_or(Error::Signature)?;
    let sig = std::str::from_utf8(&data[end + 1..]).map_err(|_| Error::Signature)?;
    Ok((sig, &data[..end]))
}

/// A range of a container's bytes.
pub(crate) fn part(data: &[u8], range: Range<usize>) -> Result<&[u8]> {
    data.get(range).ok_or(Error::Offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_DEPTH;

    #[test]
    fn long_types_cost_nothing_per_element() {
        // A quarter of a million empty arrays of a type with sixty thousand members: quadratic
        // work would take minutes.
        let sig = format!("aa({})", "s".repeat(60_000));
        let elements = 250_000;
        let data = vec![0; elements * 4];
        let start = std::time::Instant::now();
        assert_eq!(
            DynType::parse(&sig).unwrap().check(&data, MAX_DEPTH),
            Ok(())
        );
        assert!(start.elapsed().as_secs() < 10);
    }

    #[test]
    fn nested_variants_stop_at_the_limit() {
        let nest = |levels: usize| {
            let mut data = vec![7, 0, b'y'];
            (1..levels).for_each(|_| data.extend(b"\0v"));
            DynType::variant().check(&data, MAX_DEPTH)
        };
        assert_eq!(nest(usize::from(MAX_DEPTH)), Ok(()));
        assert_eq!(nest(usize::from(MAX_DEPTH) + 1), Err(Error::Depth));
        assert_eq!(nest(100_000), Err(Error::Depth));
    }
}
