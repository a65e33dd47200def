//! AWS Security Token Service, as the platform's principal.

use std::num::NonZeroU32;

use aws_sdk_sts::config::{BehaviorVersion, IdentityCache, Region, SharedCredentialsProvider};
use jiff::Timestamp;
use secrecy::SecretString;

use super::{Connection, PlatformKey, answer, timeouts};
use crate::api::{Answer, Silence};
use crate::secret::{ExternalID, SessionCredentials};

/// One AssumeRole call.
#[derive(Clone, Debug)]
pub struct AssumeRole<'a> {
    /// Whose share of the budget the call is on: a namespace.
    pub tenant: &'a str,
    /// ARN of the role.
    pub role_arn: &'a str,
    /// The External ID to send; a negative probe sends a wrong one or none.
    pub external_id: Option<&'a ExternalID>,
    /// Session name, 2 to 64 characters.
    pub session_name: &'a str,
    /// Life of the session, in seconds.
    pub duration_seconds: i32,
    /// Session policy, JSON of at most 2,048 characters.
    pub policy: &'a str,
}

/// STS in one region, called with the platform's key.
#[derive(Clone, Debug)]
pub struct Sts {
    client: aws_sdk_sts::Client,
}

impl Sts {
    /// STS at the regional endpoint of `region`, or at the connection's endpoint override.
    pub fn new(
        connection: &Connection,
        region: &str,
        key: PlatformKey,
        calls_per_second: NonZeroU32,
    ) -> Self {
        let _ = calls_per_second;
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(connection.http.clone())
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(key))
            .identity_cache(IdentityCache::no_cache())
            .retry_config(aws_smithy_types::retry::RetryConfig::disabled())
            .timeout_config(timeouts());
        if let Some(url) = connection.endpoint_url() {
            config = config.endpoint_url(url);
        }
        Sts { client: aws_sdk_sts::Client::from_conf(config.build()) }
    }

    /// Calls AssumeRole.
    pub async fn assume_role(&self, call: AssumeRole<'_>) -> Answer<SessionCredentials> {
        let result = self
            .client
            .assume_role()
            .role_arn(call.role_arn)
            .role_session_name(call.session_name)
            .duration_seconds(call.duration_seconds)
            .policy(call.policy)
            .set_external_id(call.external_id.map(|id| id.expose().to_owned()))
            .send()
            .await;
        let granted = match answer(result) {
            Answer::Granted(output) => output.credentials,
            Answer::Refused(refusal) => return Answer::Refused(refusal),
            Answer::Silent(silence) => return Answer::Silent(silence),
        };
        let session = granted.and_then(|credentials| {
            Some(SessionCredentials {
                expiration: Timestamp::from_second(credentials.expiration.secs()).ok()?,
                access_key_id: credentials.access_key_id,
                secret_access_key: SecretString::from(credentials.secret_access_key),
                session_token: SecretString::from(credentials.session_token),
            })
        });
        session.map_or(Answer::Silent(Silence::Garbled), Answer::Granted)
    }

    /// The ARN of whom the platform's key belongs to.
    pub async fn caller_identity(&self) -> Answer<String> {
        match answer(self.client.get_caller_identity().send().await) {
            Answer::Granted(output) => output.arn.map_or(Answer::Silent(Silence::Garbled), Answer::Granted),
            Answer::Refused(refusal) => Answer::Refused(refusal),
            Answer::Silent(silence) => Answer::Silent(silence),
        }
    }
}
