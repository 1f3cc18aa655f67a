// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory made visible at another place, where files that have several hard links cannot be
//! written to: what is linked to the objects of a repository stays as it is, whatever a program
//! does in there. New files are as writable as anywhere.
//!
//! These operations are refused with `EROFS`, or, if so configured, first replace the link by a copy:
//! opening for writing, cutting off, and changing mode, owner or extended attributes of a regular
//! file or symbolic link with more than one link. Times can be changed, names can be linked, renamed
//! and deleted. That is what libostree's `rofiles-fuse` does.

mod copy_up;
mod filesystem;
mod lower;
mod nodes;
mod options;
mod requests;
mod view;

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;

use fuser::Session;

use filesystem::Rofiles;
use options::Parsed;

/// How to mount.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Give a file with several links its own copy instead of refusing to write to it.
    pub copy_up: bool,
    /// Lists of mount options as for mount(8) and libfuse, e.g. `allow_other,noexec`.
    pub mount: Vec<String>,
    /// One thread serves it.
    pub single_threaded: bool,
}

impl Options {
    /// Looks for what is wrong with them.
    ///
    /// # Errors
    /// A mount option is unknown, or has a wrong value.
    pub fn check(&self) -> io::Result<()> {
        self.parse().map(drop)
    }

    fn parse(&self) -> io::Result<Parsed> {
        let parsed = Parsed::new(self.mount.iter().map(String::as_str))?;
        Ok(match self.single_threaded {
            true => parsed.single_threaded(),
            false => parsed,
        })
    }
}

/// Where the kernel's side of each mount is opened.
const DEVICE: &str = "/dev/fuse";

/// Why it cannot be mounted, without what fuser's message shows of its own types.
fn refused(error: io::Error) -> io::Error {
    let text = error.to_string();
    let reason = match text.strip_prefix("Error calling mount()") {
        Some(rest) => {
            let reason = rest.rsplit_once(": ").map_or(rest, |(_, reason)| reason);
            format!("the kernel refuses the mount, perhaps one of its options: {reason}")
        }
        None => text.trim().to_owned(),
    };
    io::Error::new(error.kind(), reason)
}

/// A file system that is mounted, and waits to be served.
#[derive(Debug)]
pub struct Mount {
    session: Session<Rofiles>,
}

impl Mount {
    /// Mounts `lower` at `mountpoint`. A process that looks inside waits until [`Self::serve`] is called.
    ///
    /// # Errors
    /// `lower` cannot be opened, a mount option is unknown, or mounting is not allowed.
    pub fn new(lower: &Path, mountpoint: &Path, options: &Options) -> io::Result<Self> {
        let parsed = options.parse()?;
        let rofiles = Rofiles::new(lower, options.copy_up, parsed.view.clone())?;
        let config = parsed.config(&lower.display().to_string());
        // fuser opens it, too, but does not say what it could not open.
        let device = File::options().read(true).write(true).open(DEVICE);
        device
            .map_err(|error| io::Error::new(error.kind(), format!("opening {DEVICE}: {error}")))?;
        let session = Session::new(rofiles, mountpoint, &config).map_err(refused)?;
        Ok(Self { session })
    }

    /// Serves it until it is unmounted.
    ///
    /// # Errors
    /// The connection to the kernel is broken.
    pub fn serve(self) -> io::Result<()> {
        // It ends well if it was unmounted. fuser then unmounts what is at that place once more, which may be a new
        // mount, so its session must not be dropped.
        let mut session = ManuallyDrop::new(self.session.spawn()?);
        let nothing = std::thread::spawn(|| Ok(()));
        let served = std::mem::replace(&mut session.guard, nothing).join();
        let served = served.unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")));
        if served.is_err() {
            drop(ManuallyDrop::into_inner(session));
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_for_people() {
        for (text, shown) in [
            (
                "Error calling mount() at \"/mnt\" with \"fd=4\" and flags=MsFlags(MS_NODEV): EINVAL: Invalid argument",
                "the kernel refuses the mount, perhaps one of its options: Invalid argument",
            ),
            (
                "fusermount3: option allow_other only allowed\n",
                "fusermount3: option allow_other only allowed",
            ),
        ] {
            assert_eq!(refused(io::Error::other(text)).to_string(), shown);
        }
    }
}
