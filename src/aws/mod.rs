//! The only callers of the AWS SDK. Each call is made once and answered with an [`Answer`]: what
//! to make of it, and whether to try again, is for `domain` to decide.

mod budget;
mod calls;
mod clock;
mod endpoint;
mod examine;
mod found;
mod objects;
mod platform_key;
mod probe;
mod size;
mod sts;
#[cfg(test)]
mod tests;
mod workload_identity;

use std::time::Duration;

use aws_sdk_s3::config::{Credentials, Region, SharedCredentialsProvider};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret as _;

pub use calls::Calls;
pub use endpoint::{EndpointArgs, UnusableCA};
pub use examine::Examiner;
pub use found::{Found, NotFound};
pub use objects::*;
pub use platform_key::{CredentialsSource, PlatformKey};
pub use sts::{AssumeRole, Sts};
pub use workload_identity::{NoRole, WorkloadIdentity};

use crate::api::{Answer, Endpoint, Refusal, Silence};
use crate::secret::SessionCredentials;
use clock::AwsClock;
use size::BoundedAnswers;

/// Time for a connection to AWS to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for the first byte of an answer, after the request was sent.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for the rest of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How AWS is reached: one connection pool, and the endpoint override of the operator's flag.
#[derive(Clone, Debug)]
pub struct Connection {
    http: SharedHttpClient,
    endpoint: Option<Endpoint>,
    calls: Calls,
    clock: AwsClock,
}

impl Connection {
    /// A pool that trusts the compiled-in roots. `endpoint` replaces AWS's own endpoints for every service; it is known
    /// by its own CA certificates where it has some, and nobody else is then.
    pub fn new(endpoint: Option<Endpoint>) -> Self {
        let own = endpoint.as_ref().and_then(|endpoint| endpoint.ca_bundle.clone());
        let roots =
            own.map_or_else(root_certificates, |bundle| endpoint::usable(&bundle).unwrap_or_default());
        Self::with_roots(roots, endpoint)
    }

    /// A pool that trusts these CA certificates, PEM, and no others.
    fn trusting(pem: &str) -> Result<Self, UnusableCA> {
        Ok(Self::with_roots(endpoint::usable(pem)?, None))
    }

    fn with_roots(pem: String, endpoint: Option<Endpoint>) -> Self {
        let roots = TrustStore::empty().with_pem_certificate(pem);
        let tls = TlsContext::builder().with_trust_store(roots).build().expect("the roots are well-formed");
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .build_https();
        Connection { http, endpoint, calls: Calls::default(), clock: AwsClock::default() }
    }

    /// The same, counting with others.
    pub fn counted_by(self, calls: Calls) -> Self {
        Connection { calls, ..self }
    }

    /// Shows in `registry` how many calls are made, how they end, and how long they take.
    pub fn register(&self, registry: &mut Registry) {
        self.calls.register(registry);
    }

    /// The endpoint override, if the operator was given one.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// An S3 client for one region and one session.
    fn s3(&self, region: &str, session: &SessionCredentials) -> aws_sdk_s3::Client {
        let credentials = Credentials::new(
            &session.access_key_id,
            session.secret_access_key.expose_secret(),
            // A key that is nobody's session has none.
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
            .timeout_config(timeouts(Duration::ZERO))
            .time_source(self.clock.clone())
            .interceptor(self.clock.clone())
            // The SDK's own correction would come on top.
            .disable_clock_skew_correction(true)
            .interceptor(BoundedAnswers)
            .interceptor(self.calls.clone());
        if let Some(endpoint) = &self.endpoint {
            // A stand-in has no DNS name for each bucket.
            config = config.endpoint_url(&endpoint.url).force_path_style(true);
        }
        aws_sdk_s3::Client::from_conf(config.build())
    }
}

/// `work` is what a call needs beyond the time of a small one: the SDK counts the sending of a body as waiting.
fn timeouts(work: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT + work)
        // To the last byte: one that comes each second keeps nobody waiting.
        .operation_attempt_timeout(READ_TIMEOUT + work + ANSWER_TIMEOUT)
        .build()
}

/// The roots as PEM, the one form the SDK's client takes.
fn root_certificates() -> String {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let body = aws_smithy_types::base64::encode(certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(&body);
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    pem
}

/// Makes a call that may be made twice, and does so where the connection failed: one that was kept open may have been
/// closed by the other side just then, which answers nothing.
async fn again_if_cut_off<T, E, F>(ask: impl Fn() -> F) -> F::Output
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    match ask().await {
        Err(SdkError::DispatchFailure(failure)) if !failure.is_timeout() && !failure.is_user() => ask().await,
        result => result,
    }
}

/// Reduces an SDK result to what decisions are made of. AWS's own text ends here.
///
/// What has no error code does not come from AWS, whatever its status: a proxy's 403 denies nothing.
fn answer<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> Answer<T>
where
    E: ProvideErrorMetadata,
{
    match bare_answer(result) {
        // In a gateway's fault it is of no matter whose the gateway is.
        Answer::Refused(refusal)
            if refusal.code.is_empty() && !refusal.is_server_fault() && !refusal.is_throttle() =>
        {
            Answer::Silent(Silence::Garbled)
        }
        answer => answer,
    }
}

/// The same for a HEAD, whose answers have a status and no code.
fn bare_answer<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> Answer<T>
where
    E: ProvideErrorMetadata,
{
    let error = match result {
        Ok(value) => return Answer::Granted(value),
        Err(error) => error,
    };
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (&error, status) {
        (SdkError::ServiceError(service), Some(status)) => {
            let header = |name: &str| service.raw().headers().get(name).map(str::to_owned);
            Answer::Refused(Refusal {
                status,
                code: service.err().code().unwrap_or_default().to_owned(),
                denied_action: service.err().message().and_then(denied_action),
                bucket_region: header("x-amz-bucket-region"),
            })
        }
        // An error's body did not come to its end.
        (SdkError::ResponseError(_), Some(status)) if status >= 300 => {
            Answer::Refused(Refusal { status, ..Refusal::default() })
        }
        (SdkError::TimeoutError(_), _) => Answer::Silent(Silence::Timeout),
        (SdkError::DispatchFailure(failure), _) if failure.is_timeout() => Answer::Silent(Silence::Timeout),
        (SdkError::DispatchFailure(failure), _) if failure.is_user() => Answer::Silent(Silence::Unsendable),
        (SdkError::DispatchFailure(_), _) => Answer::Silent(Silence::Connection),
        (SdkError::ConstructionFailure(_), _) => Answer::Silent(Silence::Unsendable),
        _ => Answer::Silent(Silence::Garbled),
    }
}

/// The action in "… is not authorized to perform: s3:PutObject on resource …", the one part of
/// an access-denied text that tells causes apart.
fn denied_action(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("not authorized to perform: ")?;
    let action = rest.split([' ', ',']).next()?;
    let plausible = action.split_once(':').is_some_and(|(service, name)| {
        service.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    plausible.then(|| action.to_owned())
}
