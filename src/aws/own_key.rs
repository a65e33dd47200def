//! The credentials of whoever runs a command, as the aws CLI would find them.

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_sts::config::Region;

use super::Connection;

/// Credentials that the default chain of the AWS SDKs found: environment, profile, web identity, container, instance.
#[derive(Clone, Debug)]
pub struct OwnKey(Credentials);

/// The chain found none. What was tried is not said: the SDK's own text can hold what stands in a profile.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, to those of the \
     platform's principal; those of single sign-on or a credential process are exported first: eval \"$(aws configure export-credentials --format env)\""
)]
pub struct NoCredentials;

impl OwnKey {
    /// Looks for credentials, once.
    pub async fn find(connection: &Connection, region: &str) -> Result<Self, NoCredentials> {
        let config = ProviderConfig::without_region().with_http_client(connection.http.clone());
        let chain = DefaultCredentialsChain::builder()
            .configure(config)
            .region(Region::new(region.to_owned()))
            .build()
            .await;
        chain.provide_credentials().await.map(OwnKey).map_err(|_| NoCredentials)
    }
}

impl ProvideCredentials for OwnKey {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Ok(self.0.clone()))
    }
}
