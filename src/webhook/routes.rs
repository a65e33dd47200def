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

use super::admit::{Outcome, Webhook};
use super::budget::{Budget, Unread};
use super::destinations::Destinations;
use super::unambiguous::Unambiguous;

/// Memory, in KiB, for reviews that are being understood; the container may have 256 MiB.
const UNDERSTANDING_KIB: usize = 96 * 1024;
/// How much of it a review takes, by its size: a list of many small things takes so many times its text.
const UNFOLDED: usize = 32;

/// The webhook's routes.
pub(super) fn router<D: Destinations>(webhook: Arc<Webhook<D>>) -> Router {
    let door = Door { webhook, budget: Budget::default(), memory: Semaphore::new(UNDERSTANDING_KIB) };
    Router::new().route("/inject", post(inject::<D>)).with_state(Arc::new(door))
}

/// What requests share.
struct Door<D> {
    webhook: Arc<Webhook<D>>,
    budget: Budget,
    memory: Semaphore,
}

async fn inject<D: Destinations>(
    State(door): State<Arc<Door<D>>>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    body: Body,
) -> Response {
    let began = Instant::now();
    let webhook = &door.webhook;
    let held = match door.budget.read(caller.ip().to_canonical(), body).await {
        Ok(held) => held,
        Err(unread) => {
            webhook.admissions.count("Malformed", began.elapsed());
            return refuse_unread(unread);
        }
    };
    let unfolded = held.bytes.len().div_ceil(1024) * UNFOLDED;
    let _unfolded = door.memory.acquire_many(unfolded as u32).await.expect("it is never closed");
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

/// The request in a review that asks about an object, and that object.
pub(super) fn read(body: &[u8]) -> Result<(AdmissionRequest<DynamicObject>, Value), String> {
    let Unambiguous(mut review) = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    // Large, and not needed in another form.
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

fn respond(request: &AdmissionRequest<DynamicObject>, outcome: Outcome) -> AdmissionResponse {
    let response = AdmissionResponse::from(request);
    let refuse = |sentence: String, code: u16, reason: &str| {
        let mut response = AdmissionResponse::from(request).deny(sentence);
        (response.result.code, response.result.reason) = (code, reason.to_owned());
        response
    };
    match outcome {
        Outcome::Unchanged => response,
        Outcome::Injected(patch) => response.with_patch(patch).expect("a patch serializes"),
        Outcome::Refused(refusal) => refuse(refusal.to_string(), 403, "Forbidden"),
        Outcome::Failed(reason) => {
            let sentence = format!(
                "the recording operator cannot tell whether the pod may be injected: {reason}; nothing is wrong with \
                 the pod, try again"
            );
            refuse(sentence, 500, "InternalError")
        }
    }
}

fn report(request: &AdmissionRequest<DynamicObject>, pod: &Value, outcome: &Outcome) {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let named = |field| pod["metadata"][field].as_str();
    let pod = named("name").or(named("generateName")).unwrap_or_default();
    match outcome {
        Outcome::Injected(_) => tracing::info!(namespace, pod, "injected"),
        Outcome::Unchanged => tracing::debug!(namespace, pod, "nothing to change"),
        Outcome::Refused(refusal) => tracing::info!(namespace, pod, %refusal, "refused"),
        Outcome::Failed(error) => tracing::error!(namespace, pod, error, "could not answer"),
    }
}
