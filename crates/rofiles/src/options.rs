// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options of `-o`: those of libfuse, so that what is written for its programs works here, too.
//!
//! An option either has its effect, or cannot have one here (what it speeds up or switches on is so in any case) and is
//! accepted, or is refused by name. For example `kernel_cache,entry_timeout=60,attr_timeout=60`, as
//! flatpak-builder has it, lets the kernel keep contents and names for a minute.

use std::io;
use std::num::NonZero;
use std::time::Duration;

use fuser::{Config, MountOption, SessionACL};

use crate::view::View;

/// How to mount, and what is shown then.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) view: View,
    mount: Vec<MountOption>,
    name: Option<String>,
    subtype: Option<String>,
    acl: SessionACL,
    threads: usize,
}

/// A flag of the mount and its opposite.
const FLAGS: [(&str, MountOption, &str, MountOption); 6] = [
    ("ro", MountOption::RO, "rw", MountOption::RW),
    ("nodev", MountOption::NoDev, "dev", MountOption::Dev),
    ("nosuid", MountOption::NoSuid, "suid", MountOption::Suid),
    ("noexec", MountOption::NoExec, "exec", MountOption::Exec),
    ("noatime", MountOption::NoAtime, "atime", MountOption::Atime),
    ("sync", MountOption::Sync, "async", MountOption::Async),
];

/// Options that are accepted without an effect: they describe the behaviour of this program anyway, or
/// concern only libfuse, or mount(8) and its relatives.
const NO_EFFECT: &str = "async_dio async_read atomic_o_trunc auto auto_cache auto_inval_data auto_unmount big_writes \
    clone_fd debug defaults diratime hard_remove intr large_read _netdev no_async_dio no_async_read \
    no_atomic_o_trunc no_auto_inval_data no_clone_fd no_readdirplus no_remote_flock no_remote_lock \
    no_remote_posix_lock no_rofd_flush no_splice_move no_splice_read no_splice_write \
    no_writeback_cache noauto noauto_cache nodiratime nofail noforget nonempty nopath norelatime \
    nostrictatime nouser parallel_direct_writes readdir_ino relatime splice_move splice_read \
    splice_write strictatime symfollow sync_read use_ino user users writeback_cache";

/// The same with a value that is a number.
const NO_EFFECT_NUMBERS: &str = "congestion_threshold intr_signal max_background max_idle_threads max_readahead max_write \
    remember time_gran";

/// Those that have an effect, for the message about one that is unknown.
const SUPPORTED: &str = "allow_other, allow_root, default_permissions, kernel_cache, \
    direct_io, entry_timeout=, attr_timeout=, negative_timeout=, umask=, uid=, gid=, fsname=, subtype=, \
    max_read=, max_threads=, ro, rw, [no]dev, [no]suid, [no]exec, [no]atime, sync, async and dirsync";

