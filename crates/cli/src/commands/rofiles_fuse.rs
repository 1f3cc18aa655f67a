// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rofiles-fuse`: a mount in which hard-linked files cannot be written to.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
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
first. New files, renaming and deleting work as anywhere. `fusermount -u MOUNTPOINT` ends it.

Examples:
  oxtree checkout -H debian/12 rootfs
  oxtree rofiles-fuse --copyup rootfs mnt
  chroot mnt apt-get install -y vim
  fusermount -u mnt
  oxtree commit -b debian/12 --link-checkout-speedup rootfs")]
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
    /// A mount option: allow_other, noexec, ... (can be repeated, or separated by commas)
    #[arg(short = 'o', value_name = "OPTION", value_delimiter = ',')]
    options: Vec<String>,
    /// Stay in the foreground
    #[arg(short, long)]
    foreground: bool,
    /// Say on standard output when it is mounted, and then let go of the terminal
    #[arg(long, hide = true)]
    tell: bool,
}

/// What the process in the background says when it is mounted.
const MOUNTED: &str = "mounted";

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    if !args.foreground {
        return run_in_background(args);
    }
    let options = Options {
        copy_up: args.copyup,
        mount: args.options.clone(),
    };
    let base = &args.base;
    let mountpoint = args
        .mountpoint
        .canonicalize()
        .with_context(|| format!("mounting at {}", args.mountpoint.display()))?;
    let mount = Mount::new(base, &mountpoint, &options).with_context(|| {
        let mountpoint = mountpoint.display();
        format!("mounting {} at {mountpoint}", base.display())
    })?;
    if args.tell {
        context.out.line(MOUNTED)?;
        context.out.flush()?;
        let_go().context("going to the background")?;
    }
    Ok(mount.serve()?)
}

/// Starts another process that does it, and waits until it is mounted.
fn run_in_background(args: &Args) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg0("oxtree")
        .args(["rofiles-fuse", "--foreground", "--tell"]);
    if args.copyup {
        command.arg("--copyup");
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

/// Leaves the terminal, and every directory that somebody may want to unmount.
fn let_go() -> Result<()> {
    rustix::process::setsid()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(std::env::set_current_dir("/")?)
}
