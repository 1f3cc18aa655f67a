// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees of commits as tar files.

mod header;

use std::collections::HashMap;
use std::io::{self, Read, Write};

use oxtree_format::{FileId, Xattrs};
use rayon::prelude::*;

use self::header::{BLOCK, Kind, Member, pad};
use crate::mtree::MAX_DEPTH;
use crate::tree::{Entry, Node};
use crate::{Error, FileObject, Repo, Result};

/// Tapes are written in pieces of so many bytes; so are standard output and pipes.
pub const RECORD: usize = 20 * BLOCK;

/// Files that are read ahead, side by side.
const BATCH: usize = 64;

/// A larger file is not read ahead, but piecewise as it is written. In bytes.
const READ_AHEAD: u64 = 128 << 10;

/// How to write a tree as a tar file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Put before each name as it is: what is to be a directory has to end with a slash.
    pub prefix: String,
    /// Leave out extended attributes.
    pub no_xattrs: bool,
    /// The time of all members, in seconds since 1970. libostree takes the commit's.
    pub mtime: i64,
    /// Fill up with zeros to a multiple of [`RECORD`].
    pub whole_records: bool,
}

/// Writes the directory `source`, an entry of a [`crate::tree::Tree`] of this repository, with all
/// that is below it. It is itself the first member, called `./`.
///
/// The format is that of GNU, byte for byte as libostree's, but that extended attributes, which
/// libostree's exports lack, are in headers of POSIX's before it. Contents are checked for their
/// length, not for their checksums.
///
/// ```no_run
/// use oxtree_repo::{Repo, export};
///
/// let repo = Repo::open("/srv/ostree")?;
/// let tree = repo.tree(repo.resolve_rev("debian/12")?)?;
/// let file = std::fs::File::create("debian.tar").unwrap();
/// let options = export::Options::default();
/// export::export(&repo, &tree.root(), &options, std::io::BufWriter::new(file))?;
/// # Ok::<(), oxtree_repo::Error>(())
/// ```
pub fn export(repo: &Repo, source: &Entry, options: &Options, out: impl Write) -> Result<()> {
    let Node::Dir(_) = source.node else {
        return Err(Error::NotADirectory(source.path.clone()));
    };
    let mut writer = Writer {
        repo,
        options,
        out,
        written: 0,
        buffer: Vec::new(),
        known: HashMap::new(),
    };
    // Not by recursion: a tree may be deeper than the stack.
    let mut stack = vec![Entry {
        path: String::new(),
        node: source.node,
    }];
    while let Some(Entry { path, node }) = stack.pop() {
        let Node::Dir(id) = node else { continue };
        if path.bytes().filter(|byte| *byte == b'/').count() > MAX_DEPTH {
            return Err(Error::corrupt(id.tree, "directories nested too deep"));
        }
        writer.dir(&path, id)?;
        let listing = repo.list_dir(id.tree)?;
        for batch in listing.files.chunks(BATCH) {
            writer.files(&path, batch)?;
        }
        let dirs = listing.dirs.into_iter().rev();
        stack.extend(dirs.map(|(name, id)| Entry {
            path: join(&path, &name),
            node: Node::Dir(id),
        }));
    }
    writer.finish()
}

/// The path of something in the directory `dir`, relative to the source.
fn join(dir: &str, name: &str) -> String {
    match dir {
        "" => name.to_owned(),
        dir => format!("{dir}/{name}"),
    }
}

/// What could be read ahead of a file: it, and its content if it is small.
type Ahead = (FileObject, Option<Vec<u8>>);

/// A regular file that was written.
struct Written {
    name: String,
    mode: u32,
    uid: u32,
    gid: u32,
}

struct Writer<'a, W> {
    repo: &'a Repo,
    options: &'a Options,
    out: W,
    written: u64,
    buffer: Vec<u8>,
    /// What is there once more is a hard link to the first one.
    known: HashMap<FileId, Written>,
}

