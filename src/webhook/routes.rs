//! `POST /inject`: the AdmissionReview in and out.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};

use super::admit::{Outcome, Webhook};
use super::destinations::Destinations;

/// Largest review. etcd holds objects of 1.5 MiB, and a review has room for two.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// The webhook's routes.
pub(super) fn router<D: Destinations>(webhook: Arc<Webhook<D>>) -> Router {
    Router::new()
        .route("/inject", post(inject::<D>))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(webhook)
}

async fn inject<D: Destinations>(State(webhook): State<Arc<Webhook<D>>>, body: Bytes) -> Response {
    let began = Instant::now();
    let request = match read(&body) {
        Ok(request) => request,
        Err(error) => {
            webhook.admissions.count("Malformed", began.elapsed());
            let message = format!("not an AdmissionReview of admission.k8s.io/v1 about a pod: {error}\n");
            return (StatusCode::BAD_REQUEST, message).into_response();
        }
    };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let object = serde_json::to_value(&request.object).expect("what was JSON can be JSON again");
    let outcome = webhook.admit(namespace, &object).await;
    webhook.admissions.count((&outcome).into(), began.elapsed());
    report(&request, &outcome);
    Json(respond(&request, outcome).into_review()).into_response()
}

/// The request in a review that asks about an object.
fn read(body: &[u8]) -> Result<AdmissionRequest<DynamicObject>, String> {
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let types = &review.types;
    if types.kind != "AdmissionReview" {
        return Err(format!("it is a {}", types.kind));
    }
    if types.api_version != "admission.k8s.io/v1" {
        return Err(format!("its version is {}", types.api_version));
    }
    let request: AdmissionRequest<DynamicObject> = review.try_into().map_err(|_| "it has no request")?;
    match request.object {
        Some(_) => Ok(request),
        None => Err("its request has no object".to_owned()),
    }
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

fn report(request: &AdmissionRequest<DynamicObject>, outcome: &Outcome) {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let metadata = request.object.as_ref().map(|object| &object.metadata);
    let pod = metadata.and_then(|it| it.name.as_deref().or(it.generate_name.as_deref())).unwrap_or_default();
    match outcome {
        Outcome::Injected(_) => tracing::info!(namespace, pod, "injected"),
        Outcome::Unchanged => tracing::debug!(namespace, pod, "nothing to change"),
        Outcome::Refused(refusal) => tracing::info!(namespace, pod, %refusal, "refused"),
        Outcome::Failed(error) => tracing::error!(namespace, pod, error, "could not answer"),
    }
}
