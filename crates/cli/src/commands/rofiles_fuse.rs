// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rofiles-fuse`: a mount in which hard-linked files cannot be written to.

use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result};
use clap::ArgAction;
use oxtree_rofiles::{Mount, Options};
use rustix::fs::{Mode, OFlags};

use crate::context::Context;
use crate::error::AlreadyReported;

/// Options of `rofiles-fuse`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
In a checkout by hard links, writing to a file would write to the repository's object. In such a mount
it cannot: opening for writing, and changing mode, owner or extended attributes, fail with \"Read-only
file system\" for files with more than one link, or, with --copyup, give the file a copy of its own
first. New files, renaming and deleting work as anywhere. `fusermount -u MOUNTPOINT` ends it; if the
process is killed, another one unmounts.

The options of -o are those of libfuse:
  allow_other, allow_root     Let all users, or root, look in
  default_permissions         Let the kernel check permissions
  kernel_cache                Keep contents in memory when a file is opened again
  direct_io                   Keep no contents in memory
  entry_timeout=SECONDS       Trust names for this long [default: 1]
  attr_timeout=SECONDS        Trust attributes for this long [default: 1]
  negative_timeout=SECONDS    Trust that a name is missing for this long [default: 0]
  umask=OCTAL, uid=N, gid=N   Show these permissions and owners
  fsname=NAME, subtype=NAME   Call the file system this in the list of mounts
  max_read=BYTES              Limit the size of a read
  max_threads=N               Limit the number of threads
  ro, rw, [no]dev, [no]suid, [no]exec, [no]atime, sync, async, dirsync
Options of libfuse that only tune it (auto_cache, clone_fd, noforget, ...) are accepted.

Examples:
  oxtree checkout -H debian/12 rootfs
  oxtree rofiles-fuse --copyup rootfs mnt
  chroot mnt apt-get install -y vim
  fusermount -u mnt
  oxtree commit -b debian/12 --link-checkout-speedup rootfs
  oxtree rofiles-fuse -o kernel_cache,entry_timeout=60,attr_timeout=60 rootfs mnt")]
pub(crate) struct Args {
    /// The directory with the files
    #[arg(value_name = "BASEPATH")]
    base: PathBuf,
    /// Where it is to be seen, an empty directory
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,
    /// Give a file its own copy when it is written to
    #[arg(long)]
    copyup: bool,
    /// Mount options, separated by commas (can be repeated)
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    /// Stay in the foreground
    #[arg(short, long)]
    foreground: bool,
    /// Stay in the foreground, as other programs do that then print each request
    #[arg(short = 'd', long)]
    debug: bool,
    /// Serve with one thread
    #[arg(short)]
    single_threaded: bool,
    /// Do not write to /etc/mtab; it is never written to
    #[arg(short)]
    no_mtab: bool,
    /// Print the version and exit
    #[arg(short = 'V', action = ArgAction::Version)]
    print_version: Option<bool>,
    /// Say on standard output when it is mounted, and then let go of the terminal
    #[arg(long, hide = true)]
    tell: bool,
    /// Wait until standard input ends, and unmount what nobody serves then
    #[arg(long, hide = true)]
    unmount_at_end: bool,
}

/// What the process in the background says when it is mounted.
const MOUNTED: &str = "mounted";

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    if args.unmount_at_end {
        return unmount_at_end(&args.mountpoint);
    }
    let options = Options {
        copy_up: args.copyup,
        mount: args.options.clone(),
        single_threaded: args.single_threaded,
    };
    if !(args.foreground || args.debug) {
        // What is wrong with the options is said by this process.
        options.check()?;
        return run_in_background(args);
    }
    let base = &args.base;
    let mountpoint = args
        .mountpoint
        .canonicalize()
        .with_context(|| format!("mounting at {}", args.mountpoint.display()))?;
    let mount = Mount::new(base, &mountpoint, &options).with_context(|| {
        let mountpoint = mountpoint.display();
        format!("mounting {} at {mountpoint}", base.display())
    })?;
    let guard = start_guard(base, &mountpoint)?;
    if args.tell {
        context.out.line(MOUNTED)?;
        context.out.flush()?;
        let_go().context("going to the background")?;
    }
    mount.serve()?;
    drop(guard);
    Ok(())
}

/// This program with its own name for this command.
fn again() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0("oxtree").arg("rofiles-fuse");
    Ok(command)
}

/// Starts another process that does it, and waits until it is mounted.
fn run_in_background(args: &Args) -> Result<()> {
    let mut command = again()?;
    command.args(["--foreground", "--tell"]);
    if args.copyup {
        command.arg("--copyup");
    }
    if args.single_threaded {
        command.arg("-s");
    }
    for option in &args.options {
        command.arg("-o").arg(option);
    }
    command.arg("--").arg(&args.base).arg(&args.mountpoint);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the process in the background")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line.trim_end() == MOUNTED {
        return Ok(());
    }
    let code = child
        .wait()?
        .code()
        .and_then(|code| u8::try_from(code).ok());
    let code = code.filter(|code| *code != 0).unwrap_or(1);
    Err(AlreadyReported { code }.into())
}

/// Starts a process that unmounts when this one has ended, however that happens: then the pipe to it
/// closes. A mount without its process would be an error for every program that opens it.
fn start_guard(base: &Path, mountpoint: &Path) -> Result<Option<ChildStdin>> {
    let mut command = again()?;
    command.arg("--unmount-at-end").arg("--");
    let mut child = command
        .args([base, mountpoint])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        // A signal to the terminal's processes is not for it.
        .process_group(0)
        .spawn()
        .context("starting the process that unmounts")?;
    Ok(child.stdin.take())
}

fn unmount_at_end(mountpoint: &Path) -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let not_served = rustix::fs::stat(mountpoint).err() == Some(rustix::io::Errno::NOTCONN);
    if not_served {
        for program in ["fusermount3", "fusermount"] {
            let unmount = Command::new(program)
                .args(["-u", "-z", "-q", "--"])
                .arg(mountpoint)
                .status();
            if unmount.is_ok_and(|status| status.success()) {
                break;
            }
        }
    }
    Ok(())
}

/// Leaves the terminal, and every directory that somebody may want to unmount.
fn let_go() -> Result<()> {
    rustix::process::setsid()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(std::env::set_current_dir("/")?)
}
