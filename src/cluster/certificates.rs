//! Secrets with certificates, and the CA bundle by which the API server trusts the webhook.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::error::{CallError, Result};

/// A Secret of certificates, as it was read or is to be written.
pub struct CertificateSecret {
    /// PEM under each key. Values that are not text are left out.
    pub data: BTreeMap<String, SecretString>,
    /// With the resourceVersion under which it was read.
    metadata: ObjectMeta,
    kind: Option<String>,
}

impl CertificateSecret {
    /// One that does not exist yet, of a type such as `kubernetes.io/tls`.
    pub fn new(namespace: &str, name: &str, kind: &str) -> Self {
        let metadata = ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            labels: Some(
                [("app.kubernetes.io/managed-by".to_owned(), "recording-operator".to_owned())].into(),
            ),
            ..Default::default()
        };
        CertificateSecret { data: BTreeMap::new(), metadata, kind: Some(kind.to_owned()) }
    }

    pub async fn get(client: &Client, namespace: &str, name: &str) -> Result<Option<Self>> {
        let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await;
        let found = found.map_err(|error| CallError::on("get", "secret", namespace, name, error))?;
        Ok(found.map(|secret| CertificateSecret {
            data: secret
                .data
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key, text(value)?)))
                .collect(),
            metadata: secret.metadata,
            kind: secret.type_,
        }))
    }

    /// Creates the Secret, or replaces the version that was read. A Secret that was created or changed meanwhile is a
    /// conflict, so that two controllers never overwrite each other's CA.
    pub async fn write(self, client: &Client) -> Result<()> {
        let namespace = self.metadata.namespace.clone().unwrap_or_default();
        let api = Api::<Secret>::namespaced(client.clone(), &namespace);
        let bytes = |value: SecretString| ByteString(value.expose_secret().as_bytes().to_vec());
        let secret = Secret {
            data: Some(self.data.into_iter().map(|(key, value)| (key, bytes(value))).collect()),
            metadata: self.metadata,
            type_: self.kind,
            ..Default::default()
        };
        let name = secret.name_any();
        let (verb, written) = match secret.metadata.resource_version {
            None => ("create", api.create(&PostParams::default(), &secret).await),
            Some(_) => ("replace", api.replace(&name, &PostParams::default(), &secret).await),
        };
        written.map_err(|error| CallError::on(verb, "secret", &namespace, &name, error))?;
        Ok(())
    }
}

/// Writes the CA bundle into the webhooks of a configuration, where it differs, and returns whether it did anywhere.
pub async fn publish_authorities(client: &Client, configuration: &str, bundle: &str) -> Result<bool> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let failed =
        |verb, error| CallError::cluster_wide(verb, "mutatingwebhookconfiguration", configuration, error);
    let found = api.get(configuration).await.map_err(|error| failed("get", error))?;
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let webhooks = found.webhooks.iter().flatten().enumerate();
    let stale = webhooks.filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
    // Indices are valid only for the version that was read.
    let version = found.metadata.resource_version.as_ref();
    let mut patch = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
    patch.extend(stale.map(|(index, _)| {
        json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": bundle})
    }));
    if patch.len() == 1 {
        return Ok(false);
    }
    let patch = serde_json::from_value(patch.into()).expect("these are JSON Patch operations");
    let patch = Patch::<()>::Json(patch);
    let patched = api.patch(configuration, &PatchParams::default(), &patch).await;
    patched.map_err(|error| failed("patch", error))?;
    Ok(true)
}

fn text(value: ByteString) -> Option<SecretString> {
    String::from_utf8(value.0).ok().map(SecretString::from)
}
