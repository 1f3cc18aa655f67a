// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory made visible at another place, where files that have several hard links cannot be
//! written to: what is linked to the objects of a repository stays as it is, whatever a program
//! does in there. New files are as writable as anywhere.
//!
//! What is refused (`EROFS`), or, if so wished, done to a copy that takes the link's place first:
//! opening for writing, cutting off, and changing mode, owner or extended attributes of a regular
//! file or symbolic link with more than one link. Times can be changed, names can be linked, renamed
//! and deleted. That is what libostree's `rofiles-fuse` does.

mod copy_up;
mod filesystem;
mod lower;
mod nodes;
mod requests;

use std::io;
use std::num::NonZero;
use std::path::Path;

use fuser::{Config, MountOption, Session, SessionACL};

use filesystem::Rofiles;

/// How to mount.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Give a file with several links its own copy instead of refusing to write to it.
    pub copy_up: bool,
    /// Mount options as for mount(8), e.g. `allow_other` or `noexec`.
    pub mount: Vec<String>,
}

/// A file system that is mounted, and waits to be served.
#[derive(Debug)]
pub struct Mount {
    session: Session<Rofiles>,
}

impl Mount {
    /// Mounts `lower` at `mountpoint`; whoever looks in there waits until [`Self::serve`] is called.
    ///
    /// # Errors
    /// `lower` cannot be opened, a mount option is unknown, or mounting is not allowed.
    pub fn new(lower: &Path, mountpoint: &Path, options: &Options) -> io::Result<Self> {
        let rofiles = Rofiles::new(lower, options.copy_up)?;
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName(lower.display().to_string()),
            MountOption::Subtype("rofiles-fuse".to_owned()),
        ];
        for option in &options.mount {
            match option.as_str() {
                // Then not only the one who may do everything looks in, so the kernel has to check.
                "allow_other" => {
                    config.acl = SessionACL::All;
                    config.mount_options.push(MountOption::DefaultPermissions);
                }
                "allow_root" => config.acl = SessionACL::RootAndOwner,
                option => config.mount_options.push(mount_option(option)?),
            }
        }
        config.n_threads = std::thread::available_parallelism().ok().map(NonZero::get);
        config.clone_fd = true;
        let session = Session::new(rofiles, mountpoint, &config)?;
        Ok(Self { session })
    }

    /// Serves it until it is unmounted.
    ///
    /// # Errors
    /// The connection to the kernel is broken.
    pub fn serve(self) -> io::Result<()> {
        self.session.run()
    }
}

fn mount_option(option: &str) -> io::Result<MountOption> {
    Ok(match option {
        "default_permissions" => MountOption::DefaultPermissions,
        "auto_unmount" => MountOption::AutoUnmount,
        "dev" => MountOption::Dev,
        "nodev" => MountOption::NoDev,
        "suid" => MountOption::Suid,
        "nosuid" => MountOption::NoSuid,
        "exec" => MountOption::Exec,
        "noexec" => MountOption::NoExec,
        "atime" => MountOption::Atime,
        "noatime" => MountOption::NoAtime,
        "ro" => MountOption::RO,
        "rw" => MountOption::RW,
        other => {
            let reason = format!("unknown mount option {other:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
    })
}
