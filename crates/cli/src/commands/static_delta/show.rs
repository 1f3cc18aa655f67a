// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta show`.

use std::path::Path;

use anyhow::{Context as _, Result};
use oxtree_format::delta::{ByteOrder, Superblock};
use oxtree_repo::delta::DeltaFiles;

use crate::context::Context;
use crate::text;

/// Options of `static-delta show`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A name with a slash is a path: of a delta's folder, or of the file that `static-delta generate
--filename` has written. So is any other name of a file that is no delta's.

Examples:
  oxtree static-delta show FROM-TO
  oxtree static-delta show ./update.delta")]
pub(crate) struct Args {
    /// The delta, as `static-delta list` names it, or its file or folder
    #[arg(value_name = "DELTA|FILE")]
    delta: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let files = open(args.delta.as_ref(), context)?;
    let superblock = files.superblock()?;
    let name = superblock.name;
    let print = |line: String| context.out.line(&line);
    print(format!("Delta: {name}"))?;
    let signed = if files.signed()?.is_some() {
        "yes"
    } else {
        "no"
    };
    print(format!("Signed: {signed}"))?;
    match superblock.name.from {
        Some(from) => print(format!("From: {from}"))?,
        None => print("From <scratch>".to_owned())?,
    }
    print(format!("To: {}", superblock.name.to))?;
    print(format!("Endianness: {}", order(&superblock)))?;
    print(format!("Timestamp: {}", superblock.timestamp))?;
    print(format!("Number of parents: {}", superblock.recursion))?;
    let (mut left_out, mut content_left_out) = (0_u64, 0_u64);
    print(format!(
        "Number of fallback entries: {}",
        superblock.fallbacks().count()
    ))?;
    for fallback in superblock.fallbacks() {
        left_out = left_out.saturating_add(fallback.size);
        content_left_out = content_left_out.saturating_add(fallback.content_size);
        print(format!("  {}", fallback.object.checksum))?;
    }
    let total = |what: &str, bytes: u64| {
        print(format!("Total {what}Size: {bytes} ({})", text::size(bytes)))
    };
    total("Fallback ", left_out)?;
    total("Fallback Uncompressed ", content_left_out)?;
    print(format!("Number of parts: {}", superblock.part_count()))?;
    let (mut packed, mut content) = (0_u64, 0_u64);
    for (index, part) in superblock.parts().enumerate() {
        packed = packed.saturating_add(part.size);
        content = content.saturating_add(part.content_size);
        let (objects, size, usize) = (part.objects.len(), part.size, part.content_size);
        print(format!(
            "PartMeta{index}: nobjects={objects} size={size} usize={usize}"
        ))?;
        let inside = files.describe_part(&superblock, index)?;
        print(format!(
            "PartPayload{index}: nmodes={} nxattrs={} blobsize={} opsize={}",
            inside.modes, inside.xattrs, inside.blob, inside.operations_len
        ))?;
        let [splice, open, write, source, no_source, close, patch] = inside.operations;
        print(format!(
            "PartPayloadOps{index}: openspliceclose={splice} open={open} write={write} \
             setread={source} unsetread={no_source} close={close} bspatch={patch}"
        ))?;
    }
    total("Part ", packed)?;
    total("Part Uncompressed ", content)?;
    total("", packed.saturating_add(left_out))?;
    total("Uncompressed ", content.saturating_add(content_left_out))
}

fn open(delta: Option<&String>, context: &Context<'_>) -> Result<DeltaFiles> {
    let is_path = |text: &&String| text.contains('/') || Path::new(text.as_str()).exists();
    let name = match (super::name(delta), delta.filter(is_path)) {
        (Ok(name), _) => name,
        (Err(_), Some(path)) => return Ok(DeltaFiles::open(Path::new(path))?),
        (Err(error), None) => return Err(error),
    };
    let files = context.open_repo()?.open_static_delta(&name)?;
    let folder = name.folder();
    files.with_context(|| format!("openat({folder}/superblock): No such file or directory"))
}

fn order(superblock: &Superblock<'_>) -> &'static str {
    match superblock.byte_order() {
        Some((ByteOrder::Little, false)) => "little",
        Some((ByteOrder::Big, false)) => "big",
        Some((ByteOrder::Little, true)) => "little (heuristic)",
        Some((ByteOrder::Big, true)) => "big (heuristic)",
        None => "invalid",
    }
}
