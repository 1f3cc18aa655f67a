// SPDX-License-Identifier: MIT OR Apache-2.0
//! One file: a hard link if that can be, a copy otherwise.

use oxtree_format::FileId;

use super::link::Linked;
use super::walk::{Checkout, Dir};
use super::{Links, count};
use crate::{Error, Result};

impl Checkout<'_> {
    /// Puts one file or symbolic link into a directory.
    pub(super) fn file(&self, dir: &Dir, name: &str, id: FileId) -> Result<()> {
        if self.skips(|| dir.inside(name)) || self.whiteout(dir, name, id)? {
            return Ok(());
        }
        if self.options.links != Links::Never
            && let Some(source) = self.link_source(id)?
        {
            match self.link(dir, name, id, &source)? {
                Linked::New => {
                    count(&self.counters.linked);
                    return Ok(());
                }
                Linked::Kept => {
                    count(&self.counters.kept);
                    return Ok(());
                }
                Linked::Impossible => {}
            }
        }
        let made = self.copy(dir, name, id).map_err(|error| match error {
            Error::Checkout { step, source } => Error::Checkout {
                step: format!("Copy checkout of {id} to {name}: {step}"),
                source,
            },
            error => error,
        })?;
        count(match made {
            true => &self.counters.copied,
            false => &self.counters.kept,
        });
        Ok(())
    }
}
