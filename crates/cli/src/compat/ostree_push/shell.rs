// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ostree-receive-shell`: a login shell with which an account can do nothing but receive.
//!
//! It splits the command into words and runs itself again under the name that is the first of
//! them. No shell, no search on `PATH`, and of the environment only what is in [`KEPT`] is left:
//! sshd takes variables from a client where `AcceptEnv` lets it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Call;
use crate::error::AlreadyReported;
use crate::escape::harmless;
use crate::names::Program;
use crate::receiving::conf::{Conf, Places};
use crate::receiving::refusals;
use crate::shell_words;

/// Variables that the receiver keeps, besides `LC_*`. All of them are set by sshd itself or
/// cannot change what is run or read.
const KEPT: [&str; 11] = [
    "HOME",
    "LOGNAME",
    "USER",
    "SHELL",
    "LANG",
    "TZ",
    "XDG_RUNTIME_DIR",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_ORIGINAL_COMMAND",
    "PATH",
];

/// Variables that would choose another configuration. To leave them out could be to leave out
/// the server's own rules, so there is no going on with them.
const REFUSED: [&str; 2] = ["OSTREE_RECEIVE_CONF", "XDG_CONFIG_HOME"];

/// The longest command that is looked at.
const MAX_COMMAND: usize = 64 << 10;

/// What may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// One of the original's programs, with its arguments.
    Original(Program, Vec<String>),
    /// `oxtree receive` with its arguments.
    Own(Vec<String>),
}

/// What a client asks for, if it may have that. `forced`: the command is the server's own, from
/// `authorized_keys`. The error is for the client and for the log.
pub(crate) fn allowed(command: &str, forced: bool) -> Result<Allowed, String> {
    if command.len() > MAX_COMMAND || command.contains('\0') {
        return Err("Command too long".to_owned());
    }
    let words = shell_words::split(command).map_err(|error| error.to_string())?;
    let Some((first, rest)) = words.split_first() else {
        return Err("No command given".to_owned());
    };
    match (first.as_str(), rest) {
        ("ostree-receive", _) => Ok(Allowed::Original(Program::Receive, rest.to_vec())),
        ("ostree-receive-1", _) => Ok(Allowed::Original(Program::Receive1, rest.to_vec())),
        ("ostree-receive-0", _) => Ok(Allowed::Original(Program::Receive0, rest.to_vec())),
        ("oxtree", [receive, rest @ ..]) if receive == "receive" => match rest {
            // Who one is, and what of others' is deleted, is not for the client to say.
            _ if forced => Ok(Allowed::Own(rest.to_vec())),
            [dashes, repo] if dashes == "--" => Ok(Allowed::Own(vec![repo.clone()])),
            [repo] if !repo.starts_with('-') => Ok(Allowed::Own(vec![repo.clone()])),
            _ => Err("oxtree receive takes nothing but a repository here".to_owned()),
        },
        ("oxtree", _) => Err("Executing oxtree not allowed, but for oxtree receive".to_owned()),
        (first, _) => Err(format!("Executing {first} not allowed")),
    }
}

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let command = match call.words {
        [] => return refuse(call, "", "Cannot run interactively"),
        [option, command] if option == "-c" => command,
        words => {
            let text = "Must be run with no arguments or with -c cmd";
            return refuse(call, &words.join(" "), text);
        }
    };
    let forced = std::env::var_os("SSH_ORIGINAL_COMMAND").is_some();
    let allowed = match allowed(command, forced) {
        Ok(allowed) => allowed,
        Err(text) => return refuse(call, command, &text),
    };
    if let Some(name) = REFUSED.iter().find(|name| is_set(name)) {
        let text = format!(
            "{name} is set: here only /etc/ostree and ~/.config/ostree are looked at for \
             ostree-receive.conf"
        );
        return refuse(call, command, &text);
    }
    let (name, mut words) = match allowed {
        Allowed::Original(program, words) => (program.name(), words),
        Allowed::Own(words) => ("oxtree", words),
    };
    if name == "oxtree" {
        words.insert(0, "receive".to_owned());
    }
    let error = again(name, &words);
    let (reason, code) = match error.kind() {
        std::io::ErrorKind::NotFound => ("No such file or directory".to_owned(), 127),
        std::io::ErrorKind::PermissionDenied => ("Permission denied".to_owned(), 126),
        _ => (error.to_string(), 1),
    };
    call.out.note(&format!("{}: {name}: {reason}", call.name));
    Err(AlreadyReported { code }.into())
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Becomes this same binary under another name. Returns only with the error.
fn again(name: &str, words: &[String]) -> std::io::Error {
    let own = PathBuf::from("/proc/self/exe");
    let program = match own.exists() {
        true => own,
        false => match std::env::current_exe() {
            Ok(path) => path,
            Err(error) => return error,
        },
    };
    let mut command = Command::new(&program);
    command.arg0(name).args(words).env_clear();
    command.envs(environment(std::env::vars_os(), &program));
    command.exec()
}

