// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much memory a program took at most, also on the far side of an SSH connection.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bins::{shell_quote, write_script};
use crate::{BinDir, Output};

/// Measures every run of one program through wrapper scripts that stand in for it.
///
/// `/usr/bin/time` reads the figure from the kernel when the program ends, so nothing is missed
/// between two looks, and it counts the largest process among the program and the children that
/// it waited for.
#[derive(Debug)]
pub struct Meter {
    bins: BinDir,
    log: PathBuf,
}

impl Meter {
    /// Wrapper scripts for `exe` under each of `names`.
    ///
    /// # Panics
    /// When `exe` or GNU time is missing.
    #[must_use]
    pub fn of(exe: impl AsRef<Path>, names: &[&str]) -> Meter {
        assert!(
            Path::new("/usr/bin/time").exists(),
            "GNU time is missing (package time)"
        );
        let exe = fs::canonicalize(exe.as_ref())
            .unwrap_or_else(|e| panic!("no binary at {}: {e}", exe.as_ref().display()));
        let bins = BinDir::empty();
        let real = bins.path().join("real");
        fs::create_dir(&real).expect("make a directory for the real binary");
        let log = bins.path().join("log");
        for name in names {
            // A link of that name, so that a binary with several faces shows the right one.
            std::os::unix::fs::symlink(&exe, real.join(name)).expect("link the binary");
            let line = format!(
                "exec /usr/bin/time -q -a -o {} -f %M {} \"$@\"",
                shell_quote(&log),
                shell_quote(real.join(name))
            );
            write_script(&bins.path().join(name), &line);
        }
        Meter { bins, log }
    }

    /// The directory of the wrapper scripts, for a `PATH`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.bins.path()
    }

    /// The wrapper called `name`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bins.path().join(name)
    }

    /// The peak resident memory in bytes of each finished run, in the order of their ends.
    ///
    /// # Panics
    /// When no run has ended yet.
    #[must_use]
    pub fn peaks(&self) -> Vec<u64> {
        let log = fs::read_to_string(&self.log).expect("at least one finished run");
        log.lines()
            .map(|line| 1024 * line.parse::<u64>().expect("a number of KiB"))
            .collect()
    }

    /// The peak resident memory in bytes of the hungriest finished run.
    ///
    /// # Panics
    /// When no run has ended yet.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peaks()
            .into_iter()
            .max()
            .expect("at least one finished run")
    }
}

/// Runs `program ARGS…`, expects success and returns its peak resident memory in bytes.
///
/// # Panics
/// When it fails.
pub fn peak_rss(program: impl AsRef<Path>, args: &[&str]) -> u64 {
    let meter = Meter::of(program, &["program"]);
    Output::of(Command::new(meter.program("program")).args(args)).expect_ok();
    meter.peak()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sshd, Tool};

    const MIB: u64 = 1 << 20;

    /// A program that holds `mib` MiB for a moment.
    fn hungry(mib: u64) -> String {
        format!("head -c {mib}M /dev/zero | tail -c {mib}M >/dev/null")
    }

    #[test]
    fn a_child_of_a_shell_is_counted() {
        let peak = peak_rss("/bin/sh", &["-c", &hungry(64)]);
        assert!((64 * MIB..96 * MIB).contains(&peak), "{peak}");
        let peak = peak_rss("/bin/sh", &["-c", "true"]);
        assert!(peak < 16 * MIB, "{peak}");
    }

    #[test]
    fn the_far_side_is_measured_and_its_exit_code_kept() {
        let meter = Meter::of("/bin/sh", &["oxtree"]);
        let sshd = Sshd::builder().path(meter.dir()).start();
        let out = sshd.ssh(&format!("oxtree -c '{}; exit 5'", hungry(48)));
        assert_eq!((out.code, out.stderr()), (Some(5), String::new()));
        assert!(
            (48 * MIB..80 * MIB).contains(&meter.peak()),
            "{}",
            meter.peak()
        );
        Tool::new(meter.program("oxtree")).ok(["-c", "exit 0"]);
        assert_eq!(meter.peaks().len(), 2);
    }
}
