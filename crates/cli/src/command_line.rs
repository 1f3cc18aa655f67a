// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: options of every command, and what is said about a wrong one.

use std::ffi::OsString;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};

use oxtree_repo::words::plain;

use crate::commands::Command;
use crate::error::Usage;
use crate::names::Face;
use crate::options::Global;
use crate::output::Output;

/// Publish, store and serve OSTree commits.
#[derive(Debug, Parser)]
#[command(
    name = "oxtree",
    version,
    disable_version_flag = true,
    propagate_version = true,
    after_help = "`oxtree COMMAND --help` has the options of a command, with examples.",
    after_long_help = "\
`oxtree COMMAND --help` has the options of a command, with examples.

Environment:
  OSTREE_REPO        The repository, where none is given and the current directory is none
  OSTREE_SYSROOT     The root whose ostree/repo is used where there is no other [default: /]
  OSTREE_BOOTID      Takes the place of the kernel's boot id: transactions that were interrupted
                     are taken up again only within one
  OSTREE_GPG_HOME    A directory of GPG keyrings (*.gpg) that are trusted, instead of
                     /usr/share/ostree/trusted.gpg.d
  SOURCE_DATE_EPOCH  The time of new commits, in seconds since 1970
  OSTREE_SKIP_CACHE  Where it is set, `pull` keeps no summaries
  OSTREE_DEBUG_HTTP  Where it is set, requests are logged, as with --verbose
  http_proxy         A proxy for http; so are https_proxy and all_proxy, but for hosts in no_proxy and this machine

Linked as `ostree`, it prints and exits as libostree's command does; linked as `ostree-push`,
`ostree-receive` or `ostree-receive-shell`, as those programs of ostree-push do (`oxtree
install-links` makes the links)."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The whole tree of commands, with the rules of GLib's option parser where clap's are stricter:
/// an option may be given twice (the last one counts), and its value may begin with a dash.
pub(crate) fn command(face: Face) -> clap::Command {
    fn lenient(command: clap::Command, face: Face) -> clap::Command {
        let command = match command.get_after_long_help().map(ToString::to_string) {
            Some(help) if face == Face::Ostree => {
                command.after_long_help(help.replace("oxtree ", "ostree "))
            }
            _ => command,
        };
        let command = match face {
            // By this heading libostree's own tests find the commands; it has no command `help`.
            Face::Ostree if command.has_subcommands() => {
                let group = GROUPS.iter().find(|group| group.0 == command.get_name());
                let heading = group.map_or("Builtin Commands", |group| group.1);
                command
                    .subcommand_help_heading(heading)
                    .disable_help_subcommand(true)
            }
            _ => command,
        };
        command
            .args_override_self(true)
            .mut_args(
                |arg| match !arg.is_positional() && arg.get_action().takes_values() {
                    true => arg.allow_hyphen_values(true),
                    false => arg,
                },
            )
            .mut_subcommands(|command| lenient(command, face))
    }
    let command = Args::command().name(face.name()).bin_name(face.name());
    lenient(command, face)
}

