//! Which members are trusted, and what this host shows them.

use std::{fs, path::PathBuf, sync::Arc};

use etcd_client::{Certificate, Identity, TlsOptions};
use ipvland_store::{Error, Result};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{endpoints::Endpoint, settings::Settings};

/// The files for TLS. They are read at each new connection, so that certificates may be renewed while the daemon runs.
#[derive(Debug)]
pub(crate) struct Tls {
    ca_file: Option<PathBuf>,
    /// The client certificate and its key.
    identity: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
}

impl Tls {
    /// Gathers the files from the settings and reads them once; `None` where the members are reached without TLS.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when a part is missing, a file can't be read, or nothing would use it.
    pub(crate) fn new(settings: &Settings, endpoints: &[Endpoint]) -> Result<Option<Self>> {
        let identity = match (&settings.cert_file, &settings.key_file) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Error::refused(
                    "store.etcd has cert_file and no key_file: set store.etcd.key_file",
                ));
            }
            (None, Some(_)) => {
                return Err(Error::refused(
                    "store.etcd has key_file and no cert_file: set store.etcd.cert_file",
                ));
            }
        };
        let tls =
            Self { ca_file: settings.ca_file.clone(), identity, server_name: settings.server_name.clone() };
        if endpoints.iter().all(|endpoint| endpoint.is_tls) {
            tls.options()?;
            return Ok(Some(tls));
        }
        let unused = [
            ("ca_file", tls.ca_file.is_some()),
            ("cert_file", tls.identity.is_some()),
            ("server_name", tls.server_name.is_some()),
        ];
        match unused.into_iter().find(|(_, is_set)| *is_set) {
            None => Ok(None),
            Some((key, _)) => Err(Error::refused(format!(
                "store.etcd has {key}, which http does not use: write https in store.etcd.endpoints, or remove {key}"
            ))),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when one can't be read or holds something else.
    pub(crate) fn options(&self) -> Result<TlsOptions> {
        let mut options = TlsOptions::new();
        options = match &self.ca_file {
            None => options.with_native_roots(),
            Some(file) => options.ca_certificate(Certificate::from_pem(pem("ca_file", file, "CERTIFICATE")?)),
        };
        if let Some((cert, key)) = &self.identity {
            let cert = pem("cert_file", cert, "CERTIFICATE")?;
            options = options.identity(Identity::from_pem(cert, pem("key_file", key, "PRIVATE KEY")?));
        }
        if let Some(name) = &self.server_name {
            options = options.domain_name(name);
        }
        Ok(options)
    }

    /// Makes what [`alert`](crate::alert::alert) connects with, of the same files.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) as [`Self::options`], and where a certificate isn't one.
    pub(crate) fn client_config(&self) -> Result<ClientConfig> {
        let broken = |why: &dyn std::fmt::Display| {
            Error::refused(format!("the certificates of store.etcd can't be used: {why}"))
        };
        let mut roots = RootCertStore::empty();
        let authorities = match &self.ca_file {
            None => rustls_native_certs::load_native_certs().certs,
            Some(file) => certificates(&pem("ca_file", file, "CERTIFICATE")?).map_err(|why| broken(&why))?,
        };
        roots.add_parsable_certificates(authorities);
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| broken(&why))?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain =
                    certificates(&pem("cert_file", cert, "CERTIFICATE")?).map_err(|why| broken(&why))?;
                let key = PrivateKeyDer::from_pem_slice(pem("key_file", key, "PRIVATE KEY")?.as_bytes());
                let key = key.map_err(|why| broken(&why))?;
                builder.with_client_auth_cert(chain, key).map_err(|why| broken(&why))?
            }
        };
        // etcd closes a connection that isn't for HTTP/2.
        config.alpn_protocols.push(b"h2".to_vec());
        Ok(config)
    }

    /// Returns the name that a member's certificate is to be for.
    pub(crate) fn name_of<'a>(&'a self, endpoint: &'a Endpoint) -> &'a str {
        self.server_name.as_deref().unwrap_or(&endpoint.host)
    }

    /// Tells whether this host shows a certificate.
    pub(crate) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }
}

fn certificates(
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, tokio_rustls::rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect()
}

fn pem(key: &str, file: &PathBuf, label: &str) -> Result<String> {
    let text = fs::read_to_string(file).map_err(|error| {
        Error::refused(format!("store.etcd.{key} {} can't be read: {error}", file.display()))
    })?;
    let is_there = text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(label));
    if !is_there {
        return Err(Error::refused(format!(
            "store.etcd.{key} {} holds no {} in the PEM form",
            file.display(),
            label.to_ascii_lowercase()
        )));
    }
    Ok(text)
}
