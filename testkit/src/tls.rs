// SPDX-License-Identifier: MIT OR Apache-2.0
//! Certificates, made by openssl.

use std::fs;
use std::path::PathBuf;

use crate::Tool;

/// Somebody who signs certificates.
#[derive(Debug)]
pub struct Authority {
    dir: tempfile::TempDir,
}

/// A certificate and its private key, in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

const KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let dir = crate::temp_dir();
        // No two have the same name.
        let name = dir.path().file_name().expect("a name");
        let subject = format!("/CN={}", name.display());
        let made = ["req", "-x509", "-nodes", "-days", "30", "-subj", &subject];
        let places = ["-keyout", "ca.key", "-out", "ca.pem"];
        Tool::new("openssl")
            .dir(dir.path())
            .ok([&made[..], &KEY, &places].concat());
        Self { dir }
    }

    /// The certificate that those have to trust who trust what it signs.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for these names, such as `DNS:localhost,IP:127.0.0.1`.
    #[must_use]
    pub fn issue(&self, name: &str, names: &str) -> Certificate {
        self.issue_until(name, names, "2049")
    }

    /// One that was good until the beginning of a year.
    ///
    /// # Panics
    /// When openssl does not make it.
    #[must_use]
    pub fn issue_until(&self, name: &str, names: &str, year: &str) -> Certificate {
        let dir = self.dir.path();
        let at = |ending: &str| format!("{name}.{ending}");
        let [key, request, cert] = ["key", "csr", "pem"].map(at);
        let conf = format!(
            "[ca]\ndefault_ca = here\n[here]\nnew_certs_dir = .\ndatabase = index.txt\n\
             default_md = sha256\npolicy = any\nrand_serial = yes\nunique_subject = no\n\
             x509_extensions = says\n[any]\ncommonName = supplied\n\
             [says]\nsubjectAltName = {names}\nbasicConstraints = critical,CA:FALSE\n"
        );
        fs::write(dir.join("ca.conf"), conf).expect("write");
        fs::write(dir.join("index.txt"), "").expect("write");
        let openssl = Tool::new("openssl").dir(dir);
        let subject = format!("/CN={name}");
        let words = ["req", "-nodes", "-subj", &subject, "-keyout", &key];
        openssl.ok([&words[..], &KEY, &["-out", &request]].concat());
        let until = format!("{year}0101000000Z");
        let signer = ["-cert", "ca.pem", "-keyfile", "ca.key", "-in", &request];
        let words = ["ca", "-batch", "-notext", "-config", "ca.conf"];
        let times = ["-startdate", "20200101000000Z", "-enddate", &until];
        openssl.ok([&words[..], &signer, &times, &["-out", &cert]].concat());
        Certificate {
            cert: dir.join(cert),
            key: dir.join(key),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
