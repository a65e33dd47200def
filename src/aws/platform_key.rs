//! The platform's access key, mounted from its Secret.

use std::io;
use std::path::PathBuf;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};
use secrecy::{ExposeSecret as _, SecretString};

use crate::secret::AccessKey;

/// Reads the platform's access key from a directory, afresh for every call: the kubelet replaces
/// the files when the Secret changes, and the next call signs with the new key.
#[derive(Clone, Debug)]
pub struct PlatformKey {
    directory: PathBuf,
}

impl PlatformKey {
    /// The key in `directory`, in the files `accessKeyID` and `secretAccessKey`.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        PlatformKey { directory: directory.into() }
    }

    /// Reads the key. Surrounding white space is dropped: keys have none, `echo` adds some.
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
