// SPDX-License-Identifier: MIT OR Apache-2.0
//! A commit as a tree of files: looking up paths, listing directories.

use oxtree_format::{Commit, CommitId, DirId, DirTree, DirTreeId, FileId};

use crate::object::verify::check_checksum;
use crate::traverse::Objects;
use crate::{Error, FileObject, Repo, Result};

/// So many links in a row are followed, as Linux does.
const MAX_LINKS: usize = 40;

/// The tree below one directory of a commit, by default its root. [`Repo::tree`] makes one.
///
/// ```no_run
/// use oxtree_repo::Repo;
/// use oxtree_repo::tree::Node;
///
/// let repo = Repo::open("/srv/ostree")?;
/// let tree = repo.tree(repo.resolve_rev("debian/12")?)?;
/// if let Node::Dir(dir) = tree.lookup("/usr/bin")?.node {
///     for (name, id) in repo.list_dir(dir.tree)?.files {
///         println!("{name}: {} bytes", repo.file_info(id)?.1);
///     }
/// }
/// # Ok::<(), oxtree_repo::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tree<'r> {
    repo: &'r Repo,
    root: DirId,
}

/// Something that has a path in a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its absolute path, `/` for the root.
    pub path: String,
    /// What it is.
    pub node: Node,
}

/// A directory or anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir(DirId),
    /// A regular file or a symbolic link.
    File(FileId),
}

/// The entries of one directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Regular files and symbolic links, sorted by the bytes of their names.
    pub files: Vec<(String, FileId)>,
    /// Directories, sorted likewise.
    pub dirs: Vec<(String, DirId)>,
}

impl Entry {
    /// The last part of the path; empty for the root.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The path of something in this directory.
    pub fn child(&self, name: &str) -> String {
        format!("{}/{name}", self.path.trim_end_matches('/'))
    }
}

impl Listing {
    /// What is called `name`, if anything.
    pub fn get(&self, name: &str) -> Option<Node> {
        let file = |at: usize| Node::File(self.files[at].1);
        let dir = |at: usize| Node::Dir(self.dirs[at].1);
        let by_name = |entry: &str| entry.as_bytes().cmp(name.as_bytes());
        let found = self.files.binary_search_by(|(entry, _)| by_name(entry));
        found.map(file).ok().or_else(|| {
            let found = self.dirs.binary_search_by(|(entry, _)| by_name(entry));
            found.map(dir).ok()
        })
    }
}

impl Repo {
    /// The tree of a commit.
    pub fn tree(&self, commit: CommitId) -> Result<Tree<'_>> {
        let bytes = self.load_commit(commit)?;
        let parsed = Commit::parse(&bytes).map_err(|error| Error::corrupt(commit, error))?;
        check_checksum(&commit.object(), &bytes)?;
        Ok(Tree::new(self, parsed.root))
    }

    /// The entries of the directory whose dirtree this is. What is read is verified, so that no
    /// damage makes a tree another one, or one without an end.
    pub fn list_dir(&self, id: DirTreeId) -> Result<Listing> {
        list_dir(self, id)
    }
}

/// [`Repo::list_dir`], of a directory that is found somewhere else.
pub(crate) fn list_dir(objects: &impl Objects, id: DirTreeId) -> Result<Listing> {
    let bytes = objects.load(&id.object())?;
    let tree = DirTree::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
    check_checksum(&id.object(), &bytes)?;
    Ok(Listing {
        files: tree
            .files()
            .map(|(name, id)| (name.to_owned(), id))
            .collect(),
        dirs: tree
            .dirs()
            .map(|(name, id)| (name.to_owned(), id))
            .collect(),
    })
}

impl<'r> Tree<'r> {
    /// The tree below a directory.
    pub fn new(repo: &'r Repo, root: DirId) -> Self {
        Self { repo, root }
    }

    /// The repository that it is in.
    pub fn repo(&self) -> &'r Repo {
        self.repo
    }

    /// The directory at the top.
    pub fn root(&self) -> Entry {
        Entry {
            path: "/".to_owned(),
            node: Node::Dir(self.root),
        }
    }

    /// What is at `path`, with or without a slash at its beginning. Symbolic links are not
    /// followed, and `..` is no way up: neither is a name that a directory can hold.
    pub fn lookup(&self, path: &str) -> Result<Entry> {
        if path.is_empty() {
            return Err(Error::PathNotFound("/".to_owned()));
        }
        let mut entry = self.root();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Node::Dir(dir) = entry.node else {
                return Err(Error::NotADirectory(entry.path));
            };
            let path = entry.child(name);
            match self.repo.list_dir(dir.tree)?.get(name) {
                Some(node) => entry = Entry { path, node },
                None => return Err(Error::PathNotFound(path)),
            }
        }
        match entry.node {
            Node::File(_) if path.ends_with('/') => Err(Error::NotADirectory(entry.path)),
            _ => Ok(entry),
        }
    }

    /// Opens the file at `path`. If it is a symbolic link, the file that it leads to within the
    /// tree; links on the way there are not followed.
    pub fn open(&self, path: &str) -> Result<FileObject> {
        let mut path = path.to_owned();
        for _ in 0..=MAX_LINKS {
            let entry = self.lookup(&path)?;
            let Node::File(id) = entry.node else {
                return Err(Error::IsADirectory(entry.path));
            };
            let file = self.repo.open_file(id)?;
            match &file.header.symlink {
                None => return Ok(file),
                Some(target) => path = resolve_link(&entry.path, target),
            }
        }
        Err(Error::Invalid(format!(
            "Too many levels of symbolic links: {path}"
        )))
    }
}

/// Where a link at the absolute path `link` leads to, without leaving the tree.
fn resolve_link(link: &str, target: &str) -> String {
    let base = match target.starts_with('/') {
        true => "",
        false => link.rsplit_once('/').map_or("", |(dir, _)| dir),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_tree() {
        for (link, target, expected) in [
            ("/a/b", "c", "/a/c"),
            ("/a/b", "../c", "/c"),
            ("/a/b", "../../../c", "/c"),
            ("/a/b", "/c/./d//e", "/c/d/e"),
            ("/b", "..", "/"),
            ("/b", ".", "/"),
        ] {
            assert_eq!(resolve_link(link, target), expected, "{link} -> {target}");
        }
    }

    #[test]
    fn entries_know_their_names() {
        let node = Node::File(FileId(oxtree_format::Checksum([0; 32])));
        let entry = |path: &str| Entry {
            path: path.to_owned(),
            node,
        };
        assert_eq!(
            (entry("/").name(), entry("/").child("x").as_str()),
            ("", "/x")
        );
        assert_eq!(
            (entry("/a/b").name(), entry("/a/b").child("x").as_str()),
            ("b", "/a/b/x")
        );
    }
}