impl<W: Write> Writer<'_, W> {
    /// The name of a member.
    fn name(&self, path: &str) -> String {
        match format!("{}{path}", self.options.prefix) {
            name if name.is_empty() => ".".to_owned(),
            name => name,
        }
    }

    fn dir(&mut self, path: &str, id: oxtree_format::DirId) -> Result<()> {
        let meta = self.repo.load_dirmeta(id.meta)?;
        let mut name = self.name(path);
        if !name.ends_with('/') {
            name.push('/');
        }
        self.member(&Member {
            kind: Kind::Dir,
            name: name.as_bytes(),
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: self.options.mtime,
            xattrs: &meta.xattrs,
        })
    }

    /// Some files of one directory, read side by side and written one after the other.
    fn files(&mut self, dir: &str, files: &[(String, FileId)]) -> Result<()> {
        let repo = self.repo;
        let known = &self.known;
        let ahead: Vec<Option<Ahead>> = files
            .par_iter()
            .map(|(_, id)| match known.contains_key(id) {
                true => Ok(None),
                false => read_ahead(repo, *id).map(Some),
            })
            .collect::<Result<_>>()?;
        for ((name, id), ahead) in files.iter().zip(ahead) {
            let path = join(dir, name);
            if let Some(known) = self.known.remove(id) {
                self.same(&path, &known)?;
                self.known.insert(*id, known);
            } else if let Some(ahead) = ahead {
                self.file(&path, *id, ahead)?;
            }
        }
        Ok(())
    }

    /// A hard link.
    fn same(&mut self, path: &str, known: &Written) -> Result<()> {
        let name = self.name(path);
        self.member(&Member {
            kind: Kind::Same(known.name.as_bytes()),
            name: name.as_bytes(),
            mode: known.mode,
            uid: known.uid,
            gid: known.gid,
            mtime: self.options.mtime,
            xattrs: &Xattrs::NONE,
        })
    }

    fn file(&mut self, path: &str, id: FileId, (mut file, content): Ahead) -> Result<()> {
        let header = &file.header;
        let name = self.name(path);
        self.member(&Member {
            kind: match &header.symlink {
                Some(target) => Kind::Link(target.as_bytes()),
                None => Kind::File(file.size),
            },
            name: name.as_bytes(),
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            mtime: self.options.mtime,
            xattrs: &header.xattrs,
        })?;
        if header.is_symlink() {
            return Ok(());
        }
        let written = Written {
            name,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
        };
        self.known.insert(id, written);
        match content {
            Some(content) => self.write(&content)?,
            None => self.stream(&mut file, id)?,
        }
        self.buffer.clear();
        pad(&mut self.buffer, file.size);
        self.write_buffer()
    }

    /// Writes a content that was not read ahead, and is exactly as long as it has to be.
    fn stream(&mut self, file: &mut FileObject, id: FileId) -> Result<()> {
        let mut left = file.size;
        self.buffer.resize(READ_AHEAD as usize, 0);
        while left > 0 {
            let want = left.min(READ_AHEAD) as usize;
            let read = read_some(&mut file.content, &mut self.buffer[..want], id)?;
            if read == 0 {
                return Err(too_short(id, file.size));
            }
            self.out.write_all(&self.buffer[..read]).map_err(writing)?;
            self.written += read as u64;
            left -= read as u64;
        }
        match read_some(&mut file.content, &mut [0], id)? {
            0 => Ok(()),
            _ => Err(too_long(id, file.size)),
        }
    }

    fn member(&mut self, member: &Member<'_>) -> Result<()> {
        let xattrs = match self.options.no_xattrs {
            true => &Xattrs::NONE,
            false => member.xattrs,
        };
        self.buffer.clear();
        Member { xattrs, ..*member }.write(&mut self.buffer);
        self.write_buffer()
    }

    fn write_buffer(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        self.buffer = buffer;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(writing)
    }

    /// Two empty blocks are the end.
    fn finish(mut self) -> Result<()> {
        let mut end = 2 * BLOCK;
        if self.options.whole_records {
            let over = ((self.written + end as u64) % RECORD as u64) as usize;
            end += (RECORD - over) % RECORD;
        }
        self.write(&vec![0; end])?;
        self.out.flush().map_err(writing)
    }
}

fn read_ahead(repo: &Repo, id: FileId) -> Result<Ahead> {
    let mut file = repo.open_file(id)?;
    if file.header.is_symlink() || file.size > READ_AHEAD {
        return Ok((file, None));
    }
    // One more than there should be.
    let mut content = vec![0; file.size as usize + 1];
    let mut len = 0;
    while len < content.len() {
        match read_some(&mut file.content, &mut content[len..], id)? {
            0 => break,
            read => len += read,
        }
    }
    if len as u64 > file.size {
        return Err(too_long(id, file.size));
    }
    if (len as u64) < file.size {
        return Err(too_short(id, file.size));
    }
    content.truncate(len);
    Ok((file, Some(content)))
}

fn read_some(content: &mut impl Read, buffer: &mut [u8], id: FileId) -> Result<usize> {
    loop {
        match content.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::corrupt(id, error)),
            Ok(read) => return Ok(read),
        }
    }
}

fn too_long(id: FileId, size: u64) -> Error {
    Error::corrupt(id, format!("content is longer than {size} bytes"))
}

fn too_short(id: FileId, size: u64) -> Error {
    Error::corrupt(id, format!("content is shorter than {size} bytes"))
}

fn writing(error: io::Error) -> Error {
    Error::Output(error)
}
