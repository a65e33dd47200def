//! External IDs, read from their Secrets by name.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::error::{CallError, Result};
use super::names;
use crate::api::{EXTERNAL_ID_SECRET_TYPE, ExternalIDSecretRef};
use crate::domain::verdict::SecretObservation;
use crate::secret::{ExternalID, MalformedExternalID};

/// Reads the Secret of a reference; the caller decides whether the External ID is known. A Secret of another type is
/// dropped unread: otherwise anyone who may create a destination could send any Secret of the namespace to a role of their
/// own. A refusal by the API server is an observation, because it can be permanent and about this Secret alone.
pub async fn external_id(
    client: &Client,
    namespace: &str,
    reference: &ExternalIDSecretRef,
) -> Result<(SecretObservation, Option<ExternalID>)> {
    let not_a_name = |error| CallError::on("get", "secret", namespace, &reference.name, error);
    names::check(namespace, &reference.name).map_err(not_a_name)?;
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut secret = match api.get_opt(&reference.name).await {
        Ok(Some(secret)) => secret,
        Ok(None) => return Ok((SecretObservation::NotFound, None)),
        Err(kube::Error::Api(refusal)) => return Ok((SecretObservation::Unreadable(refusal.code), None)),
        Err(error) => return Err(CallError::on("get", "secret", namespace, &reference.name, error)),
    };
    if secret.type_.as_deref() != Some(EXTERNAL_ID_SECRET_TYPE) {
        return Ok((SecretObservation::TypeMismatch, None));
    }
    let Some(value) = secret.data.take().unwrap_or_default().remove(&reference.key) else {
        return Ok((SecretObservation::KeyMissing, None));
    };
    let parsed = match std::str::from_utf8(&value.0) {
        Ok(text) => ExternalID::parse(text),
        Err(_) => Err(MalformedExternalID::Character),
    };
    Ok(match parsed {
        Ok(id) => {
            let version = secret.metadata.resource_version.unwrap_or_default();
            (SecretObservation::Resolved { version, known: false }, Some(id))
        }
        Err(rule) => (SecretObservation::Malformed(rule), None),
    })
}
