// SPDX-License-Identifier: MIT OR Apache-2.0
//! `token`: who may push to what `serve` serves.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use jiff::Timestamp;
use oxtree_server::{Caps, Permission, Token, TokenFile};
use oxtree_transfer::limits::parse_size;

use crate::command_line;
use crate::context::Context;
use crate::error::Usage;
use crate::serving::conf::{self, ServeConf, permission, time};

/// Options of `token`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A token is what a client of `oxtree serve` shows to be let in. It is printed when it is made, and
never again: only a hash of it is kept.
  oxtree token create --tokens /srv/tokens.json ci --allow push --ref 'app/*' --expires 90d
  OXTREE_TOKEN=oxtree_… oxtree push https://example.org/ app/main
  oxtree token list --tokens /srv/tokens.json
  oxtree token revoke --tokens /srv/tokens.json ci

A running server takes what has changed into account at once.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token, and print it
    #[command(
        after_long_help = "  oxtree token create ci --allow push --ref 'app/*' --expires 90d
  oxtree token create admin --allow admin"
    )]
    Create(Create),
    /// List the tokens
    #[command(after_long_help = "  oxtree token list --json")]
    List(List),
    /// Let a token count no more
    #[command(after_long_help = "  oxtree token revoke ci")]
    Revoke(Revoke),
    /// What is no command
    #[command(external_subcommand)]
    Unknown(Vec<OsString>),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The file with the tokens [default: what `tokens` in the server's configuration says]
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// The server's configuration
    #[arg(long, value_name = "FILE", default_value = conf::PATH)]
    config: PathBuf,
}

impl Place {
    fn file(&self) -> Result<TokenFile> {
        if let Some(path) = &self.tokens {
            return Ok(TokenFile::new(path));
        }
        let conf = match Path::exists(&self.config) {
            true => ServeConf::load(&self.config)?,
            false => ServeConf::default(),
        };
        let path = conf.tokens.ok_or_else(|| {
            let config = self.config.display();
            Usage(format!(
                "--tokens must be specified, as {config} names no file"
            ))
        })?;
        Ok(TokenFile::new(path))
    }
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    place: Place,
    /// What it allows: read, push, force, delete, promote or admin (can be repeated)
    #[arg(long, value_name = "WHAT", required = true, value_parser = permission)]
    allow: Vec<Permission>,
    /// Refs that it is for: * stands for anything, ? for one character (can be repeated) [default:
    /// all]
    #[arg(long = "ref", value_name = "PATTERN")]
    refs: Vec<String>,
    /// Repositories that it is for, in the same way, by their names in URLs (can be repeated)
    /// [default: all]
    #[arg(long = "repository", value_name = "PATTERN")]
    repos: Vec<String>,
    /// How long it counts, such as 90s, 5m, 24h or 30d [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = span)]
    expires: Option<Duration>,
    /// Bytes that a push may bring over the wire; K, M, G and T are understood
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// Bytes of one file's content
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_object_size: Option<u64>,
    /// Bytes that the objects of a push may unpack to
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_unpacked_size: Option<u64>,
    /// Objects that a push may bring
    #[arg(long, value_name = "COUNT", value_parser = size)]
    max_objects: Option<u64>,
    /// Refs that a push may change
    #[arg(long, value_name = "COUNT", value_parser = size)]
    max_refs: Option<u64>,
    /// Print it with all that is known of it, as a JSON object
    #[arg(long)]
    json: bool,
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    place: Place,
    /// Print them as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    #[command(flatten)]
    place: Place,
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
}

fn span(text: &str) -> Result<Duration, String> {
    let span = time(text).filter(|span| !span.is_zero());
    span.ok_or_else(|| "expected a time such as 90s, 5m, 24h or 30d".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let size = parse_size(text).filter(|size| *size > 0);
    size.ok_or_else(|| "expected a number such as 500, 64K, 20M, 3G".to_owned())
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    match &args.command {
        Some(Command::Create(args)) => create(args, context),
        Some(Command::List(args)) => list(args, context),
        Some(Command::Revoke(args)) => Ok(args.place.file()?.revoke(&args.name)?),
        Some(Command::Unknown(words)) => unknown(words.first(), context),
        None => unknown(None, context),
    }
}

fn unknown(name: Option<&OsString>, context: &Context<'_>) -> Result<()> {
    let (face, out) = (context.face, context.out);
    Err(command_line::no_subcommand(face, "token", name, out))
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

fn create(args: &Create, context: &Context<'_>) -> Result<()> {
    let some = |all: &Vec<String>| (!all.is_empty()).then(|| all.clone());
    let now = now();
    let token = Token {
        name: args.name.clone(),
        hash: String::new(),
        created: now,
        expires: args.expires.map(|time| now.saturating_add(time.as_secs())),
        repos: some(&args.repos),
        refs: some(&args.refs),
        permissions: args.allow.clone(),
        limits: Caps {
            object: args.max_object_size,
            bytes: args.max_bytes,
            unpacked: args.max_unpacked_size,
            objects: args.max_objects,
            refs: args.max_refs,
        },
    };
    let secret = args.place.file()?.create(token.clone())?;
    if !args.json {
        return context.out.line(&secret);
    }
    // As the API answers.
    let mut report = serde_json::to_value(&token)?;
    report["token"] = secret.into();
    context.out.line(&report.to_string())
}

fn list(args: &List, context: &Context<'_>) -> Result<()> {
    let tokens = args.place.file()?.all()?;
    if args.json {
        let tokens: Vec<Token> = tokens
            .iter()
            .cloned()
            .map(|token| Token {
                hash: String::new(),
                ..token
            })
            .collect();
        let report = serde_json::json!({"tokens": tokens});
        return context.out.line(&report.to_string());
    }
    for token in tokens.iter() {
        context.out.line(&line(token))?;
    }
    Ok(())
}

fn line(token: &Token) -> String {
    let allowed: Vec<String> = token
        .permissions
        .iter()
        .map(|permission| format!("{permission:?}").to_lowercase())
        .collect();
    let mut line = format!("{}: {}", token.name, allowed.join(", "));
    for (what, patterns) in [("in", &token.repos), ("for", &token.refs)] {
        if let Some(patterns) = patterns {
            line = format!("{line} {what} {}", patterns.join(", "));
        }
    }
    for (what, limit) in [
        ("object size", token.limits.object),
        ("bytes", token.limits.bytes),
        ("unpacked size", token.limits.unpacked),
        ("objects", token.limits.objects),
        ("refs", token.limits.refs),
    ] {
        if let Some(limit) = limit {
            line = format!("{line}; max {what} {limit}");
        }
    }
    let time = |seconds: u64| {
        let time = i64::try_from(seconds).ok().map(Timestamp::from_second);
        time.and_then(Result::ok)
            .map_or_else(|| seconds.to_string(), |time| time.to_string())
    };
    match token.expires {
        None => line,
        Some(at) if token.has_expired(now()) => format!("{line}; has expired {}", time(at)),
        Some(at) => format!("{line}; until {}", time(at)),
    }
}
