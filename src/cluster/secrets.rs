//! External IDs, read from their Secrets by name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource as _};
use secrecy::{ExposeSecret as _, ExposeSecretMut as _, SecretSlice, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::error::{CallError, Result};
use super::lenient::or_none;
use super::names;
use crate::api::{EXTERNAL_ID_SECRET_TYPE, ExternalIDSecretRef};
use crate::domain::verdict::{LARGEST_SECRET, SecretObservation};
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
        Ok(Some(body)) => body,
        Ok(None) => return Ok((SecretObservation::TooLarge, None)),
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
        let keys = data.as_object().map(|data| data.keys().cloned().collect()).unwrap_or_default();
        return Ok((SecretObservation::KeyMissing(keys), None));
    };
    Ok(match parse(value) {
        Ok(id) => {
            let version = metadata.resource_version.unwrap_or_default();
            (SecretObservation::Resolved { version, known: false }, Some(id))
        }
        Err(rule) => (SecretObservation::Malformed(rule), None),
    })
}

/// The Secret; `None` where it is too large.
async fn get(client: &Client, namespace: &str, name: &str) -> kube::Result<Option<Body>> {
    let request = Request::new(Secret::url_path(&(), Some(namespace)));
    let request = request.get(name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
    let mut answer = std::pin::pin!(client.request_stream(request).await?.take(LARGEST_SECRET + 1));
    // A buffer that grew would leave copies of the Secret behind.
    let mut bytes = SecretSlice::from(vec![0; LARGEST_SECRET as usize + 1]);
    let mut read = 0;
    loop {
        match answer.read(&mut bytes.expose_secret_mut()[read..]).await.map_err(kube::Error::ReadEvents)? {
            0 => break,
            more => read += more,
        }
    }
    if read as u64 > LARGEST_SECRET {
        return Ok(None);
    }
    serde_json::from_slice(&bytes.expose_secret()[..read]).map(Some).map_err(kube::Error::SerdeError)
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

    /// One that sends a Secret without end, as a tenant's of 1.4 MiB is to a process that reads hundreds.
    #[tokio::test]
    async fn of_a_large_secret_no_more_is_read_than_of_one_that_is_used() {
        for (filler, expected) in [(60_000, true), (70_000, false)] {
            let sent = Arc::new(Mutex::new(0));
            let count = sent.clone();
            let text = secret(json!({"data": {"filler": "x".repeat(filler)}})).to_string();
            let server = tower::service_fn(move |_: axum::http::Request<Body>| {
                let spaces = if expected { 0 } else { usize::MAX };
                let chunks = std::iter::once(text.clone()).chain((0..spaces).map(|_| " ".repeat(4096)));
                let count = count.clone();
                let chunks = chunks.map(move |chunk| {
                    *count.lock().unwrap() += chunk.len();
                    Ok::<_, Infallible>(chunk)
                });
                let body = axum::body::Body::from_stream(futures::stream::iter(chunks));
                async move { Ok::<_, Infallible>(axum::http::Response::new(body)) }
            });
            let reference = ExternalIDSecretRef { name: "acme".into(), key: "externalID".into() };
            let read = external_id(&Client::new(server, "default"), "tenant-acme", &reference).await;
            let (observation, id) = read.unwrap();
            assert_eq!((id.is_some(), observation == SecretObservation::TooLarge), (expected, !expected));
            assert!(*sent.lock().unwrap() < 80_000, "{sent:?}");
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
            ("a list", text(json!({"data": [ID]})), Some(SecretObservation::KeyMissing(Vec::new()))),
            ("a string", text(json!({"data": ID})), Some(SecretObservation::KeyMissing(Vec::new()))),
            (
                "under another key",
                json!({"type": EXTERNAL_ID_SECRET_TYPE, "data": {"note": "", "id": ID}}).to_string(),
                Some(SecretObservation::KeyMissing(vec!["id".to_owned(), "note".to_owned()])),
            ),
            ("no type", text(json!({"type": [ID]})), Some(SecretObservation::TypeMismatch)),
            ("not JSON", format!("{ID} {cut}"), None),
            ("cut off", cut, None),
            ("long", text(json!({"data": {"externalID": ID.repeat(1_000)}})), Some(malformed())),
            (
                "huge",
                text(json!({"data": {"externalID": ID.repeat(30_000)}})),
                Some(SecretObservation::TooLarge),
            ),
            (
                "huge beside the External ID",
                text(json!({"data": {"other": ID.repeat(3_000)}})),
                Some(SecretObservation::TooLarge),
            ),
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
