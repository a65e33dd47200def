//! The default credentials of AWS tools, with endpoint and CA certificates, from environment and profile.

use std::path::PathBuf;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_types::service_config::ServiceConfigKey;
use jiff::{SignedDuration, Timestamp};

use super::connection::Connection;
use crate::api::Endpoint;
use crate::secret::SessionCredentials;

/// Names a PEM file of CA certificates that AWS tools trust instead of their own.
const CA_BUNDLE_ENV: &str = "AWS_CA_BUNDLE";
/// When credentials without an expiry are loaded again.
const RELOAD_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// The default credentials, and how S3 and STS are reached with them.
#[derive(Debug)]
pub struct DefaultCredentials {
    connection: Connection,
    sts_endpoint: Option<Endpoint>,
    credentials: Option<SharedCredentialsProvider>,
}

/// Why there are no default credentials.
#[derive(Debug, thiserror::Error)]
pub enum NoDefaultCredentials {
    /// No credentials were found. The SDK's own text is left out, because it can quote a profile.
    #[error(
        "no AWS credentials were found, as any AWS tool finds them (environment, profile, web identity, container, \
         instance): `aws sts get-caller-identity` shows whether there are some; of single sign-on, export them first: \
         eval \"$(aws configure export-credentials --format env)\""
    )]
    Credentials,
    /// The CA bundle cannot be read.
    #[error("{CA_BUNDLE_ENV} names {path}, which cannot be read: {error}", path = path.display())]
    CABundle { path: PathBuf, error: std::io::Error },
    /// The CA bundle holds no certificates.
    #[error("{CA_BUNDLE_ENV} names {path}, which is not a file of certificates in PEM form", path = .0.display())]
    NoCertificates(PathBuf),
}

impl DefaultCredentials {
    /// Loads what environment and profile name. Where credentials come from STS, its endpoint in `region` is called.
    pub async fn load(region: &str) -> Result<Self, NoDefaultCredentials> {
        let plain = match std::env::var_os(CA_BUNDLE_ENV).filter(|path| !path.is_empty()) {
            None => Connection::new(None),
            Some(path) => {
                let path = PathBuf::from(path);
                let pem = match std::fs::read_to_string(&path) {
                    Ok(pem) => pem,
                    Err(error) => return Err(NoDefaultCredentials::CABundle { path, error }),
                };
                Connection::trusting(&pem).map_err(|_| NoDefaultCredentials::NoCertificates(path))?
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
        Ok(DefaultCredentials { connection, sts_endpoint, credentials })
    }

    /// How S3 is reached.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How STS is reached.
    pub fn connection_to_sts(&self) -> Connection {
        Connection { endpoint: self.sts_endpoint.clone(), ..self.connection.clone() }
    }

    /// The credentials as a provider, for a command that ends before they expire.
    pub async fn key(&self) -> Result<impl ProvideCredentials + use<>, NoDefaultCredentials> {
        self.provide().await
    }

    /// The credentials as they are now.
    pub async fn credentials(&self) -> Result<SessionCredentials, NoDefaultCredentials> {
        let found = self.provide().await?;
        let expiration = found.expiry().and_then(|end| Timestamp::try_from(end).ok());
        Ok(SessionCredentials {
            access_key_id: found.access_key_id().to_owned(),
            secret_access_key: found.secret_access_key().into(),
            session_token: found.session_token().unwrap_or_default().into(),
            expiration: expiration.unwrap_or_else(|| Timestamp::now() + RELOAD_AFTER),
        })
    }

    async fn provide(&self) -> Result<Credentials, NoDefaultCredentials> {
        let provider = self.credentials.as_ref().ok_or(NoDefaultCredentials::Credentials)?;
        provider.provide_credentials().await.map_err(|_| NoDefaultCredentials::Credentials)
    }
}

/// The endpoint of one service, else the one for all, as the SDK itself resolves it.
fn endpoint_of(service: &str, config: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = config.service_config().zip(key.ok()).and_then(|(service, key)| service.load_config(key));
    own.or_else(|| config.endpoint_url().map(str::to_owned))
}
