// SPDX-License-Identifier: MIT OR Apache-2.0
//! The certificate: read from files, and read again when these have changed.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::crypto::ring::{default_provider, sign};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;
use crate::error::{Error, Result};

/// The certificate that is shown now.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    present: RwLock<(Arc<CertifiedKey>, Stamp)>,
}

type Stamp = [Option<SystemTime>; 2];

impl Certificate {
    pub(crate) fn load(files: TlsFiles) -> Result<Arc<Self>> {
        let stamp = stamp(&files);
        let key = read(&files)?;
        Ok(Arc::new(Self {
            files,
            present: RwLock::new((Arc::new(key), stamp)),
        }))
    }

    /// Reads the files again if they have changed, or in any case. One that is of no use changes
    /// nothing: the key may still be on its way.
    pub(crate) fn reload(&self, in_any_case: bool) {
        let now = stamp(&self.files);
        let before = self
            .present
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .1;
        if now == before && !in_any_case {
            return;
        }
        match read(&self.files) {
            Ok(key) => {
                tracing::info!("the certificate was read again");
                let mut present = self.present.write().unwrap_or_else(PoisonError::into_inner);
                *present = (Arc::new(key), now);
            }
            Err(error) => tracing::error!("the old certificate is still shown: {error}"),
        }
    }

    /// Takes connections with it, by HTTP/2 or HTTP/1.1.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.files.wrong(error))?;
        let builder = match &self.files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(clients(path)?),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&present.0))
    }
}

impl TlsFiles {
    fn wrong(&self, error: impl std::fmt::Display) -> Error {
        Error::Tls {
            certificates: self.certificates.clone(),
            key: self.key.clone(),
            reason: error.to_string(),
        }
    }
}

/// Lets those in who have a certificate that one of these has signed.
fn clients(path: &Path) -> Result<Arc<dyn ClientCertVerifier>> {
    let wrong = |reason: String| Error::ClientCa {
        path: path.to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| wrong(error.to_string()))?;
    }
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().map_err(|error| wrong(error.to_string()))
}

fn stamp(files: &TlsFiles) -> Stamp {
    let modified = |path: &Path| std::fs::metadata(path).ok()?.modified().ok();
    [modified(&files.certificates), modified(&files.key)]
}

fn read(files: &TlsFiles) -> Result<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(&files.certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| files.wrong(error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| files.wrong(error))?;
    let key = sign::any_supported_type(&key).map_err(|error| files.wrong(error))?;
    if chain.is_empty() {
        return Err(files.wrong("there is no certificate in the first"));
    }
    let certified = CertifiedKey::new(chain, key);
    // A certificate without this extension may be valid.
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(error) => Err(files.wrong(error)),
    }
}
