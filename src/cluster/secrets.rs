//! External IDs, read from their Secrets by name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource as _};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::error::{CallError, Result};
use super::lenient::or_none;
use super::names;
use crate::api::{EXTERNAL_ID_SECRET_TYPE, ExternalIDSecretRef};
use crate::domain::verdict::SecretObservation;
use crate::secret::{ExternalID, MalformedExternalID};

/// A Secret, as far as it is read. Its metadata is a tenant's, as is whatever else it holds: none of it can fail to be
/// decoded, because kube logs what cannot be, and an error can quote it.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, rename = "type", deserialize_with = "or_none")]
    kind: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    #[serde(deserialize_with = "or_none")]
    resource_version: Option<String>,
}

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
    let body = match get(client, namespace, &reference.name).await {
        Ok(body) => body,
        Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
            return Ok((SecretObservation::NotFound, None));
        }
        Err(kube::Error::Api(refusal)) => return Ok((SecretObservation::Unreadable(refusal.code), None)),
        Err(error) => return Err(CallError::on("get", "secret", namespace, &reference.name, error)),
    };
    let Body { metadata, kind, mut data } = body;
    if kind.as_deref() != Some(EXTERNAL_ID_SECRET_TYPE) {
        return Ok((SecretObservation::TypeMismatch, None));
    }
    let Some(value) = data.get_mut(&reference.key).map(Value::take) else {
        return Ok((SecretObservation::KeyMissing, None));
    };
    Ok(match parse(value) {
        Ok(id) => {
            let version = metadata.resource_version.unwrap_or_default();
            (SecretObservation::Resolved { version, known: false }, Some(id))
        }
        Err(rule) => (SecretObservation::Malformed(rule), None),
    })
}

async fn get(client: &Client, namespace: &str, name: &str) -> kube::Result<Body> {
    let request = Request::new(Secret::url_path(&(), Some(namespace)));
    let request = request.get(name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
    let text = SecretString::from(client.request_text(request).await?);
    serde_json::from_str(text.expose_secret()).map_err(kube::Error::SerdeError)
}

/// The External ID in a value of `data`.
fn parse(value: Value) -> std::result::Result<ExternalID, MalformedExternalID> {
    let Value::String(encoded) = value else { return Err(MalformedExternalID::Character) };
    let encoded = SecretString::from(encoded);
    let bytes = STANDARD.decode(encoded.expose_secret()).map_err(|_| MalformedExternalID::Character)?;
    let bytes = SecretSlice::from(bytes);
    let text = std::str::from_utf8(bytes.expose_secret()).map_err(|_| MalformedExternalID::Character)?;
    ExternalID::parse(text)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;
    use std::sync::{Arc, Mutex};

    use kube::client::Body;
    use serde_json::json;

    use super::*;

    const ID: &str = "5f0c2f7e-9a41-4a55-8a0e-3f1f6a2d7c19";

    async fn read(answer: Vec<u8>) -> (Result<(SecretObservation, Option<ExternalID>)>, String) {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let logs = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_max_level(tracing::Level::WARN)
            .finish();
        let _logs = tracing::subscriber::set_default(logs);
        let server = tower::service_fn(move |_: axum::http::Request<Body>| {
            let answer = answer.clone();
            async move { Ok::<_, Infallible>(axum::http::Response::new(Body::from(answer))) }
        });
        let reference = ExternalIDSecretRef { name: "acme".into(), key: "externalID".into() };
        let read = external_id(&Client::new(server, "default"), "tenant-acme", &reference).await;
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        (read, lines)
    }

    fn secret(change: Value) -> Value {
        let mut secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": EXTERNAL_ID_SECRET_TYPE,
            "metadata": {"name": "acme", "namespace": "tenant-acme", "resourceVersion": "812"},
            "data": {"externalID": STANDARD.encode(ID)},
        });
        json_patch::merge(&mut secret, &change);
        secret
    }

    #[tokio::test]
    async fn a_secret_is_read_whatever_its_metadata() {
        let managed_fields = json!([{"time": "9999-12-31T23:59:59Z"}]);
        for metadata in [json!({}), json!({"managedFields": managed_fields}), json!({"labels": ["x"]})] {
            let (read, lines) = read(secret(json!({"metadata": metadata})).to_string().into_bytes()).await;
            let (observation, id) = read.unwrap();
            let known = SecretObservation::Resolved { version: "812".into(), known: false };
            assert_eq!((observation, id.is_some(), lines.as_str()), (known, true, ""), "{metadata}");
        }
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_decoded_leaves_nothing_in_the_log() {
        let malformed = || SecretObservation::Malformed(MalformedExternalID::Character);
        let text = |change| secret(change).to_string();
        let cut = text(json!({}))[..200].to_owned();
        for (what, body, expected) in [
            ("not base64", text(json!({"data": {"externalID": format!("!{ID}")}})), Some(malformed())),
            (
                "not a text",
                text(json!({"data": {"externalID": STANDARD.encode([0xff, 0xfe])}})),
                Some(malformed()),
            ),
            ("a number", text(json!({"data": {"externalID": 7}})), Some(malformed())),
            ("a list", text(json!({"data": [ID]})), Some(SecretObservation::KeyMissing)),
            ("a string", text(json!({"data": ID})), Some(SecretObservation::KeyMissing)),
            ("no type", text(json!({"type": [ID]})), Some(SecretObservation::TypeMismatch)),
            ("not JSON", format!("{ID} {cut}"), None),
            ("cut off", cut, None),
            ("huge", text(json!({"data": {"externalID": ID.repeat(30_000)}})), Some(malformed())),
            (
                "a list of Secrets",
                json!([secret(json!({}))]).to_string(),
                Some(SecretObservation::TypeMismatch),
            ),
        ] {
            let (read, lines) = read(body.into_bytes()).await;
            let said = match &read {
                Ok(_) => String::new(),
                Err(error) => format!("{error} {error:?}"),
            };
            assert_eq!(read.ok().map(|(observation, _)| observation), expected, "{what}");
            for secret in [ID, &STANDARD.encode(ID)] {
                assert!(!lines.contains(secret) && !said.contains(secret), "{what}: {lines}{said}");
            }
        }
    }
}
