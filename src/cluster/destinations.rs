//! Destinations: read, and their status written.

use futures::{Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::error::{CallError, Result};
use super::lenient::{LenientDestination, namespace_of};
use super::names;
use crate::api::{
    CONTROLLER_FIELD_MANAGER, Loss, REVALIDATE_ANNOTATION, RecordingDestination, RecordingDestinationStatus,
    Uploaders,
};

const KIND: &str = "recordingdestination";
/// Attempts to write a status while others keep changing the destination. The caller tries again later and meanwhile holds up
/// no other destination.
pub const ATTEMPTS: u32 = 5;

/// The destination of that name; `None` when there is none.
pub async fn get(client: &Client, namespace: &str, name: &str) -> kube::Result<Option<RecordingDestination>> {
    names::check(namespace, name)?;
    let api: Api<LenientDestination> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.map(|found| found.0).transpose()?)
}

/// The destinations of one namespace, or of all, that have the labels of the selector. One that cannot be decoded is left out,
/// with a warning.
pub async fn list(
    client: &Client,
    namespace: Option<&str>,
    selector: Option<&str>,
) -> kube::Result<Vec<RecordingDestination>> {
    let params = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default() };
    let found = of_namespace(client, namespace)?.list(&params).await?.items.into_iter();
    let warn = |skipped: &_| tracing::warn!("RecordingDestination {skipped}");
    Ok(found.filter_map(|found| found.0.inspect_err(warn).ok()).collect())
}

/// The same destinations as they are, and each again whenever it changes. It goes on after an error, which the caller may
/// show or take for the end.
pub fn changes(
    client: &Client,
    namespace: Option<&str>,
    selector: Option<&str>,
) -> kube::Result<impl Stream<Item = std::result::Result<Change, watcher::Error>> + use<>> {
    let config =
        watcher::Config { label_selector: selector.map(str::to_owned), ..watcher::Config::default() };
    let events = watcher(of_namespace(client, namespace)?, config).default_backoff();
    Ok(events.filter_map(async |event| match event {
        Ok(watcher::Event::Apply(seen) | watcher::Event::InitApply(seen)) => {
            Some(Ok(Change::Seen(Box::new(seen.0.ok()?))))
        }
        Ok(watcher::Event::Delete(gone)) => Some(Ok(Change::Deleted(gone.0.ok()?.metadata.into()))),
        Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
        Err(error) => Some(Err(error)),
    }))
}

/// A change of a destination.
#[derive(Debug)]
pub enum Change {
    /// It is new, has changed, or is seen once more.
    Seen(Box<RecordingDestination>),
    Deleted(Box<ObjectMeta>),
}

fn of_namespace(client: &Client, namespace: Option<&str>) -> kube::Result<Api<LenientDestination>> {
    match namespace {
        Some(namespace) => {
            names::check(namespace, "any")?;
            Ok(Api::namespaced(client.clone(), namespace))
        }
        None => Ok(Api::all(client.clone())),
    }
}

