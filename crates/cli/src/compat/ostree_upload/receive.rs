// SPDX-License-Identifier: MIT OR Apache-2.0
//! `receive`: a server for one repository, without TLS.

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use oxtree_format::Checksum;
use oxtree_repo::prune::Options as PruneOptions;
use oxtree_repo::{Mode, Repo};
use oxtree_server::{Address, Permission};
use tempfile::NamedTempFile;

use super::tokens;
use crate::commands::serve::serve;
use crate::context::Context;
use crate::serving::conf::{Anonymous, RepoConf, ServeConf};

/// Options of `receive`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Whoever has a token may push, be it with the original program, with this one, or with `oxtree push
--plain-http http://HOST:8080`. Every object is verified, and nothing is published that is not complete.

There is no TLS here: others can read the tokens on their way. `oxtree serve` has it, and tokens that
end, that are for some refs only, or that can be revoked.")]
pub(super) struct Args {
    /// The file with the tokens that `gentoken` makes
    #[arg(long, short, value_name = "FILE", default_value = tokens::DEFAULT)]
    config: PathBuf,
    /// Where to listen: a host, or nothing for all, and a port
    #[arg(long, short, value_name = "ADDRESS", default_value = ":8080")]
    address: String,
    /// The OSTree repository; it is made if there is none
    #[arg(long, short, value_name = "PATH", default_value = "repo")]
    repo: PathBuf,
    /// Say more
    #[arg(long, short)]
    pub(super) verbose: bool,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let tokens = hashed(&args.config)?;
    if !args.repo.exists() {
        Repo::create(&args.repo, Mode::Archive, None)
            .with_context(|| format!("creating {}", args.repo.display()))?;
    }
    let repo = Repo::open_in(&args.repo, &context.environment()).context("opening repo")?;
    repo.plan_prune(&PruneOptions::default())?
        .execute(context.progress())?;
    drop(repo);
    let listen = addresses(&args.address)?.into_iter();
    let conf = ServeConf {
        listen: listen
            .map(|address| Address {
                address,
                tls: false,
            })
            .collect(),
        insecure_http: true,
        repos: vec![RepoConf {
            path: args.repo.clone(),
            ..RepoConf::default()
        }],
        tokens: Some(tokens.path().to_owned()),
        anonymous: Some(Anonymous::Nothing),
        ..ServeConf::default()
    };
    serve(conf, context)
}

/// The tokens as the server reads them: without their secrets.
fn hashed(path: &Path) -> Result<NamedTempFile> {
    let tokens = tokens::read(path)?.ok_or_else(|| {
        let shown = path.display();
        anyhow!("there is no {shown}: `ostree-upload gentoken -c {shown}` makes it, with a token")
    })?;
    let tokens = tokens.iter().enumerate().map(|(at, token)| {
        serde_json::json!({
            "name": format!("upload-{}", at + 1),
            "hash": Checksum::of(token.secret.as_bytes()).to_string(),
            "permissions": [Permission::Read, Permission::Push],
        })
    });
    let document = serde_json::json!({"tokens": tokens.collect::<Vec<_>>()});
    let mut file = NamedTempFile::new().context("making a file for the tokens")?;
    file.write_all(document.to_string().as_bytes())
        .context("writing a file for the tokens")?;
    Ok(file)
}

/// Where to listen: as Go's programs take it, so that `:8080` is all addresses.
fn addresses(text: &str) -> Result<Vec<SocketAddr>> {
    let whole = match text.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => text.to_owned(),
    };
    let found = whole.to_socket_addrs();
    let found: Vec<SocketAddr> = found
        .with_context(|| format!("{text} is no address to listen on"))?
        .collect();
    // Where there is no IPv6, all is less.
    let v4_only = text.starts_with(':') && std::net::TcpListener::bind("[::]:0").is_err();
    Ok(match (found.first(), v4_only) {
        (Some(address), true) => vec![([0, 0, 0, 0], address.port()).into()],
        _ => found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_go_has_them() {
        assert_eq!(addresses(":80").unwrap()[0].port(), 80);
        assert!(addresses(":80").unwrap()[0].ip().is_unspecified());
        assert_eq!(
            addresses("127.0.0.1:81").unwrap(),
            [([127, 0, 0, 1], 81).into()]
        );
        assert!(
            addresses("localhost:82")
                .unwrap()
                .iter()
                .all(|found| found.ip().is_loopback())
        );
        for bad in ["", "localhost", ":", ":x", "127.0.0.1:99999"] {
            assert!(addresses(bad).is_err(), "{bad}");
        }
    }
}
