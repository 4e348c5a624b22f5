//! Who is trusted, and which certificate this host shows.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use ipvland_store::{Error, Result};
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{address::Address, settings::Settings};

/// The files for TLS. They are read again when they change, so that certificates may be renewed while the daemon runs.
#[derive(Debug)]
pub(crate) struct Tls {
    ca_file: Option<PathBuf>,
    /// The client certificate and its key.
    identity: Option<(PathBuf, PathBuf)>,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    stamps: Vec<Option<SystemTime>>,
    /// For the server, and for a proxy before it, which is not shown who we are.
    server: Arc<ClientConfig>,
    proxy: Arc<ClientConfig>,
}

impl Tls {
    /// Gathers the files from the settings, and reads them once.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when a part is missing, can't be read or is something else.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let identity = match (&settings.client_cert, &settings.client_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            // One file may hold both.
            (Some(cert), None) => Some((cert.clone(), cert.clone())),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(Error::refused(
                    "store.git has client_key and no client_cert: set store.git.client_cert",
                ));
            }
        };
        let tls = Self { ca_file: settings.ca_file.clone(), identity, made: Mutex::default() };
        if let Some(file) = &tls.ca_file {
            certificates("ca_file", file)?;
        }
        if tls.identity.is_some() {
            tls.make()?;
        }
        Ok(tls)
    }

    /// Tells whether this host shows a certificate.
    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns what a connection is made with: to the server, or to a proxy before it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn config(&self, is_server: bool) -> Result<Arc<ClientConfig>> {
        let stamps = self.stamps();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match made.take() {
            Some(found) if found.stamps == stamps => found,
            _ => {
                let (server, proxy) = self.make()?;
                Made { stamps, server, proxy }
            }
        };
        let config = Arc::clone(if is_server { &found.server } else { &found.proxy });
        *made = Some(found);
        Ok(config)
    }

    /// Reads when each file was last written.
    fn stamps(&self) -> Vec<Option<SystemTime>> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        let files = self.ca_file.iter().chain(identity);
        files.map(|file| fs::metadata(file).and_then(|found| found.modified()).ok()).collect()
    }

    fn make(&self) -> Result<(Arc<ClientConfig>, Arc<ClientConfig>)> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &self.ca_file {
            roots.add_parsable_certificates(certificates("ca_file", file)?);
        }
        let roots = Arc::new(roots);
        let builder = || {
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map(|builder| builder.with_root_certificates(Arc::clone(&roots)))
                .map_err(|why| Error::refused(format!("TLS can't be set up: {why}")))
        };
        let proxy = Arc::new(builder()?.with_no_client_auth());
        let server = match &self.identity {
            None => Arc::new(builder()?.with_no_client_auth()),
            Some((cert, key)) => {
                let chain = certificates("client_cert", cert)?;
                let config = builder()?.with_client_auth_cert(chain, private_key(key)?).map_err(|why| {
                    Error::refused(format!(
                        "store.git.client_cert {} can't be used with the key {} ({why}): give the two that belong \
                         together",
                        cert.display(),
                        key.display()
                    ))
                })?;
                Arc::new(config)
            }
        };
        Ok((server, proxy))
    }
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>> {
    fs::read(file)
        .map_err(|why| Error::refused(format!("store.git.{key} {} can't be read: {why}", file.display())))
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(key, file)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::refused(format!(
            "store.git.{key} {} holds no certificate that can be read: give a PEM file",
            file.display()
        ))),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>> {
    let pem = read("client_key", file)?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&pem)
        && !holds(&pem, "Proc-Type: 4,ENCRYPTED")
    {
        return Ok(key);
    }
    let file = file.display();
    Err(Error::refused(if holds(&pem, "ENCRYPTED") {
        format!(
            "store.git.client_key {file} has a passphrase: write it without one, for this user alone to read (openssl pkey \
             -in {file} -out NEW)"
        )
    } else {
        format!("store.git.client_key {file} holds no private key that can be read: give a PEM file")
    }))
}

fn holds(pem: &[u8], words: &str) -> bool {
    pem.windows(words.len()).any(|part| part == words.as_bytes())
}

/// Says what is wrong with the other side's certificate, or with ours. `None` where it's something else.
pub(super) fn explain(address: &Address, why: &io::Error) -> Option<Error> {
    let why = why.get_ref()?.downcast_ref::<rustls::Error>()?;
    let (host, shown) = (address.host(), &address.shown);
    Some(match why {
        rustls::Error::InvalidCertificate(why) => Error::refused(format!(
            "the certificate of {host} for {shown} is not trusted ({}): check the server's name and clock, or set \
             store.git.ca_file to the authority that signed it",
            distrust(why)
        )),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => wants_certificate(address),
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => Error::refused(format!(
            "the git server {host} refused this host's certificate for {shown} ({alert:?}): set store.git.client_cert and \
             store.git.client_key to a pair that it trusts"
        )),
        rustls::Error::InvalidMessage(_) => Error::away(format!(
            "the git server {host} does not speak TLS there: if {shown} is right, look at the server"
        )),
        _ => return None,
    })
}

fn distrust(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "nobody that this host trusts has signed it".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it does not match the server's name".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        other => crate::errors::clean(&other.to_string()),
    }
}

/// Says that the server wants to see a certificate.
pub(super) fn wants_certificate(address: &Address) -> Error {
    Error::refused(format!(
        "the git server {} wants a certificate of this host for {}: set store.git.client_cert and store.git.client_key",
        address.host(),
        address.shown
    ))
}
