//! A directory with a certificate, as a mounted Secret of type `kubernetes.io/tls` lays it out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{Error as MalformedPem, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto::aws_lc_rs};

/// `tls.crt`, `tls.key` and `ca.crt` in one directory, each PEM.
#[derive(Clone, Debug)]
pub struct TlsDirectory(PathBuf);

/// The files are there, but no TLS can be served with them.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCertificate {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not PEM, or lacks the section it should hold.
    #[error("{path} is not the PEM it should be: {source}")]
    Malformed {
        /// The file.
        path: String,
        /// Why.
        source: MalformedPem,
    },
    /// The key is not the certificate's; for a moment so while both are being replaced.
    #[error("tls.key and tls.crt do not serve together: {0}")]
    Mismatched(#[from] rustls::Error),
}

impl TlsDirectory {
    /// Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        TlsDirectory(path.into())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The CA certificates by which clients are to trust the certificate, PEM, as they are now.
    pub async fn authorities(&self) -> Result<String, UnusableCertificate> {
        let pem = self.read("ca.crt").await?;
        let wrong = |source| UnusableCertificate::Malformed { path: self.named("ca.crt"), source };
        CertificateDer::from_pem_slice(&pem).map_err(wrong)?;
        Ok(String::from_utf8_lossy(&pem).into_owned())
    }

    /// The text of `tls.crt`: a new one means a new certificate, and nearly always a new key.
    pub(super) async fn certificate(&self) -> Result<Vec<u8>, UnusableCertificate> {
        self.read("tls.crt").await
    }

    /// TLS 1.2 and 1.3 with that text of `tls.crt`, and with `tls.key` as it is now.
    pub(super) async fn server_config(
        &self,
        certificate: &[u8],
    ) -> Result<Arc<ServerConfig>, UnusableCertificate> {
        let malformed =
            |file| move |source| UnusableCertificate::Malformed { path: self.named(file), source };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(malformed("tls.crt"))?;
        let key =
            PrivateKeyDer::from_pem_slice(&self.read("tls.key").await?).map_err(malformed("tls.key"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    async fn read(&self, file: &str) -> Result<Vec<u8>, UnusableCertificate> {
        let unreadable = |source| UnusableCertificate::Unreadable { path: self.named(file), source };
        tokio::fs::read(self.0.join(file)).await.map_err(unreadable)
    }

    fn named(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }
}
