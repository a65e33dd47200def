//! The routes of the broker, with a log line and a metric for each request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::any;
use secrecy::SecretString;
use tokio::time::Instant;

use super::grants::{Grants, Subject, Undecided, Unserved};
use super::metrics::Requests;
use super::ports::{Cluster, IssueSession};
use super::responses::{self, HeldTags};
use super::token::bearer;
use crate::api::{CREDENTIALS_PATH, DESTINATION_PATH, DeliveryReport, REFUSED_KEY_HEADER, REPORT_PATH};
use crate::domain::grant::Denial;
use crate::serve::Caller;
use crate::telemetry::LineLimit;

/// Longest long poll. It is shorter than the drain of a server that ends.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Largest report, in bytes; a sidecar sends a few hundred.
const LARGEST_REPORT: usize = 4096;

/// State that the handlers share.
pub(super) struct Broker<C, I> {
    pub(super) grants: Grants<C, I>,
    pub(super) requests: Requests,
    /// Lines about callers of whom nothing is known.
    pub(super) strangers: LineLimit,
}

/// The broker's routes. Every other request gets the refusal too: `any` catches other methods, because axum's own
/// answer would name the allowed ones.
pub(super) fn router<C: Cluster, I: IssueSession>(broker: Arc<Broker<C, I>>) -> Router {
    Router::new()
        .route(CREDENTIALS_PATH, any(unknown::<C, I>).get(credentials::<C, I>))
        .route(DESTINATION_PATH, any(unknown::<C, I>).get(destination::<C, I>))
        .route(REPORT_PATH, any(unknown::<C, I>).post(report::<C, I>))
        .fallback(unknown::<C, I>)
        .with_state(broker)
}

async fn credentials<C: Cluster, I: IssueSession>(
    State(broker): State<Arc<Broker<C, I>>>,
    caller: Caller,
    request: HeaderMap,
) -> Response {
    let began = Instant::now();
    let served = async {
        let token = broker.token(&caller, &request).await?;
        let refused_key = request.get(REFUSED_KEY_HEADER).and_then(|value| value.to_str().ok());
        let document = broker.grants.credentials(&token, refused_key).await?;
        Ok(responses::credentials(&document))
    };
    let answer = broker.answer(served.await);
    broker.requests.note_credentials(began.elapsed());
    answer
}

async fn destination<C: Cluster, I: IssueSession>(
    State(broker): State<Arc<Broker<C, I>>>,
    caller: Caller,
    request: HeaderMap,
) -> Response {
    let served = async {
        let token = broker.token(&caller, &request).await?;
        let until = Instant::now() + wait(&request);
        let held = HeldTags::of(&request);
        // Headers are slices of the connection's read buffer. While they live, the server reads into a second one.
        drop(request);
        let is_changed = |document: &_| !held.has(&responses::tag(document));
        let document = broker.grants.wait_for_change(&token, is_changed, until).await?;
        Ok(responses::document(&document, &held))
    };
    broker.answer(served.await)
}

async fn report<C: Cluster, I: IssueSession>(
    State(broker): State<Arc<Broker<C, I>>>,
    caller: Caller,
    head: HeaderMap,
    body: Body,
) -> Response {
    let read = async {
        let body = to_bytes(body, LARGEST_REPORT)
            .await
            .map_err(|_| format!("the body is not complete, or larger than {LARGEST_REPORT} bytes"))?;
        serde_json::from_slice::<DeliveryReport>(&body)
            .map_err(|error| format!("the body is not a report: {error}"))
    };
    let served = async {
        let token = broker.token(&caller, &head).await?;
        Ok(match broker.grants.report(&token, read).await? {
            Ok(()) => responses::accepted(),
            Err(problem) => responses::malformed(&problem),
        })
    };
    broker.answer(served.await)
}

async fn unknown<C: Cluster, I: IssueSession>(State(broker): State<Arc<Broker<C, I>>>) -> Response {
    broker.answer(Err(Denial::UnknownRequest.into()))
}

/// How long the caller would wait for a change: `Prefer: wait=15`, in seconds (RFC 7240).
pub(super) fn wait(request: &HeaderMap) -> Duration {
    let preferences = request.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut waits = preferences
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.trim().strip_prefix("wait=")?.parse().ok());
    waits.next().map(Duration::from_secs).unwrap_or_default().min(LONGEST_WAIT)
}

impl<C: Cluster, I: IssueSession> Broker<C, I> {
    /// The token of a request, once its pod is known: from then on the connection is counted as the pod's.
    async fn token(&self, caller: &Caller, request: &HeaderMap) -> Result<SecretString, Unserved> {
        let token = bearer(request)?;
        let identity = self.grants.identify_for(&caller.key(), &token).await?;
        caller.is_pod(&identity.namespace, &identity.pod);
        Ok(token)
    }
}

impl<C, I> Broker<C, I> {
    /// Logs and counts how a request ended. The response names no cause, but to a pod that is served and whose destination
    /// has no session.
    fn answer(&self, served: Result<Response, Unserved>) -> Response {
        let served = match served {
            Ok(response) => {
                let result = match response.status() {
                    status if status.is_redirection() => "NotModified",
                    status if status.is_client_error() => "Malformed",
                    _ => "Served",
                };
                self.requests.count(result);
                return response;
            }
            Err(unserved) => unserved,
        };
        let (result, response, namespace) = match served {
            Unserved::Refused(denial, Subject { namespace, pod, name }) => {
                if let Some(suppressed) = self.line(&namespace) {
                    tracing::warn!(%denial, namespace, pod, name, suppressed, "request refused");
                }
                let response = match denial.explanation() {
                    Some(explanation) => responses::explained(denial, explanation),
                    None => responses::refusal(),
                };
                (denial.into(), response, namespace)
            }
            Unserved::Undecided(error, Subject { namespace, pod, name }) => {
                if let Some(suppressed) = self.line(&namespace) {
                    tracing::error!(namespace, pod, name, %error, suppressed, "deciding a request failed");
                }
                let response = match error {
                    Undecided::TooManyUnknownTokens => responses::closing(responses::unavailable()),
                    _ => responses::unavailable(),
                };
                ((&error).into(), response, namespace)
            }
        };
        self.requests.count_unserved(result, namespace);
        response
    }

    /// Whether a line may be written about a caller of this namespace, and how many before it were not.
    fn line(&self, namespace: &str) -> Option<u64> {
        match namespace {
            "" => self.strangers.next(),
            _ => Some(0),
        }
    }
}

impl From<Denial> for Unserved {
    /// For a request of which the caller is not known.
    fn from(denial: Denial) -> Self {
        Unserved::Refused(denial, Subject::default())
    }
}