/// Requests a validation from the controller, by a new value of the annotation.
pub async fn request_validation(
    client: &Client,
    destination: &RecordingDestination,
    value: &str,
) -> kube::Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {REVALIDATE_ANNOTATION: value}}}));
    api(client, destination).patch_metadata(&destination.name_any(), &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until `wanted` accepts the destination; `None` when it is deleted first.
pub async fn wait_until(
    client: &Client,
    destination: &RecordingDestination,
    wanted: impl Fn(&RecordingDestination) -> bool,
) -> std::result::Result<Option<RecordingDestination>, kube::runtime::wait::Error> {
    let uid = destination.metadata.uid.clone();
    let condition = |seen: Option<&LenientDestination>| match seen {
        None => true,
        Some(LenientDestination(Ok(seen))) => seen.metadata.uid != uid || wanted(seen),
        Some(LenientDestination(Err(_))) => false,
    };
    let found = await_condition(api(client, destination), &destination.name_any(), condition).await?;
    Ok(found.and_then(|found| found.0.ok()).filter(|found| found.metadata.uid == uid))
}

/// Whether the API server has a destination of that name.
pub async fn exists(client: &Client, namespace: &str, name: &str) -> Result<bool> {
    let found = async {
        names::check(namespace, name)?;
        Api::<LenientDestination>::namespaced(client.clone(), namespace).get_opt(name).await
    };
    let found = found.await.map_err(|error| CallError::on("get", KIND, namespace, name, error))?;
    // What cannot be decoded counts as absent everywhere.
    Ok(found.is_some_and(|found| found.0.is_ok()))
}

/// The destination as the API server has it now; `None` when it is gone, or another one has its name.
pub async fn fresh(client: &Client, seen: &RecordingDestination) -> Result<Option<RecordingDestination>> {
    let found = get(client, namespace_of(&seen.metadata), &seen.name_any()).await;
    let found = found.map_err(|error| failed("get", seen, error))?;
    Ok(found.filter(|found| found.metadata.uid == seen.metadata.uid))
}

/// Server-side-applies the controller's fields of the status; `None` when the destination is gone. After so many attempts that
/// met a newer version the error is the last one's.
pub async fn apply_status(
    client: &Client,
    destination: &RecordingDestination,
    status: &RecordingDestinationStatus,
    attempts: u32,
) -> Result<Option<RecordingDestination>> {
    let params = PatchParams::apply(CONTROLLER_FIELD_MANAGER).force();
    let name = destination.name_any();
    let mut version = destination.metadata.resource_version.clone();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let patch = json!({
            "apiVersion": <RecordingDestination as kube::Resource>::api_version(&()),
            "kind": <RecordingDestination as kube::Resource>::kind(&()),
            // The API server compares no UID here. Without the version, a destination that was created meanwhile under the
            // same name would get the status of another.
            "metadata": {"name": name, "resourceVersion": version},
            "status": status,
        });
        match api(client, destination).patch_status(&name, &params, &Patch::Apply(patch)).await {
            Ok(written) => {
                return written
                    .0
                    .map(Some)
                    .map_err(|error| failed("patch status of", destination, error.into()));
            }
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => return Ok(None),
            Err(kube::Error::Api(refusal)) if refusal.code == 409 && attempt < attempts => {
                // The destination was edited, but the status is still true of the generation that it names.
                let Some(now) = fresh(client, destination).await? else { return Ok(None) };
                version = now.metadata.resource_version;
            }
            Err(error) => return Err(failed("patch status of", destination, error)),
        }
    }
}

/// Writes the broker's fields of the status; `false` when the destination has changed since, or is gone.
pub async fn write_delivery(
    client: &Client,
    seen: &RecordingDestination,
    uploaders: Option<&Uploaders>,
    last_losses: &[Loss],
    last_upload_time: Option<&Time>,
) -> Result<bool> {
    let known = seen.status.as_ref();
    let mut operations = vec![json!({
        "op": "replace", "path": "/metadata/resourceVersion", "value": seen.metadata.resource_version,
    })];
    let mut set = |field: &str, value: Value, is_there: bool| {
        let path = format!("/status/{field}");
        if !value.is_null() {
            operations.push(json!({"op": "add", "path": path, "value": value}));
        } else if is_there {
            operations.push(json!({"op": "remove", "path": path}));
        }
    };
    set("uploaders", json!(uploaders), known.is_some_and(|status| status.uploaders.is_some()));
    let losses = if last_losses.is_empty() { Value::Null } else { json!(last_losses) };
    set("lastLosses", losses, known.is_some_and(|status| !status.last_losses.is_empty()));
    set("lastUploadTime", json!(last_upload_time), known.is_some_and(|s| s.last_upload_time.is_some()));
    let patch = serde_json::from_value(Value::from(operations)).expect("operations of a JSON Patch");
    let patch = Patch::<()>::Json(patch);
    match api(client, seen).patch_status(&seen.name_any(), &PatchParams::default(), &patch).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => Ok(false),
        Err(error) => Err(failed("patch status of", seen, error)),
    }
}

fn api(client: &Client, destination: &RecordingDestination) -> Api<LenientDestination> {
    Api::namespaced(client.clone(), namespace_of(&destination.metadata))
}

