//! The platform's credentials: an access key, mounted from its Secret, or those of the pod's role.

use std::io;
use std::path::{Path, PathBuf};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::connection::Connection;
use super::workload_identity::{NoRole, WorkloadIdentity};
use crate::secret::AccessKey;

/// Where the platform's credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::Display)]
#[strum(serialize_all = "camelCase")]
pub enum CredentialsSource {
    /// The access key of an IAM user.
    Secret,
    /// The role that EKS gives the pod.
    WorkloadIdentity,
}

impl CredentialsSource {
    /// The credentials; of a key in `directory`, where it is one.
    pub fn provider(
        self,
        connection: &Connection,
        region: &str,
        directory: &Path,
    ) -> Result<SharedCredentialsProvider, NoRole> {
        Ok(match self {
            CredentialsSource::Secret => SharedCredentialsProvider::new(PlatformKey::in_directory(directory)),
            CredentialsSource::WorkloadIdentity => {
                SharedCredentialsProvider::new(WorkloadIdentity::of_this_pod(connection, region)?)
            }
        })
    }
}

/// Reads the platform's access key from a directory for every call: the kubelet replaces the files when the Secret
/// changes, and the next call signs with the new key.
#[derive(Clone, Debug)]
pub struct PlatformKey {
    directory: PathBuf,
}

impl PlatformKey {
    /// The key in `directory`, in the files `accessKeyID` and `secretAccessKey`.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        PlatformKey { directory: directory.into() }
    }

    /// Reads the key. Surrounding white space is trimmed: keys have none, and `echo` adds a newline.
    pub fn read(&self) -> io::Result<AccessKey> {
        let file = |name| std::fs::read_to_string(self.directory.join(name)).map(SecretString::from);
        let (id, secret) = (file("accessKeyID")?, file("secretAccessKey")?);
        Ok(AccessKey {
            id: id.expose_secret().trim().to_owned(),
            secret: SecretString::from(secret.expose_secret().trim()),
        })
    }
}

impl ProvideCredentials for PlatformKey {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(match self.read() {
            Ok(key) => Ok(Credentials::new(key.id, key.secret.expose_secret(), None, None, "platform key")),
            Err(error) => Err(CredentialsError::not_loaded(error)),
        })
    }
}