/// Reads the command line. [`None`]: help or the version was asked for, and printed.
pub(crate) fn parse(face: Face, words: Vec<OsString>, output: &Output) -> Result<Option<Args>> {
    let parsed = command(face)
        .try_get_matches_from(command_first(words))
        .and_then(|matches| Args::from_arg_matches(&matches));
    let error = match parsed {
        Ok(args) => return Ok(Some(args)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayVersion => output.text(&version(face))?,
        ErrorKind::DisplayHelp => output.help(&error.render())?,
        _ => return Err(Usage(describe(&error)).into()),
    }
    Ok(None)
}

/// Commands that have commands of their own, and what stands above these in the help.
const GROUPS: [(&str, &str); 3] = [
    ("remote", "Builtin \"remote\" Commands"),
    ("static-delta", "Builtin \"static-delta\" Commands"),
    ("token", "Builtin \"token\" Commands"),
];

/// Puts the command's name first: libostree takes a command's own options before its name, too.
fn command_first(words: Vec<OsString>) -> Vec<OsString> {
    let mut words = words;
    name_first(&mut words, 1);
    if words
        .get(1)
        .is_some_and(|name| GROUPS.iter().any(|group| name == group.0))
    {
        name_first(&mut words, 2);
    }
    words
}

/// Moves the first word that is no option to where `start` is.
fn name_first(words: &mut [OsString], start: usize) {
    let mut at = start;
    while let Some(word) = words.get(at).map(|word| word.as_encoded_bytes()) {
        match word {
            b"--" => break,
            b"--repo" => at += 2,
            [b'-', ..] => at += 1,
            _ => {
                words[start..=at].rotate_right(1);
                break;
            }
        }
    }
}

/// The error for a command line without a command that there is. libostree prints its help then.
pub(crate) fn no_command(face: Face, message: &str, output: &Output) -> anyhow::Error {
    if face == Face::Ostree {
        let help = command(face).render_help().to_string();
        output.note(&format!("{}\n", help.trim_end()));
    }
    Usage(message.to_owned()).into()
}

/// The same for a command that has commands of its own, of which `name` is none.
pub(crate) fn no_subcommand(
    face: Face,
    group: &str,
    name: Option<&OsString>,
    output: &Output,
) -> anyhow::Error {
    let mut all = command(face);
    all.build();
    if let (Face::Ostree, Some(group)) = (face, all.find_subcommand_mut(group)) {
        let help = group.render_help().to_string();
        output.note(&format!("{}\n", help.trim_end()));
    }
    let message = match name {
        None => format!("No \"{group}\" subcommand specified"),
        Some(name) => format!("Unknown \"{group}\" subcommand '{}'", name.display()),
    };
    Usage(message).into()
}

/// What `--version` prints.
fn version(face: Face) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match face {
        Face::Oxtree => format!("oxtree {version}\n"),
        // Scripts and libostree's own tests read this as YAML, and look for features.
        Face::Ostree => format!(
            "libostree:\n Version: '2026.4'\n Oxtree: '{version}'\n Features:\n  - composefs\n  \
             - libarchive\n  - gpgme\n  - sign-ed25519\n  - sign-spki\n"
        ),
    }
}

/// clap's message as one line, in libostree's words where it has some.
pub(crate) fn describe(error: &clap::Error) -> String {
    let strings = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(all)) => all.join(" "),
        _ => String::new(),
    };
    let invalid = || strings(ContextKind::InvalidArg);
    // An argument as the help shows it, such as `--create <NEWREF>`: its name alone.
    let name = || {
        let arg = invalid();
        arg.split(['=', ' ']).next().unwrap_or_default().to_owned()
    };
    match error.kind() {
        ErrorKind::UnknownArgument => format!("Unknown option {}", invalid()),
        ErrorKind::InvalidValue if strings(ContextKind::InvalidValue).is_empty() => {
            format!("Missing argument for {}", name())
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = invalid().replace("> <", " and ").replace(['<', '>'], "");
            format!("{missing} must be specified")
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => {
            let text = error.render().to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
            plain(first.trim_start_matches("error: ")).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_commands_are_in_order() {
        command(Face::Oxtree).debug_assert();
        command(Face::Ostree).debug_assert();
    }

    #[test]
    fn the_command_comes_first() {
        let first = |words: &str| -> String {
            let words = words.split(' ').map(OsString::from).collect();
            command_first(words)
                .join(OsStr::new(" "))
                .into_string()
                .unwrap()
        };
        assert_eq!(first("ostree -v refs -A"), "ostree refs -v -A");
        assert_eq!(
            first("o --repo r --date=x log y"),
            "o log --repo r --date=x y"
        );
        assert_eq!(
            first("o remote --set=a=b add x y"),
            "o remote add --set=a=b x y"
        );
        assert_eq!(first("o -v remote -u list"), "o remote list -v -u");
        assert_eq!(first("o remote --repo r list"), "o remote list --repo r");
        assert_eq!(first("o --repo"), "o --repo");
        assert_eq!(first("o -- refs"), "o -- refs");
        assert_eq!(first("o refs --repo r"), "o refs --repo r");
        assert_eq!(first("o"), "o");
    }

    /// Each command says what it does and shows how, and each of its arguments is explained.
    #[test]
    fn help_teaches() {
        let mut commands = command(Face::Oxtree);
        commands.build();
        for command in commands.get_subcommands().filter(|c| !c.is_hide_set()) {
            let name = command.get_name();
            if name == "help" {
                continue;
            }
            assert!(command.get_about().is_some(), "{name}");
            let examples = command.get_after_long_help().map(ToString::to_string);
            assert!(
                examples.is_some_and(|text| text.contains(&format!("oxtree {name}"))),
                "{name}: no example in the help"
            );
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                assert!(arg.get_help().is_some(), "{name}: {}", arg.get_id());
            }
        }
    }
}