fn failed(verb: &'static str, destination: &RecordingDestination, error: kube::Error) -> CallError {
    CallError::on(verb, KIND, namespace_of(&destination.metadata), &destination.name_any(), error)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use axum::http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn a_status_is_written_despite_some_conflicts_but_not_tried_without_end() {
        for (conflicts, attempts, writes, is_written) in
            [(0, 5, 1, true), (4, 5, 5, true), (1_000, 5, 5, false), (1, 1, 1, false)]
        {
            let seen: Value = json!({
                "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
                "metadata": {"namespace": "tenant-acme", "name": "acme", "uid": "1", "resourceVersion": "7"},
                "spec": {
                    "bucket": "acme-recordings", "region": "us-east-1",
                    "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "acme"},
                },
            });
            let patches = Arc::new(AtomicU32::new(0));
            let (count, found) = (patches.clone(), seen.to_string());
            let server = tower::service_fn(move |request: Request<Body>| {
                let is_refused = request.method() == Method::PATCH && count.fetch_add(1, SeqCst) < conflicts;
                let refusal =
                    json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409});
                let (code, body) = if is_refused { (409, refusal.to_string()) } else { (200, found.clone()) };
                async move {
                    Ok::<_, Infallible>(
                        Response::builder().status(code).body(Body::from(body.into_bytes())).unwrap(),
                    )
                }
            });
            let client = Client::new(server, "default");
            let destination = serde_json::from_value(seen).unwrap();
            let result =
                apply_status(&client, &destination, &RecordingDestinationStatus::default(), attempts).await;
            assert_eq!(patches.load(SeqCst), writes, "{conflicts} conflicts");
            match result {
                Ok(written) => assert!(is_written && written.is_some(), "{conflicts} conflicts"),
                Err(error) => assert!(!is_written && error.is_conflict(), "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn the_broker_writes_its_three_fields_and_no_other() {
        let sent = Arc::new(std::sync::Mutex::new(Value::Null));
        let body = sent.clone();
        let server = tower::service_fn(move |request: Request<Body>| {
            let body = body.clone();
            async move {
                let text = request.into_body().collect().await.unwrap().to_bytes();
                *body.lock().unwrap() = serde_json::from_slice(&text).unwrap();
                let conflict =
                    json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409});
                let answer =
                    Response::builder().status(409).body(Body::from(conflict.to_string().into_bytes()));
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        let client = Client::new(server, "default");
        let time = "2026-01-01T00:00:00Z";
        let loss = json!({
            "pod": "p", "uid": "u", "time": time, "files": 1, "bytes": 2, "spool": "emptyDir", "kind": "Lost",
        });
        let version = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": "7"});
        for (what, before, losses, expected) in [
            ("nothing", json!({}), vec![], json!([version])),
            (
                "the first loss",
                json!({}),
                vec![loss.clone()],
                json!([version, {"op": "add", "path": "/status/lastLosses", "value": [loss]}]),
            ),
            (
                "nothing is left of any",
                json!({"lastLosses": [loss], "uploaders": {"count": 0, "items": []}, "lastUploadTime": time}),
                vec![],
                json!([
                    version,
                    {"op": "remove", "path": "/status/uploaders"},
                    {"op": "remove", "path": "/status/lastLosses"},
                    {"op": "remove", "path": "/status/lastUploadTime"},
                ]),
            ),
        ] {
            let mut seen = json!({
                "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
                "metadata": {"namespace": "tenant-acme", "name": "acme", "resourceVersion": "7"},
                "spec": {
                    "bucket": "acme-recordings", "region": "us-east-1",
                    "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "acme"},
                },
                "status": {"observedGeneration": 1, "conditions": []},
            });
            json_patch::merge(&mut seen["status"], &before);
            let losses: Vec<Loss> =
                losses.into_iter().map(|loss| serde_json::from_value(loss).unwrap()).collect();
            let seen = serde_json::from_value(seen).unwrap();
            assert!(
                !write_delivery(&client, &seen, None, &losses, None).await.unwrap(),
                "{what}: a conflict"
            );
            assert_eq!(*sent.lock().unwrap(), expected, "{what}");
        }
    }
}
