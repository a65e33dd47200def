//! The check of a server that `helm test` runs.

use std::path::Path;
use std::time::Duration;

use http_body_util::Empty;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::client::{connector, with_causes};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A server did not answer as it should.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {why}")]
pub struct NoAnswer {
    url: String,
    why: String,
}

/// Checks a server that is trusted by the CA certificates in the PEM file `ca`. Any answer without a server error passes:
/// a request without a token is refused, which is the right answer.
pub async fn ask(url: &str, ca: &Path) -> Result<StatusCode, NoAnswer> {
    let failed = |why: String| NoAnswer { url: url.to_owned(), why };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| failed(format!("{}: {error}", ca.display())))?;
    roots.add_parsable_certificates(certificates);
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector(roots));
    let asked = client.get(url.parse().map_err(|error| failed(format!("not a URL: {error}")))?);
    let answer = tokio::time::timeout(TIMEOUT, asked).await;
    let answer = answer.map_err(|_| failed(format!("no answer within {} s", TIMEOUT.as_secs())))?;
    match answer.map_err(|error| failed(with_causes(&error)))?.status() {
        status if status.is_server_error() => Err(failed(format!("it answers {status}"))),
        status => Ok(status),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::serve::{Readiness, TlsDirectory, https};

    #[tokio::test]
    async fn a_trusted_server_without_a_fault_answers() {
        let (served, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for directory in [&served, &other] {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(directory.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
            std::fs::write(directory.path().join("tls.crt"), made.cert.pem()).unwrap();
        }
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let app = Router::new()
            .route("/refused", get(async || StatusCode::FORBIDDEN))
            .route("/failed", get(async || StatusCode::SERVICE_UNAVAILABLE));
        let tls = TlsDirectory::new(served.path());
        tokio::spawn(
            async move { https(listen, &tls, app, &Readiness::default(), std::future::pending()).await },
        );
        let url = |path: &str| format!("https://localhost:{}{path}", listen.port());
        let (trusted, untrusted) = (served.path().join("tls.crt"), other.path().join("tls.crt"));

        let refused = loop {
            match ask(&url("/refused"), &trusted).await {
                Err(error) if error.why.contains("Connection refused") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                answered => break answered,
            }
        };
        assert_eq!(refused.unwrap(), StatusCode::FORBIDDEN);
        let failed = ask(&url("/failed"), &trusted).await.unwrap_err().to_string();
        assert!(failed.ends_with("/failed: it answers 503 Service Unavailable"), "{failed}");
        let stranger = ask(&url("/refused"), &untrusted).await.unwrap_err().to_string();
        assert!(stranger.contains("certificate"), "{stranger}");
    }
}
