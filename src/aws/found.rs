//! What every AWS tool finds by itself where it is run: credentials, an endpoint, certificates.

use std::path::PathBuf;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_types::service_config::ServiceConfigKey;
use jiff::{SignedDuration, Timestamp};

use super::connection::Connection;
use crate::api::Endpoint;
use crate::secret::SessionCredentials;

/// Names a file of CA certificates, PEM, that AWS's tools trust instead of their own.
const CA_BUNDLE_ENV: &str = "AWS_CA_BUNDLE";
/// When credentials that say nothing of their end are looked for anew.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// To S3.
    connection: Connection,
    /// Instead of STS's own.
    sts_endpoint: Option<Endpoint>,
    credentials: Option<SharedCredentialsProvider>,
}

/// Nothing to work with was found.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// No credentials. What was tried is not said: the SDK's own text can hold what stands in a profile.
    #[error(
        "no AWS credentials were found, as any AWS tool finds them (environment, profile, web identity, container, \
         instance): `aws sts get-caller-identity` shows whether there are some; of single sign-on, export them first: \
         eval \"$(aws configure export-credentials --format env)\""
    )]
    Credentials,
    /// The CA bundle cannot be read.
    #[error("{CA_BUNDLE_ENV} names {path}, which cannot be read: {error}", path = path.display())]
    CABundle {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// The CA bundle holds no certificates.
    #[error("{CA_BUNDLE_ENV} names {path}, which is not a file of certificates in PEM form", path = .0.display())]
    NoCertificates(PathBuf),
}

impl Found {
    /// Looks around. Where credentials come from STS it is asked in `region`.
    pub async fn look(region: &str) -> Result<Self, NotFound> {
        let plain = match std::env::var_os(CA_BUNDLE_ENV).filter(|path| !path.is_empty()) {
            None => Connection::new(None),
            Some(path) => {
                let path = PathBuf::from(path);
                let pem = match std::fs::read_to_string(&path) {
                    Ok(pem) => pem,
                    Err(error) => return Err(NotFound::CABundle { path, error }),
                };
                Connection::trusting(&pem).map_err(|_| NotFound::NoCertificates(path))?
            }
        };
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(plain.http.clone())
            .region(Region::new(region.to_owned()))
            .load()
            .await;
        let endpoint = |service| endpoint_of(service, &config).map(|url| Endpoint { url, ca_bundle: None });
        let connection = Connection { endpoint: endpoint("S3"), ..plain };
        let (sts_endpoint, credentials) = (endpoint("STS"), config.credentials_provider());
        Ok(Found { connection, sts_endpoint, credentials })
    }

    /// How S3 is reached from here.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How STS is.
    pub fn connection_to_sts(&self) -> Connection {
        Connection { endpoint: self.sts_endpoint.clone(), ..self.connection.clone() }
    }

    /// The credentials as they are now, for a command that is over before they are.
    pub async fn key(&self) -> Result<impl ProvideCredentials + use<>, NotFound> {
        self.look_up().await
    }

    /// The credentials as they are now.
    pub async fn credentials(&self) -> Result<SessionCredentials, NotFound> {
        let found = self.look_up().await?;
        let expiration = found.expiry().and_then(|end| Timestamp::try_from(end).ok());
        Ok(SessionCredentials {
            access_key_id: found.access_key_id().to_owned(),
            secret_access_key: found.secret_access_key().into(),
            session_token: found.session_token().unwrap_or_default().into(),
            expiration: expiration.unwrap_or_else(|| Timestamp::now() + LOOK_AGAIN),
        })
    }

    async fn look_up(&self) -> Result<Credentials, NotFound> {
        let provider = self.credentials.as_ref().ok_or(NotFound::Credentials)?;
        provider.provide_credentials().await.map_err(|_| NotFound::Credentials)
    }
}

/// As the SDK itself does it when a client is made: the endpoint for one service comes before the one for all.
fn endpoint_of(service: &str, config: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = config.service_config().zip(key.ok()).and_then(|(service, key)| service.load_config(key));
    own.or_else(|| config.endpoint_url().map(str::to_owned))
}
