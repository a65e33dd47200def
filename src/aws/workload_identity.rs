//! The platform's credentials where its principal is a role: by IRSA (IAM roles for service accounts) or by EKS Pod
//! Identity.

use std::time::{Duration, SystemTime};

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::config::Region;
use tokio::sync::Mutex;

use super::connection::Connection;

/// Credentials are renewed this long before they expire.
const MARGIN: Duration = Duration::from_secs(300);

/// Set by IRSA.
const WEB_IDENTITY: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// Set by EKS Pod Identity.
const POD_IDENTITY: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// Credentials of the role that EKS gave the pod, cached until shortly before they expire.
#[derive(Debug)]
pub struct WorkloadIdentity {
    source: SharedCredentialsProvider,
    cached: Mutex<Option<Credentials>>,
}

/// EKS gave the pod no role. The node's role is no substitute, because every pod of the node has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pod has no role of its own, as neither {WEB_IDENTITY} nor {POD_IDENTITY} is set: annotate the ServiceAccount \
     (serviceAccount.annotations) or associate a role with it, then create the pod again"
)]
pub struct NoRole;

impl WorkloadIdentity {
    /// The role that the process's environment names.
    pub fn of_this_pod(connection: &Connection, region: &str) -> Result<Self, NoRole> {
        Self::from_variables(connection, region, |name| std::env::var(name).ok())
    }

    /// The role that these variables name; with Pod Identity the SDK reads the process's own environment too.
    pub(super) fn from_variables(
        connection: &Connection,
        region: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, NoRole> {
        let config = ProviderConfig::without_region()
            .with_http_client(connection.http.clone())
            .with_region(Some(Region::new(region.to_owned())));
        let source = match (variable(WEB_IDENTITY), variable("AWS_ROLE_ARN")) {
            (Some(file), Some(role_arn)) => {
                let session_name = "recording-operator".to_owned();
                let web_identity_token_file = file.into();
                let role = StaticConfiguration { web_identity_token_file, role_arn, session_name };
                let provider = WebIdentityTokenCredentialsProvider::builder().configure(&config);
                SharedCredentialsProvider::new(provider.static_configuration(role).build())
            }
            _ if variable(POD_IDENTITY).is_some() => {
                SharedCredentialsProvider::new(EcsCredentialsProvider::builder().configure(&config).build())
            }
            _ => return Err(NoRole),
        };
        Ok(WorkloadIdentity { source, cached: Mutex::default() })
    }
}

impl ProvideCredentials for WorkloadIdentity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let mut cached = self.cached.lock().await;
            let lasts = |it: &&Credentials| it.expiry().is_some_and(|end| end > SystemTime::now() + MARGIN);
            if let Some(lasting) = cached.as_ref().filter(lasts) {
                return Ok(lasting.clone());
            }
            let fresh = self.source.provide_credentials().await?;
            *cached = Some(fresh.clone());
            Ok(fresh)
        })
    }
}
