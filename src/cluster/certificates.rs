//! Certificates in Secrets, read and written by name, and the CA by which the API server trusts the
//! webhook.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

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

    /// Looks one up.
    pub async fn get(client: &Client, namespace: &str, name: &str) -> kube::Result<Option<Self>> {
        let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await?;
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

    /// Creates it, or replaces what was read. A Secret that somebody else has created or changed
    /// meanwhile is a conflict: two controllers must never overwrite each other's CA.
    pub async fn write(self, client: &Client) -> kube::Result<()> {
        let api =
            Api::<Secret>::namespaced(client.clone(), &self.metadata.namespace.clone().unwrap_or_default());
        let bytes = |value: SecretString| ByteString(value.expose_secret().as_bytes().to_vec());
        let secret = Secret {
            data: Some(self.data.into_iter().map(|(key, value)| (key, bytes(value))).collect()),
            metadata: self.metadata,
            type_: self.kind,
            ..Default::default()
        };
        match secret.metadata.resource_version {
            None => api.create(&PostParams::default(), &secret).await?,
            Some(_) => api.replace(&secret.name_any(), &PostParams::default(), &secret).await?,
        };
        Ok(())
    }
}

/// Tells the API server by which CA certificates to trust the webhooks of a configuration. Writes
/// only what differs, and says whether anything did.
pub async fn publish_authorities(client: &Client, configuration: &str, bundle: &str) -> kube::Result<bool> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let found = api.get(configuration).await?;
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let webhooks = found.webhooks.iter().flatten().enumerate();
    let stale = webhooks.filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
    // Indices hold for the version that was read, and for no other.
    let version = found.metadata.resource_version.as_ref();
    let mut patch = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
    patch.extend(stale.map(|(index, _)| {
        json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": bundle})
    }));
    if patch.len() == 1 {
        return Ok(false);
    }
    let patch = serde_json::from_value(patch.into()).expect("these are JSON Patch operations");
    api.patch(configuration, &PatchParams::default(), &Patch::<()>::Json(patch)).await?;
    Ok(true)
}

fn text(value: ByteString) -> Option<SecretString> {
    String::from_utf8(value.0).ok().map(SecretString::from)
}