impl Default for Parsed {
    fn default() -> Self {
        Self {
            view: View::default(),
            mount: Vec::new(),
            name: None,
            subtype: None,
            acl: SessionACL::Owner,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

impl Parsed {
    /// Reads lists as they follow `-o`. Of two that contradict each other, the later one counts.
    pub(crate) fn new<'a>(lists: impl IntoIterator<Item = &'a str>) -> io::Result<Self> {
        let mut parsed = Self::default();
        let mut unknown = Vec::new();
        for list in lists {
            for option in split(list) {
                if !parsed.take(&option)? {
                    unknown.push(format!("{option:?}"));
                }
            }
        }
        if unknown.is_empty() {
            return Ok(parsed);
        }
        let options = if unknown.len() == 1 {
            "option"
        } else {
            "options"
        };
        let unknown = unknown.join(", ");
        Err(invalid(format!(
            "unknown mount {options} {unknown}: supported are {SUPPORTED}, and those of libfuse that only \
             tune it"
        )))
    }

    /// One thread serves the mount.
    pub(crate) fn single_threaded(mut self) -> Self {
        self.threads = 1;
        self
    }

    /// The configuration for fuser. The file system is called `name` if no option says otherwise.
    pub(crate) fn config(&self, name: &str) -> Config {
        let mut config = Config::default();
        let name = self.name.as_deref().unwrap_or(name);
        // As root, fuser mounts by itself; otherwise it makes a list for fusermount, without escapes.
        let name = match rustix::process::geteuid().is_root() {
            true => name.to_owned(),
            false => name.replace('\\', "\\\\").replace(',', "\\,"),
        };
        let subtype = self.subtype.as_deref().unwrap_or("rofiles-fuse");
        config.mount_options = vec![
            MountOption::FSName(name),
            MountOption::Subtype(subtype.to_owned()),
        ];
        config.mount_options.extend(self.mount.iter().cloned());
        config.acl = self.acl;
        config.n_threads = Some(self.threads);
        config.clone_fd = true;
        config
    }

    /// False: it is unknown.
    fn take(&mut self, option: &str) -> io::Result<bool> {
        if let Some((key, value)) = option.split_once('=') {
            return self.take_value(option, key, value);
        }
        if let Some((set, other)) = flag(option) {
            self.mount.retain(|known| *known != set && *known != other);
            self.mount.push(set);
            return Ok(true);
        }
        match option {
            "allow_other" | "allow_root" => {
                let acl = match option {
                    "allow_root" => SessionACL::RootAndOwner,
                    _ => SessionACL::All,
                };
                if self.acl != SessionACL::Owner && self.acl != acl {
                    return Err(invalid(
                        "mount options allow_other and allow_root exclude each other: give one of them",
                    ));
                }
                self.acl = acl;
                // Then other users than root may look inside, so the kernel must check permissions.
                if acl == SessionACL::All {
                    self.add(MountOption::DefaultPermissions);
                }
            }
            "default_permissions" => self.add(MountOption::DefaultPermissions),
            "dirsync" => self.add(MountOption::DirSync),
            "kernel_cache" => self.view.keep_cache = true,
            "direct_io" => self.view.direct_io = true,
            option => {
                // Comments for other programs, as mount(8) has them.
                let comment = option.starts_with("x-") || option.starts_with("X-");
                return Ok(comment || is_in(NO_EFFECT, option));
            }
        }
        Ok(true)
    }

    fn take_value(&mut self, option: &str, key: &str, value: &str) -> io::Result<bool> {
        let wrong = |wanted: &str| {
            let reason = format!("mount option {key} needs {wanted}, not {value:?}");
            Err(invalid(reason))
        };
        let number = || value.parse::<u32>();
        match key {
            "entry_timeout" | "attr_timeout" | "negative_timeout" | "ac_attr_timeout" => {
                let Some(time) = seconds(value) else {
                    return wrong("a number of seconds");
                };
                match key {
                    "entry_timeout" => self.view.entry = time,
                    "attr_timeout" => self.view.attr = time,
                    "negative_timeout" => self.view.negative = time,
                    // It is for auto_cache, which has no effect.
                    _ => {}
                }
            }
            "umask" => match u16::from_str_radix(value, 8) {
                Ok(mask) if mask <= 0o7777 => self.view.umask = Some(mask),
                _ => return wrong("octal digits"),
            },
            "uid" | "gid" | "max_read" | "max_threads" => {
                let Ok(number) = number() else {
                    return wrong("a number");
                };
                match key {
                    "uid" => self.view.uid = Some(number),
                    "gid" => self.view.gid = Some(number),
                    "max_read" => self.add(MountOption::CUSTOM(option.to_owned())),
                    _ => self.threads = (number as usize).clamp(1, self.threads),
                }
            }
            "fsname" => self.name = Some(value.to_owned()),
            "subtype" => self.subtype = Some(value.to_owned()),
            "context" | "fscontext" | "defcontext" | "rootcontext" => {
                self.add(MountOption::CUSTOM(option.to_owned()));
            }
            "comment" | "readdirplus" | "user" => {}
            key if key.starts_with("x-") || key.starts_with("X-") => {}
            key if is_in(NO_EFFECT_NUMBERS, key) => {
                if number().is_err() {
                    return wrong("a number");
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add(&mut self, option: MountOption) {
        if !self.mount.contains(&option) {
            self.mount.push(option);
        }
    }
}

fn is_in(names: &str, name: &str) -> bool {
    names.split(' ').any(|known| known == name)
}

/// The flag of this name, and its opposite.
fn flag(name: &str) -> Option<(MountOption, MountOption)> {
    FLAGS
        .into_iter()
        .find_map(|(yes, set, no, unset)| match name {
            _ if name == yes => Some((set, unset)),
            _ if name == no => Some((unset, set)),
            _ => None,
        })
}

/// Parts between commas. After a backslash, a comma is one.
fn split(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        let last = parts.last_mut();
        match (c, last) {
            (',', _) => parts.push(String::new()),
            ('\\', Some(last)) => last.extend(chars.next()),
            (c, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// A time as libfuse takes it: below zero is none, and more than can be said is forever.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    match seconds.is_nan() {
        true => None,
        false => Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)),
    }
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &str) -> Parsed {
        Parsed::new([list]).unwrap()
    }

    fn wrong(lists: &[&str]) -> String {
        Parsed::new(lists.iter().copied()).unwrap_err().to_string()
    }

    #[test]
    fn what_flatpak_builder_asks_for() {
        let view = of("kernel_cache,entry_timeout=60,attr_timeout=60").view;
        assert!(view.keep_cache);
        let minute = Duration::from_secs(60);
        assert_eq!((view.entry, view.attr), (minute, minute));
        assert_eq!(view.negative, Duration::ZERO);
    }

    #[test]
    fn every_option_of_libfuse() {
        let list = "auto_cache,negative_timeout=0.5,ac_attr_timeout=1,fsname=a\\,b,subtype=c,noforget,\
            remember=5,clone_fd,umask=022,uid=1,gid=2,auto_unmount,max_read=65536,ro,rw,nosuid,nodev,\
            noexec,atime,allow_other,default_permissions,x-systemd.requires=y,,";
        let parsed = of(list);
        assert_eq!(parsed.name.as_deref(), Some("a,b"));
        assert_eq!(parsed.subtype.as_deref(), Some("c"));
        assert_eq!(parsed.acl, SessionACL::All);
        let view = &parsed.view;
        assert_eq!(view.negative, Duration::from_millis(500));
        assert_eq!(
            (view.umask, view.uid, view.gid),
            (Some(0o22), Some(1), Some(2))
        );
        let expected = [
            MountOption::CUSTOM("max_read=65536".to_owned()),
            MountOption::RW,
            MountOption::NoSuid,
            MountOption::NoDev,
            MountOption::NoExec,
            MountOption::Atime,
            MountOption::DefaultPermissions,
        ];
        assert_eq!(parsed.mount, expected);
        for option in NO_EFFECT.split(' ') {
            assert!(of(option).mount.is_empty(), "{option}");
        }
        for option in NO_EFFECT_NUMBERS.split(' ') {
            assert!(of(&format!("{option}=1")).mount.is_empty(), "{option}");
        }
    }

    #[test]
    fn times() {
        for (text, time) in [
            ("0", Some(Duration::ZERO)),
            ("-1", Some(Duration::ZERO)),
            ("1.5", Some(Duration::from_millis(1500))),
            ("1e300", Some(Duration::MAX)),
            ("inf", Some(Duration::MAX)),
            ("nan", None),
            ("60s", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), time, "{text}");
        }
    }

    #[test]
    fn wrong_ones_are_named() {
        let said = wrong(&["ro,first", "second=1,attr_timeout"]);
        let all = r#"unknown mount options "first", "second=1", "attr_timeout": supported are "#;
        assert!(said.starts_with(all), "{said}");
        for list in [
            "entry_timeout=x",
            "umask=9",
            "uid=-1",
            "max_read=",
            "remember=x",
        ] {
            let key = list.split('=').next().unwrap();
            let said = wrong(&[list]);
            assert!(
                said.contains(&format!("mount option {key} needs ")),
                "{said}"
            );
        }
        assert!(wrong(&["allow_other,allow_root"]).contains("exclude each other"));
        // Both would change what is seen.
        wrong(&["modules=subdir"]);
        wrong(&["nosymfollow"]);
        wrong(&["blkdev"]);
    }
}
