// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that are believed because somebody has named their certificate, or that of who has signed it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::client::{TlsOptions, client_pem, not_ours, read, unusable};
use crate::error::Result;

/// TLS in which the certificates of this file are believed, and no others.
pub(super) fn only(ca: &Path, tls: &TlsOptions) -> Result<ClientConfig> {
    let wrong = |error: &dyn std::fmt::Display| unusable(format!("{}: {error}", ca.display()));
    let pem = read(ca)?;
    let named: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let named = named.map_err(|error| wrong(&error))?;
    let mut roots = RootCertStore::empty();
    let (believed, _) = roots.add_parsable_certificates(named.iter().cloned());
    if believed == 0 {
        return Err(wrong(&"there is no certificate in it"));
    }
    let provider = Arc::new(default_provider());
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let usual = usual.build().map_err(|error| wrong(&error))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Named { usual, named }));
    let mut config = match &tls.client {
        None => config.with_no_client_auth(),
        Some(files) => {
            let wrong = |error: &dyn std::fmt::Display| not_ours(files, error);
            let pem = client_pem(files)?;
            let chain: std::result::Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(&pem).collect();
            let chain = chain.map_err(|error| wrong(&error))?;
            let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| wrong(&error))?;
            let config = config.with_client_auth_cert(chain, key);
            config.map_err(|error| wrong(&error))?
        }
    };
    let protocols: &[&[u8]] = match tls.http1_only {
        true => &[b"http/1.1"],
        false => &[b"h2", b"http/1.1"],
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// Believes what has a signature of one of those that are named, and also these themselves: the certificate
/// that `openssl req -x509` makes for a server is its own authority, and rustls takes none for a server.
#[derive(Debug)]
struct Named {
    usual: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let usual = self
            .usual
            .verify_server_cert(shown, between, server, ocsp, now);
        match usual {
            // Its time was looked at before that.
            Err(error) if is_authority(&error) && self.named.iter().any(|one| one == shown) => {
                verify_server_name(&ParsedCertificate::try_from(shown)?, server)?;
                Ok(ServerCertVerified::assertion())
            }
            usual => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether all that is wrong with a server's certificate is that it is an authority's.
fn is_authority(error: &rustls::Error) -> bool {
    use rustls::{CertificateError, Error};
    matches!(error, Error::InvalidCertificate(CertificateError::Other(why))
        if format!("{why:?}").contains("CaUsedAsEndEntity"))
}