/// What is left of the environment. The binary's own directory is the last on `PATH`, for hooks
/// that are installed beside it.
fn environment(
    vars: impl Iterator<Item = (OsString, OsString)>,
    program: &Path,
) -> Vec<(OsString, OsString)> {
    let kept =
        |name: &OsStr| KEPT.iter().any(|kept| name == *kept) || name.as_bytes().starts_with(b"LC_");
    let mut vars: Vec<_> = vars.filter(|(name, _)| kept(name)).collect();
    let at = vars.iter().position(|(name, _)| name == "PATH");
    let path = at.map_or("/usr/local/bin:/usr/bin:/bin".into(), |at| {
        vars.remove(at).1
    });
    // A relative directory would be one that a client's path chooses.
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .collect();
    let own = program.canonicalize().ok();
    if let Some(dir) = own.as_deref().and_then(Path::parent).map(Path::to_owned)
        && !dirs.contains(&dir)
    {
        dirs.push(dir);
    }
    // Only a name with a colon in it cannot be joined.
    if let Ok(path) = std::env::join_paths(dirs) {
        vars.push(("PATH".into(), path));
    }
    vars
}

/// Says why not: to the client, to the system's log, and to the audit log if there is one.
fn refuse(call: &Call<'_>, command: &str, text: &str) -> Result<()> {
    call.out.note(&format!("{}: {text}", call.name));
    let line = format!("{text} (command: {})", command.escape_debug());
    tell_syslog(Path::new("/dev/log"), call.name, &line);
    // Whoever has no readable configuration has no audit log.
    let conf = Conf::load(Places::new(None, None, std::env::home_dir()));
    if let Some(log) = conf.as_ref().ok().and_then(Conf::audit_log) {
        refusals::refused(log, command, text, call.out);
    }
    Err(AlreadyReported { code: 1 }.into())
}

/// Notes a refusal in the system's log.
fn tell_syslog(socket: &Path, name: &str, text: &str) {
    let who = std::env::var("SSH_CLIENT").unwrap_or_default();
    let user = std::env::var("USER").unwrap_or_default();
    let text = format!("refused for user {user} from {who}: {text}");
    write_syslog(socket, name, &text);
}

