// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines beside what ostree-push 1.2.0 makes of them; its messages were recorded from it.

use proptest::prelude::*;

use super::argparse::{Grammar, Parsed, Stop, parse};
use super::receive::LEGACY_GRAMMAR;
use super::{dest, push, receive};

fn read(grammar: &Grammar, line: &str) -> Result<Parsed, Stop> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(grammar, &words, usize::MAX)
}

fn parsed(options: &[(&'static str, &str)], arguments: &[&str]) -> Result<Parsed, Stop> {
    Ok(Parsed {
        options: options
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
    })
}

/// `test_push.argparser.*`, `test_receive.ArgParser.*`.
#[test]
fn command_lines() {
    let push = &push::GRAMMAR;
    for (line, expected) in [
        ("h:r", parsed(&[], &["h:r"])),
        ("h:r a b", parsed(&[], &["h:r", "a", "b"])),
        ("-n h:r", parsed(&[("-n", "")], &["h:r"])),
        ("--dry-run h:r", parsed(&[("--dry-run", "")], &["h:r"])),
        ("--dry h:r", parsed(&[("--dry-run", "")], &["h:r"])),
        ("-p 22 h:r", parsed(&[("-p", "22")], &["h:r"])),
        ("-p22 h:r", parsed(&[("-p", "22")], &["h:r"])),
        ("-p=22 h:r", parsed(&[("-p", "22")], &["h:r"])),
        ("-p -5 h:r", parsed(&[("-p", "-5")], &["h:r"])),
        (
            "-nqv h:r",
            parsed(&[("-n", ""), ("-q", ""), ("-v", "")], &["h:r"]),
        ),
        (
            "-nvp22 h:r",
            parsed(&[("-n", ""), ("-v", ""), ("-p", "22")], &["h:r"]),
        ),
        (
            "--repo=x --command a --command=b h:r",
            parsed(
                &[("--repo", "x"), ("--command", "a"), ("--command", "b")],
                &["h:r"],
            ),
        ),
        (
            "-i key -o A=b -oC=d h:r",
            parsed(&[("-i", "key"), ("-o", "A=b"), ("-o", "C=d")], &["h:r"]),
        ),
        ("h:r -- -x --repo", parsed(&[], &["h:r", "-x", "--repo"])),
        ("h:r - -5 -1.5", parsed(&[], &["h:r", "-", "-5", "-1.5"])),
        // Here the original would not take what follows the option.
        ("h:r -n a", parsed(&[("-n", "")], &["h:r", "a"])),
    ] {
        assert_eq!(read(push, line), expected, "{line}");
    }
    let receive = &receive::GRAMMAR;
    for (line, expected) in [
        ("r u", parsed(&[], &["r", "u"])),
        ("r u a b", parsed(&[], &["r", "u", "a", "b"])),
        (
            "--no-update r u",
            parsed(&[("--no-update", "")], &["r", "u"]),
        ),
        (
            "-n -f -q r u",
            parsed(&[("-n", ""), ("-f", ""), ("-q", "")], &["r", "u"]),
        ),
        (
            "--dry-run --force --verbose r u",
            parsed(
                &[("--dry-run", ""), ("--force", ""), ("--verbose", "")],
                &["r", "u"],
            ),
        ),
    ] {
        assert_eq!(read(receive, line), expected, "{line}");
    }
    assert_eq!(
        read(&LEGACY_GRAMMAR, "--repo x -v --debug"),
        parsed(&[("--repo", "x"), ("-v", ""), ("--debug", "")], &[])
    );
}

/// What ends with code 2, in argparse's words.
#[test]
fn wrong_command_lines() {
    let (push, receive) = (&push::GRAMMAR, &receive::GRAMMAR);
    for (grammar, line, error) in [
        (push, "", "the following arguments are required: DEST"),
        (push, "-n", "the following arguments are required: DEST"),
        (push, "h:r --bogus", "unrecognized arguments: --bogus"),
        (
            push,
            "h:r -x --bogus=1",
            "unrecognized arguments: -x --bogus=1",
        ),
        (push, "h:r -p", "argument -p: expected one argument"),
        (push, "h:r -p -n", "argument -p: expected one argument"),
        (push, "h:r --repo", "argument --repo: expected one argument"),
        (push, "h:r -i --", "argument -i/-o: expected one argument"),
        (
            push,
            "--ver h:r",
            "ambiguous option: --ver could match --verbose, --version",
        ),
        (
            push,
            "h:r -n=x",
            "argument -n/--dry-run: ignored explicit argument 'x'",
        ),
        (
            push,
            "h:r -nx",
            "argument -n/--dry-run: ignored explicit argument 'x'",
        ),
        (
            push,
            "--quiet=x h:r",
            "argument -q/--quiet: ignored explicit argument 'x'",
        ),
        (
            receive,
            "",
            "the following arguments are required: REPO, URL",
        ),
        (receive, "r", "the following arguments are required: URL"),
        (
            receive,
            "--dry",
            "the following arguments are required: REPO, URL",
        ),
        (
            receive,
            "r u --bogus --x",
            "unrecognized arguments: --bogus --x",
        ),
        (&LEGACY_GRAMMAR, "x", "unrecognized arguments: x"),
        (
            &LEGACY_GRAMMAR,
            "--version",
            "unrecognized arguments: --version",
        ),
        (
            &LEGACY_GRAMMAR,
            "--repo",
            "argument --repo: expected one argument",
        ),
    ] {
        assert_eq!(
            read(grammar, line),
            Err(Stop::Wrong(error.to_owned())),
            "{line}"
        );
    }
    assert_eq!(read(push, "--help"), Err(Stop::Help));
    assert_eq!(read(push, "-nh --bogus"), Err(Stop::Help));
    assert_eq!(read(receive, "--vers"), Err(Stop::Version));
}

/// `test_push.parse_dest.good_dest`, and what else the original takes.
#[test]
fn good_destinations() {
    for (text, user, host, port, path) in [
        ("ssh://host/repo", None, "host", None, "/repo"),
        (
            "ssh://host/path/to/repo",
            None,
            "host",
            None,
            "/path/to/repo",
        ),
        (
            "ssh://host/path/to/repo/",
            None,
            "host",
            None,
            "/path/to/repo/",
        ),
        ("ssh://host/path/:/repo", None, "host", None, "/path/:/repo"),
        ("ssh://user@host/repo", Some("user"), "host", None, "/repo"),
        ("ssh://host:22/repo", None, "host", Some(22), "/repo"),
        (
            "ssh://user@host:1234/repo",
            Some("user"),
            "host",
            Some(1234),
            "/repo",
        ),
        ("host:repo", None, "host", None, "repo"),
        ("host:path/to/repo", None, "host", None, "path/to/repo"),
        ("host:/path/:/repo", None, "host", None, "/path/:/repo"),
        ("user@host:repo", Some("user"), "host", None, "repo"),
        (
            "user@host.example.com:path/to/repo",
            Some("user"),
            "host.example.com",
            None,
            "path/to/repo",
        ),
        (
            "SSH://User:pw@HOST:22/r?q#f",
            Some("User"),
            "host",
            Some(22),
            "/r",
        ),
        ("ssh://h:/r", None, "h", None, "/r"),
        ("ssh://h/", None, "h", None, "/"),
        ("ssh://h/~/r%20x", None, "h", None, "/~/r%20x"),
        ("ssh://[::1]:2222/r", None, "::1", Some(2222), "/r"),
        ("ssh:///r", None, "ssh", None, "///r"),
        ("HOST:a b", None, "HOST", None, "a b"),
    ] {
        let url = dest::parse(text).unwrap();
        let (got_user, got_host) = (url.user.as_deref(), url.host.as_str());
        assert_eq!(
            (got_user, got_host, url.port, url.path.as_str()),
            (user, host, port, path),
            "{text}"
        );
    }
}

/// `test_push.parse_dest.*` but the good ones.
#[test]
fn bad_destinations() {
    for (text, error) in [
        ("http://h/r", "Destination scheme \"http\" not allowed"),
        ("ftp://h/r", "Destination scheme \"ftp\" not allowed"),
        ("SCP://h/r", "Destination scheme \"scp\" not allowed"),
        ("ssh://host", "Destintion repo missing"),
        ("ssh://host?x", "Destintion repo missing"),
        ("", "Destination not in form \"host:repo\""),
        ("word", "Destination not in form \"host:repo\""),
        ("/srv/repo", "Destination not in form \"host:repo\""),
        (":", "Destination host missing"),
        (":repo", "Destination host missing"),
        (":/path/:/repo", "Destination host missing"),
        ("host:", "Destination repo missing"),
        ("user@host:", "Destination repo missing"),
        ("@:r", "Invalid destination host @"),
        ("@host:r", "Invalid destination host @host"),
        ("user@:r", "Invalid destination host user@"),
        (
            "ssh://h:port/r",
            "Port could not be cast to integer value as 'port'",
        ),
        (
            "ssh://h:$/r",
            "Port could not be cast to integer value as '$'",
        ),
        ("ssh://h:65536/r", "Port out of range 0-65535"),
        ("ssh://[::1/r", "Invalid IPv6 URL"),
        // The original gives these to ssh, which takes them for options.
        (
            "-oProxyCommand=x:r",
            "Invalid destination host -oProxyCommand=x",
        ),
        (
            "ssh://-oProxyCommand=x/r",
            "Invalid destination host -oproxycommand=x",
        ),
        ("-l@h:r", "Invalid destination host -l@h"),
        ("h h:r", "Invalid destination host h h"),
        ("h:a\nb", "Destination repo has a line break in it"),
    ] {
        assert_eq!(
            dest::parse(text).unwrap_err().to_string(),
            error,
            "{text:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_words(words in proptest::collection::vec("[-=a-z0-9 .:@/\\[\\]é]{0,8}", 0..6)) {
        for grammar in [&push::GRAMMAR, &receive::GRAMMAR, &LEGACY_GRAMMAR] {
            if let Ok(parsed) = parse(grammar, &words, 1) {
                prop_assert!(parsed.options.len() + parsed.arguments.len() <= 9 * words.len());
            }
        }
        for word in &words {
            let _ = dest::parse(word);
            let _ = dest::parse(&format!("ssh://{word}"));
        }
    }
}
