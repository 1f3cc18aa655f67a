// SPDX-License-Identifier: MIT OR Apache-2.0
//! How servers on the web are reached, as the environment and options say.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use oxtree_transfer::http::proxy::Proxies;
use oxtree_transfer::http::{Network, TlsOptions};
use oxtree_transfer::push::http::{HttpOptions, Token};

use crate::context::Context;
use crate::error::Usage;
use crate::names::Face;

/// The largest file that is looked into for a token, in bytes.
const MAX_TOKEN: u64 = 64 << 10;

/// Options of a push to a web server.
#[derive(Debug, clap::Args)]
pub(crate) struct HttpArgs {
    /// The file with the token for https:// [default: that of --token-command, else $OXTREE_TOKEN]
    #[arg(long, value_name = "FILE", conflicts_with = "token_command")]
    token_file: Option<PathBuf>,
    /// A shell command that prints the token for https://
    #[arg(long, value_name = "COMMAND")]
    token_command: Option<String>,
    /// The only certificates, in PEM, that a server's may be signed with [default: the system's]
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Our certificate for the server, in PEM
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its private key [default: that in the file of --cert]
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Send the token over http:// to other machines, too, where others can read it
    #[arg(long)]
    plain_http: bool,
    /// How often a request to a server is made again when that may help
    #[arg(long, value_name = "N", default_value_t = 8)]
    network_retries: u32,
}

impl HttpArgs {
    /// What they say, and the environment.
    pub(crate) fn options(&self, context: &Context<'_>) -> Result<HttpOptions> {
        let mut network = network(context);
        network.retries = self.network_retries;
        let client = self.cert.as_ref().map(|cert| {
            let key = self.key.as_ref().unwrap_or(cert);
            (cert.clone(), key.clone())
        });
        Ok(HttpOptions {
            network,
            tls: TlsOptions {
                ca: self.cacert.clone(),
                client,
                ..TlsOptions::default()
            },
            token: self.token(context)?,
            plain: self.plain_http,
        })
    }

    /// No error shows what was read.
    fn token(&self, context: &Context<'_>) -> Result<Option<Token>> {
        if let Some(path) = &self.token_file {
            let shown = path.display();
            let mut text = String::new();
            File::open(path)
                .and_then(|file| file.take(MAX_TOKEN).read_to_string(&mut text))
                .with_context(|| format!("reading the token in {shown}"))?;
            let token = Token::new(&text).with_context(|| format!("{shown}"))?;
            return Ok(Some(token));
        }
        if let Some(command) = &self.token_command {
            return said_by(command).map(Some);
        }
        let Some(variable) = context.var("OXTREE_TOKEN") else {
            return Ok(None);
        };
        let token = Token::new(&variable.to_string_lossy());
        let token = token.map_err(|error| Usage(format!("OXTREE_TOKEN: {error}")))?;
        Ok(Some(token))
    }
}

fn said_by(command: &str) -> Result<Token> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("running sh")?;
    if !output.status.success() {
        bail!("--token-command has failed: {}", output.status);
    }
    Token::new(&String::from_utf8_lossy(&output.stdout)).context("--token-command")
}

/// What the environment says, and by which name we were called.
pub(crate) fn network(context: &Context<'_>) -> Network {
    let variable = |name: &str| Some(context.var(name)?.to_str()?.to_owned());
    let mut network = Network {
        proxies: Proxies::of(variable),
        ..Network::default()
    };
    if context.face == Face::Ostree {
        network.user_agent = "libostree/2026.4".to_owned();
    }
    network
}
