//! AWS Security Token Service, called with the platform's key.

use std::num::NonZeroU32;
use std::sync::Arc;

use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_sts::config::{BehaviorVersion, IdentityCache, Region, SharedCredentialsProvider};
use aws_sdk_sts::types::Credentials;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::{answer, repeat_if_cut_off};
use super::assume_role::AssumeRole;
use super::calls::Calls;
use super::connection::{Connection, timeouts};
use super::rate_limiter::RateLimiter;
use super::size::BoundedAnswers;
use crate::api::{Answer, Silence};
use crate::secret::SessionCredentials;

/// STS in one region, called with the platform's key.
#[derive(Clone, Debug)]
pub struct Sts {
    client: aws_sdk_sts::Client,
    calls: Calls,
    rate_limiter: RateLimiter,
    caller_identity: Arc<Mutex<Option<CallerIdentity>>>,
}

/// The last answer to GetCallerIdentity.
#[derive(Debug)]
struct CallerIdentity {
    asked: Instant,
    answer: Answer<String>,
}

impl Sts {
    /// STS at the regional endpoint of `region`, or at the connection's endpoint override. At most `calls_per_second` calls
    /// are made, and no tenant's calls wait for those of another.
    pub fn new(
        connection: &Connection,
        region: &str,
        key: impl ProvideCredentials + 'static,
        calls_per_second: NonZeroU32,
    ) -> Self {
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(connection.http.clone())
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(key))
            .identity_cache(IdentityCache::no_cache())
            .retry_config(aws_smithy_types::retry::RetryConfig::disabled())
            .timeout_config(timeouts())
            .time_source(connection.clock.clone())
            .interceptor(connection.clock.clone())
            // The SDK's own correction would be added to ours.
            .disable_clock_skew_correction(true)
            .interceptor(BoundedAnswers)
            .interceptor(connection.calls.clone());
        if let Some(endpoint) = connection.endpoint() {
            config = config.endpoint_url(&endpoint.url);
        }
        Sts {
            client: aws_sdk_sts::Client::from_conf(config.build()),
            calls: connection.calls.clone(),
            rate_limiter: RateLimiter::new(calls_per_second),
            caller_identity: Arc::default(),
        }
    }

    /// Calls AssumeRole, within the rate and the tenant's limit.
    pub async fn assume_role(&self, call: AssumeRole<'_>) -> Answer<SessionCredentials> {
        let ask = || async {
            let _permit = self.rate_limiter.acquire(call.tenant).await;
            self.client
                .assume_role()
                .role_arn(call.role_arn)
                .role_session_name(&call.session_name)
                .duration_seconds(call.duration_seconds)
                .policy(&*call.policy)
                .set_external_id(call.external_id.map(|id| id.expose().to_owned()))
                .send()
                .await
        };
        let answer = match answer(repeat_if_cut_off(ask).await) {
            Answer::Granted(output) => {
                session(output.credentials).map_or(Answer::Silent(Silence::Garbled), Answer::Granted)
            }
            Answer::Refused(refusal) => Answer::Refused(refusal),
            Answer::Silent(silence) => Answer::Silent(silence),
        };
        self.calls.count("AssumeRole", answer)
    }

    /// The ARN of the principal of the platform's key. Concurrent callers share one call.
    pub async fn caller_identity(&self) -> Answer<String> {
        let asked = Instant::now();
        let mut last = self.caller_identity.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.asked >= asked) {
            return last.answer.clone();
        }
        let _permit = self.rate_limiter.acquire("").await;
        let asked = Instant::now();
        let answer = match answer(self.client.get_caller_identity().send().await) {
            Answer::Granted(output) => output.arn.map_or(Answer::Silent(Silence::Garbled), Answer::Granted),
            Answer::Refused(refusal) => Answer::Refused(refusal),
            Answer::Silent(silence) => Answer::Silent(silence),
        };
        *last = Some(CallerIdentity { asked, answer: answer.clone() });
        self.calls.count("GetCallerIdentity", answer)
    }
}

fn session(credentials: Option<Credentials>) -> Option<SessionCredentials> {
    let credentials = credentials?;
    Some(SessionCredentials {
        expiration: Timestamp::from_second(credentials.expiration.secs()).ok()?,
        access_key_id: credentials.access_key_id,
        secret_access_key: SecretString::from(credentials.secret_access_key),
        session_token: SecretString::from(credentials.session_token),
    })
}
