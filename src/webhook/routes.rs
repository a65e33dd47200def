//! `POST /inject`: the AdmissionReview in and out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};

use serde_json::Value;
use tokio::sync::Semaphore;

use super::admit::{AdmissionOutcome, Webhook};
use super::destinations::Destinations;
use super::review_buffer::{BufferLimit, Unread};
use super::unambiguous::Unambiguous;

/// Memory, in KiB, for reviews that are being decoded; the container may use 256 MiB.
const DECODING_KIB: usize = 96 * 1024;
/// How many times its own size a review may take when decoded, as a list of many small values does.
const DECODED_PER_BYTE: usize = 32;

/// The webhook's routes.
pub(super) fn router<D: Destinations>(webhook: Arc<Webhook<D>>) -> Router {
    let decoding = Semaphore::new(DECODING_KIB);
    let state = AppState { webhook, buffers: BufferLimit::default(), decoding };
    Router::new().route("/inject", post(inject::<D>)).with_state(Arc::new(state))
}

/// State that the handlers share.
struct AppState<D> {
    webhook: Arc<Webhook<D>>,
    buffers: BufferLimit,
    decoding: Semaphore,
}

async fn inject<D: Destinations>(
    State(state): State<Arc<AppState<D>>>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    body: Body,
) -> Response {
    let began = Instant::now();
    let webhook = &state.webhook;
    let held = match state.buffers.read(caller.ip().to_canonical(), body).await {
        Ok(held) => held,
        Err(unread) => {
            webhook.admissions.count("Malformed", began.elapsed());
            return refuse_unread(unread);
        }
    };
    let decoded_kib = held.bytes.len().div_ceil(1024) * DECODED_PER_BYTE;
    let _permit = state.decoding.acquire_many(decoded_kib as u32).await.expect("it is never closed");
    let (request, pod) = match read(&held.bytes) {
        Ok(read) => read,
        Err(error) => {
            webhook.admissions.count("Malformed", began.elapsed());
            let message = format!("not an AdmissionReview of admission.k8s.io/v1 about a pod: {error}\n");
            return (StatusCode::BAD_REQUEST, message).into_response();
        }
    };
    drop(held);
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let outcome = webhook.admit(namespace, &pod).await;
    webhook.admissions.count((&outcome).into(), began.elapsed());
    report(&request, &pod, &outcome);
    Json(respond(&request, outcome).into_review()).into_response()
}

fn refuse_unread(unread: Unread) -> Response {
    let (status, message) = match unread {
        Unread::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the review has more than 2 MiB\n"),
        Unread::TooMuch => (StatusCode::TOO_MANY_REQUESTS, "too many reviews at a time; try again\n"),
        Unread::Incomplete => (StatusCode::REQUEST_TIMEOUT, "the review did not arrive within 5 s\n"),
    };
    (status, message).into_response()
}

/// The request in a review, and the object that it is about.
pub(super) fn read(body: &[u8]) -> Result<(AdmissionRequest<DynamicObject>, Value), String> {
    let Unambiguous(mut review) = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    // The object is large and only needed as JSON.
    let object = review.pointer_mut("/request/object").map(Value::take).unwrap_or_default();
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_value(review).map_err(|error| error.to_string())?;
    let types = &review.types;
    if types.kind != "AdmissionReview" {
        return Err(format!("it is a {}", types.kind));
    }
    if types.api_version != "admission.k8s.io/v1" {
        return Err(format!("its version is {}", types.api_version));
    }
    let request: AdmissionRequest<DynamicObject> = review.try_into().map_err(|_| "it has no request")?;
    if !object.is_object() {
        return Err("its request has no object".to_owned());
    }
    Ok((request, object))
}

fn respond(request: &AdmissionRequest<DynamicObject>, outcome: AdmissionOutcome) -> AdmissionResponse {
    let response = AdmissionResponse::from(request);
    let refuse = |sentence: String, code: u16, reason: &str| {
        let mut response = AdmissionResponse::from(request).deny(sentence);
        (response.result.code, response.result.reason) = (code, reason.to_owned());
        response
    };
    match outcome {
        AdmissionOutcome::Unchanged => response,
        AdmissionOutcome::Injected(patch) => response.with_patch(patch).expect("a patch serializes"),
        AdmissionOutcome::Refused(refusal) => refuse(refusal.to_string(), 403, "Forbidden"),
        AdmissionOutcome::Failed(reason) => {
            let sentence = format!(
                "the recording operator cannot tell whether the pod may be injected: {reason}; nothing is wrong with \
                 the pod, try again"
            );
            refuse(sentence, 500, "InternalError")
        }
    }
}

fn report(request: &AdmissionRequest<DynamicObject>, pod: &Value, outcome: &AdmissionOutcome) {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let named = |field| pod["metadata"][field].as_str();
    let pod = named("name").or(named("generateName")).unwrap_or_default();
    match outcome {
        AdmissionOutcome::Injected(_) => tracing::info!(namespace, pod, "injected a sidecar"),
        AdmissionOutcome::Unchanged => tracing::debug!(namespace, pod, "changed nothing"),
        AdmissionOutcome::Refused(refusal) => tracing::info!(namespace, pod, %refusal, "refused a pod"),
        AdmissionOutcome::Failed(error) => tracing::error!(namespace, pod, error, "reviewing a pod failed"),
    }
}