/// A line for the system's log: facility auth, severity warning. Where there is none, nobody can
/// be told.
pub(crate) fn write_syslog(socket: &Path, name: &str, text: &str) {
    let pid = std::process::id();
    let line = format!("<36>{name}[{pid}]: {text}");
    let line: String = harmless(&line).chars().take(1000).collect();
    if let Ok(to) = UnixDatagram::unbound() {
        let _ = to.set_nonblocking(true);
        let _ = to.send_to(line.as_bytes(), socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_shell_knows_four_commands() {
        let original = |program, list: &[&str]| Ok(Allowed::Original(program, words(list)));
        let own = |list: &[&str]| Ok(Allowed::Own(words(list)));
        for (command, expected) in [
            ("ostree-receive", original(Program::Receive, &[])),
            (
                "ostree-receive-0 --repo=x",
                original(Program::Receive0, &["--repo=x"]),
            ),
            (
                "  ostree-receive-1 -n 'a b' u",
                original(Program::Receive1, &["-n", "a b", "u"]),
            ),
            (
                "ostree-receive; ls",
                Err("Executing ostree-receive; not allowed".to_owned()),
            ),
            (
                "ostree-receive-1 a; ls",
                original(Program::Receive1, &["a;", "ls"]),
            ),
            (
                "ostree-receive-1 $(ls) `ls`",
                original(Program::Receive1, &["$(ls)", "`ls`"]),
            ),
            ("ostree-receive-1\nls", original(Program::Receive1, &["ls"])),
            ("oxtree receive /srv/r", own(&["/srv/r"])),
            ("oxtree receive -- -r", own(&["-r"])),
        ] {
            assert_eq!(allowed(command, false), expected, "{command:?}");
        }
        for command in [
            "",
            " ",
            "'",
            "a\\",
            "ls",
            "/usr/bin/ostree-receive",
            "./ostree-receive",
            "OSTREE-RECEIVE",
            "ostree-receive-2",
            "ostree-receive-shell",
            "ostree-push",
            "sh -c ls",
            "oxtree",
            "oxtree push x",
            "oxtree --repo=r receive x",
            "oxtree receive",
            "oxtree receive --cleanup x",
            "oxtree receive --identity boss x",
            "oxtree receive x --identity=boss",
            "oxtree receive x y",
            "env X=1 ostree-receive",
            "X=1 ostree-receive",
            "exec ostree-receive",
            "-c ls",
            "scp -t /tmp",
            "/usr/lib/openssh/sftp-server",
            "internal-sftp",
            "rsync --server",
            "\nls",
            "\u{0}",
            "'ostree-receive '",
            "\"ostree-receive\tx\"",
            "git-shell -c x",
        ] {
            assert!(allowed(command, false).is_err(), "{command:?}");
        }
        // The server's own command may say who it is.
        assert_eq!(
            allowed("oxtree receive --identity ci /r", true),
            own(&["--identity", "ci", "/r"])
        );
        assert!(allowed("ls", true).is_err());
        assert!(allowed(&"x".repeat(MAX_COMMAND + 1), true).is_err());
    }

    #[test]
    fn little_is_left_of_the_environment() {
        let vars = [
            ("HOME", "/h"),
            ("LD_PRELOAD", "/x"),
            ("GNUPGHOME", "/x"),
            ("OSTREE_REPO", "/x"),
            ("BASH_ENV", "/x"),
            ("LC_ALL", "C"),
            ("PATH", "/a:.::rel:/b"),
            ("OXTREE_SSH_COMMAND", "x"),
            ("LD_LIBRARY_PATH", "/x"),
            ("TMPDIR", "/x"),
            ("PYTHONPATH", "/x"),
        ];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        let left = environment(vars.into_iter(), Path::new("/bin/sh"));
        let names: Vec<_> = left
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["HOME", "LC_ALL", "PATH"]);
        let own = Path::new("/bin/sh").canonicalize().unwrap();
        let path = format!("/a:/b:{}", own.parent().unwrap().display());
        assert_eq!(left[2].1, *path);
        // It is not added twice, and there is one in any case.
        let there = [("PATH".into(), path.clone().into())];
        assert_eq!(
            environment(there.into_iter(), Path::new("/bin/sh"))[0].1,
            *path
        );
        assert_eq!(environment([].into_iter(), Path::new("/bin/sh")).len(), 1);
    }

    #[test]
    fn the_systems_log_gets_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("log");
        let log = UnixDatagram::bind(&socket).unwrap();
        tell_syslog(&socket, "ostree-receive-shell", "no\u{1b}[31m");
        let mut line = [0; 2000];
        let len = log.recv(&mut line).unwrap();
        let line = std::str::from_utf8(&line[..len]).unwrap();
        assert!(line.starts_with("<36>ostree-receive-shell["), "{line}");
        assert!(line.ends_with("no\\u{1b}[31m"), "{line}");
        tell_syslog(&dir.path().join("none"), "x", "y");
    }
}
