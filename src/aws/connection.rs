//! How AWS is reached: the connection pool, its trusted roots, and what every client shares.

use std::time::Duration;

use aws_sdk_s3::config::{Credentials, Region, SharedCredentialsProvider};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret as _;

use super::calls::Calls;
use super::clock::AwsClock;
use super::endpoint::{UnusableCA, usable};
use super::size::BoundedAnswers;
use crate::api::Endpoint;
use crate::domain::delivery::MOST_REQUESTS;
use crate::secret::SessionCredentials;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time from a request without a body to the last byte of the answer, so that one of a byte a second ends as well.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// Connections that are kept for the next request. Of these the one that was used last is taken first: its congestion
/// window is the widest, and the others end when they have been idle for the pool's 90 seconds.
const IDLE_CONNECTIONS: usize = MOST_REQUESTS;

/// How AWS is reached: one connection pool, and the endpoint override.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) http: SharedHttpClient,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) calls: Calls,
    pub(super) clock: AwsClock,
}

impl Connection {
    /// A pool that trusts the compiled-in roots. `endpoint` replaces AWS's own endpoints for every service; where it has CA
    /// certificates of its own, only those are trusted.
    pub fn new(endpoint: Option<Endpoint>) -> Self {
        let own = endpoint.as_ref().and_then(|endpoint| endpoint.ca_bundle.clone());
        let roots = own.map_or_else(root_certificates, |bundle| usable(&bundle).unwrap_or_default());
        Self::with_roots(roots, endpoint)
    }

    /// A pool that trusts these CA certificates, PEM, and no others.
    pub(super) fn trusting(pem: &str) -> Result<Self, UnusableCA> {
        Ok(Self::with_roots(usable(pem)?, None))
    }

    fn with_roots(pem: String, endpoint: Option<Endpoint>) -> Self {
        let roots = TrustStore::empty().with_pem_certificate(pem);
        let tls = TlsContext::builder().with_trust_store(roots).build().expect("the roots are well-formed");
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build_https();
        Connection { http, endpoint, calls: Calls::default(), clock: AwsClock::default() }
    }

    /// The same connection, which counts its calls in these metrics.
    pub fn counted_by(self, calls: Calls) -> Self {
        Connection { calls, ..self }
    }

    pub fn register(&self, registry: &mut Registry) {
        self.calls.register(registry);
    }

    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// An S3 client for one region and one session.
    pub fn s3(&self, region: &str, session: &SessionCredentials) -> aws_sdk_s3::Client {
        let credentials = Credentials::new(
            &session.access_key_id,
            session.secret_access_key.expose_secret(),
            // A long-lived key has no session token.
            Some(session.session_token.expose_secret().to_owned()).filter(|token| !token.is_empty()),
            None,
            "recording-operator",
        );
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
            .http_client(self.http.clone())
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .time_source(self.clock.clone())
            .interceptor(self.clock.clone())
            // The SDK's own correction would be added to ours.
            .disable_clock_skew_correction(true)
            .interceptor(BoundedAnswers)
            .interceptor(self.calls.clone());
        if let Some(endpoint) = &self.endpoint {
            // An endpoint override has no DNS name for each bucket.
            config = config.endpoint_url(&endpoint.url).force_path_style(true);
        }
        aws_sdk_s3::Client::from_conf(config.build())
    }
}

/// How long a call may take. There is no read time-out, for each value of which the SDK keeps a pool of connections.
pub(super) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(LONGEST).build()
}

/// Gives a call to S3 up when it takes longer than one without a body, and so much `work`. The SDK's own time-out would
/// be another configuration for each body, which costs more than the signature.
pub(super) async fn in_time<T, E>(
    work: Duration,
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, SdkError<E, HttpResponse>> {
    match tokio::time::timeout(LONGEST + work, call).await {
        Ok(result) => result,
        Err(late) => Err(SdkError::timeout_error(late)),
    }
}

/// The roots as PEM, the only form that the SDK's client takes.
pub(super) fn root_certificates() -> String {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let body = aws_smithy_types::base64::encode(certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(&body);
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    pem
}
