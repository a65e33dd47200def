//! The route of the API server: the AdmissionReview in and out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use json_patch::Patch;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use serde_json::Value;
use tokio::time::timeout;

use super::admit::{AdmissionOutcome, Webhook};
use super::destinations::Destinations;
use super::paths::AcceptedPaths;
use super::review_buffer::{ReviewMemory, Unread};
use super::unambiguous::Unambiguous;
use crate::api::is_namespace_name;
use crate::concurrency::ConcurrencyLimiter;
use crate::printable::{printable, shortened};
use crate::serve::Caller;
use crate::telemetry::LineLimit;

/// Log lines of one kind in ten seconds.
const LINES: u64 = 20;
/// Reviews of one address that are read at a time, half of what the pool for small ones holds. Others wait, so that no one
/// address that has seen the path takes all of the memory for reviews.
const REVIEWS_OF_ONE_ADDRESS: usize = 64;
const QUEUE: Duration = Duration::from_secs(4);

/// The webhook's only service. Who calls at another path is not the API server, and learns nothing.
pub(super) fn router<D: Destinations>(webhook: Arc<Webhook<D>>, paths: Arc<AcceptedPaths>) -> Router {
    let state = AppState {
        webhook,
        paths,
        memory: ReviewMemory::default(),
        arriving: ConcurrencyLimiter::per_key(REVIEWS_OF_ONE_ADDRESS),
        strangers: LineLimit::new(LINES),
        refused: LineLimit::new(LINES),
    };
    Router::new().fallback(answer::<D>).with_state(Arc::new(state))
}

/// State that the handlers share.
struct AppState<D> {
    webhook: Arc<Webhook<D>>,
    paths: Arc<AcceptedPaths>,
    memory: ReviewMemory,
    /// Reviews that are read, by the address that they come from.
    arriving: ConcurrencyLimiter,
    strangers: LineLimit,
    refused: LineLimit,
}

/// What of a review is kept while the API server is asked about the destination.
struct Reviewed {
    response: AdmissionResponse,
    namespace: String,
    pod: String,
    /// The destination that must exist, and what then becomes of the pod.
    destination: Option<String>,
    outcome: AdmissionOutcome,
}

async fn answer<D: Destinations>(
    State(state): State<Arc<AppState<D>>>,
    caller: Caller,
    request: Request,
) -> Response {
    let began = Instant::now();
    let admissions = &state.webhook.admissions;
    let path = request.uri().path();
    if !state.paths.accepts(path).await {
        admissions.count("Stranger", began.elapsed());
        if let Some(suppressed) = state.strangers.next() {
            tracing::warn!(suppressed, "refused a caller that is not the API server");
        }
        return refuse_stranger();
    }
    let _answering = path.starts_with("/inject/").then(|| caller.is_api_server());
    if request.method() != Method::POST {
        return refuse_stranger();
    }
    let (head, body) = request.into_parts();
    let read = async {
        let turn = timeout(QUEUE, state.arriving.acquire(&caller.key())).await;
        let _turn = turn.map_err(|_| Unread::TooMuch)?;
        state.memory.read(&head.headers, body, async |review| state.webhook.review(review).await).await
    };
    match read.await {
        Err(unread) => {
            admissions.count("Malformed", began.elapsed());
            refuse_unread(unread)
        }
        Ok(Err(error)) => {
            admissions.count("Malformed", began.elapsed());
            let message = format!("not an AdmissionReview of admission.k8s.io/v1 about a pod: {error}\n");
            (StatusCode::BAD_REQUEST, message).into_response()
        }
        Ok(Ok(reviewed)) => {
            let Reviewed { response, namespace, pod, destination, outcome } = reviewed;
            let outcome = state.webhook.admit(&namespace, destination, outcome).await;
            admissions.count((&outcome).into(), began.elapsed());
            state.report(&namespace, &pod, &outcome);
            Json(respond(response, outcome).into_review()).into_response()
        }
    }
}

impl<D: Destinations> Webhook<D> {
    async fn review(&self, review: Vec<u8>) -> Result<Reviewed, String> {
        let (request, pod) = read(&review)?;
        drop(review);
        let namespace = request.namespace.clone().unwrap_or_default();
        if !is_namespace_name(&namespace) {
            return Err("its namespace is not a name".to_owned());
        }
        let response = AdmissionResponse::from(&request);
        drop(request);
        let named = |field| pod["metadata"][field].as_str();
        let name = printable(named("name").or(named("generateName")).unwrap_or_default()).into_owned();
        let (destination, outcome) = self.draft(&pod).await;
        Ok(Reviewed { response, namespace, pod: name, destination, outcome })
    }
}

/// The same for whatever a stranger asks. The body is not read, so the connection ends.
fn refuse_stranger() -> Response {
    let mut response = (StatusCode::NOT_FOUND, "not found\n").into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn refuse_unread(unread: Unread) -> Response {
    let (status, message) = match unread {
        Unread::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the review has more than 2 MiB\n"),
        Unread::TooManyEntries => {
            (StatusCode::PAYLOAD_TOO_LARGE, "the pod has too many entries in its lists; give it fewer\n")
        }
        Unread::TooMuch => (StatusCode::TOO_MANY_REQUESTS, "too many reviews at a time; try again\n"),
        Unread::Incomplete => (StatusCode::REQUEST_TIMEOUT, "the review did not arrive in time\n"),
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
        return Err(format!("it is a {}", printable(&types.kind)));
    }
    if types.api_version != "admission.k8s.io/v1" {
        return Err(format!("its version is {}", printable(&types.api_version)));
    }
    let request: AdmissionRequest<DynamicObject> = review.try_into().map_err(|_| "it has no request")?;
    if !object.is_object() {
        return Err("its request has no object".to_owned());
    }
    Ok((request, object))
}

fn respond(mut response: AdmissionResponse, outcome: AdmissionOutcome) -> AdmissionResponse {
    let (sentence, code, reason) = match outcome {
        AdmissionOutcome::Unchanged => return response,
        AdmissionOutcome::Injected(patch) => {
            response = response.with_patch(Patch::default()).expect("a patch serializes");
            response.patch = Some(patch);
            return response;
        }
        // Names of the pod's are in it.
        AdmissionOutcome::Refused(refusal) => {
            (shortened(&refusal.to_string()).into_owned(), 403, "Forbidden")
        }
        AdmissionOutcome::Failed(reason) => {
            let sentence = format!(
                "the recording operator cannot tell whether the pod may be injected: {reason}; nothing is wrong with \
                 the pod, try again"
            );
            (sentence, 500, "InternalError")
        }
    };
    response = response.deny(sentence);
    (response.result.code, response.result.reason) = (code, reason.to_owned());
    response
}

impl<D> AppState<D> {
    fn report(&self, namespace: &str, pod: &str, outcome: &AdmissionOutcome) {
        match outcome {
            AdmissionOutcome::Injected(_) => tracing::info!(namespace, pod, "injected a sidecar"),
            AdmissionOutcome::Unchanged => tracing::debug!(namespace, pod, "changed nothing"),
            AdmissionOutcome::Refused(refusal) => {
                if let Some(suppressed) = self.refused.next() {
                    let refusal = refusal.to_string();
                    let refusal = shortened(&refusal);
                    tracing::info!(namespace, pod, refusal = &*refusal, suppressed, "refused a pod");
                }
            }
            AdmissionOutcome::Failed(error) => {
                tracing::error!(namespace, pod, error, "reviewing a pod failed")
            }
        }
    }
}
