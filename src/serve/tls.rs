//! A directory with a certificate, in the layout of a mounted Secret of type `kubernetes.io/tls`.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustls::pki_types::pem::{Error as MalformedPem, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::sync::watch;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// How often the files are read. The kubelet takes about a minute to update them.
pub(super) const POLL: Duration = Duration::from_secs(2);

/// `tls.crt`, `tls.key` and `ca.crt` in one directory, each PEM.
#[derive(Clone, Debug)]
pub struct TlsDirectory {
    path: PathBuf,
    /// When the served certificate expires, in seconds since 1970.
    expiry: Gauge,
}

/// The files are there, but no TLS can be served with them.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCertificate {
    #[error("{path}: {source}")]
    Unreadable { path: String, source: io::Error },
    /// A file is not PEM, or lacks the section it should hold.
    #[error("{path} is not the PEM it should be: {source}")]
    Malformed { path: String, source: MalformedPem },
    /// The key does not match the certificate, as for a moment while both are replaced.
    #[error("tls.key and tls.crt do not serve together: {0}")]
    Mismatched(#[from] rustls::Error),
}

impl TlsDirectory {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        TlsDirectory { path: path.into(), expiry: Gauge::default() }
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "recording_operator_certificate_expiry_timestamp",
            "When the certificate that webhook or broker serve with expires, since 1970; 0 before there is one",
            Unit::Seconds,
            self.expiry.clone(),
        );
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The CA certificates by which clients trust the certificate, PEM, as they are now.
    pub async fn authorities(&self) -> Result<String, UnusableCertificate> {
        let pem = self.read("ca.crt").await?;
        let wrong = |source| UnusableCertificate::Malformed { path: self.named("ca.crt"), source };
        CertificateDer::from_pem_slice(&pem).map_err(wrong)?;
        Ok(String::from_utf8_lossy(&pem).into_owned())
    }

    /// The same, updated for as long as the future is polled; empty until there are some.
    pub fn follow_authorities(
        &self,
    ) -> (watch::Receiver<String>, impl Future<Output = Infallible> + Send + use<>) {
        let (sender, authorities) = watch::channel(String::new());
        let directory = self.clone();
        let follow = async move {
            loop {
                // While it cannot be read, as when it is being replaced, the previous value stays.
                if let Ok(read) = directory.authorities().await {
                    sender.send_if_modified(|held| {
                        let changed = *held != read;
                        *held = read;
                        changed
                    });
                }
                tokio::time::sleep(POLL).await;
            }
        };
        (authorities, follow)
    }

    /// The text of `tls.crt`, which changes with the certificate, and nearly always with the key.
    pub(super) async fn certificate(&self) -> Result<Vec<u8>, UnusableCertificate> {
        self.read("tls.crt").await
    }

    /// TLS 1.2 and 1.3 with that text of `tls.crt` and the present `tls.key`.
    pub(super) async fn server_config(
        &self,
        certificate: &[u8],
    ) -> Result<Arc<ServerConfig>, UnusableCertificate> {
        let malformed =
            |file| move |source| UnusableCertificate::Malformed { path: self.named(file), source };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(malformed("tls.crt"))?;
        let end =
            chain.first().and_then(|leaf| Some(X509Certificate::from_der(leaf).ok()?.1.validity().not_after));
        let key =
            PrivateKeyDer::from_pem_slice(&self.read("tls.key").await?).map_err(malformed("tls.key"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        self.expiry.set(end.map_or(0, |end| end.timestamp()));
        Ok(Arc::new(config))
    }

    async fn read(&self, file: &str) -> Result<Vec<u8>, UnusableCertificate> {
        let unreadable = |source| UnusableCertificate::Unreadable { path: self.named(file), source };
        tokio::fs::read(self.path.join(file)).await.map_err(unreadable)
    }

    fn named(&self, file: &str) -> String {
        self.path.join(file).display().to_string()
    }
}
