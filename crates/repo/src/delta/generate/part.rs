// SPDX-License-Identifier: MIT OR Apache-2.0
//! One part: its lists first, then object after object.

use std::collections::HashMap;
use std::hash::Hash;

use oxtree_format::delta::NewPart;
use oxtree_format::delta::part::{FileMode, modes_to_vec, xattrs_to_vec};
use oxtree_format::{FileHeader, Xattrs};

use super::encode::Encoder;
use super::pack::Packer;
use super::plan::{Item, What};
use super::{Built, Report};
use crate::fs::tmpfile::TmpFile;
use crate::{Progress, Result};

/// Values, each once.
struct List<T> {
    values: Vec<T>,
    places: HashMap<T, u64>,
}

impl<T: Clone + Eq + Hash> List<T> {
    fn new<'a>(values: impl Iterator<Item = T> + 'a) -> Self {
        let mut list = Self {
            values: Vec::new(),
            places: HashMap::new(),
        };
        for value in values {
            if !list.places.contains_key(&value) {
                list.places.insert(value.clone(), list.values.len() as u64);
                list.values.push(value);
            }
        }
        list
    }

    /// Where one of the values is.
    fn place(&self, value: &T) -> u64 {
        self.places.get(value).copied().unwrap_or(u64::MAX)
    }
}

/// The lists of a part.
pub(super) struct Lists {
    modes: List<FileMode>,
    xattrs: List<Xattrs>,
}

impl Lists {
    fn of(items: &[Item]) -> Self {
        let headers = || items.iter().filter_map(|item| item.what.header());
        Self {
            modes: List::new(headers().map(mode)),
            xattrs: List::new(headers().map(|header| header.xattrs.clone())),
        }
    }

    /// Where the mode and the attributes of a file are.
    pub(super) fn places(&self, header: &FileHeader) -> (u64, u64) {
        (
            self.modes.place(&mode(header)),
            self.xattrs.place(&header.xattrs),
        )
    }
}

fn mode(header: &FileHeader) -> FileMode {
    FileMode {
        uid: header.uid,
        gid: header.gid,
        mode: header.mode,
    }
}

impl What {
    fn header(&self) -> Option<&FileHeader> {
        match self {
            Self::Metadata => None,
            Self::Whole(header) | Self::Modified { header, .. } | Self::Chunks { header, .. } => {
                Some(header)
            }
        }
    }
}

/// Makes a part.
pub(super) fn build<'d>(
    encoder: &mut Encoder<'_>,
    items: &[Item],
    file: TmpFile<'d>,
    progress: &dyn Progress,
) -> Result<Built<'d>> {
    let lists = Lists::of(items);
    let (modes, xattrs) = (
        modes_to_vec(&lists.modes.values),
        xattrs_to_vec(&lists.xattrs.values),
    );
    let mut packer = Packer::new(file.file(), &modes, &xattrs).map_err(encoder.io())?;
    let mut report = Report::default();
    for item in items {
        encoder.encode(item, &lists, &mut packer, &mut report)?;
        progress.advance(item.size);
    }
    let (size, checksum) = packer.finish().map_err(encoder.io())?;
    let part = NewPart {
        checksum,
        size,
        content_size: items.iter().map(|item| item.size).sum(),
        objects: items.iter().map(|item| item.object).collect(),
        inline: None,
    };
    Ok(Built { part, file, report })
}
