//! The requests that the broker knows, and the log line and the count of each.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::any;
use tokio::time::Instant;

use super::answers;
use super::grants::{Grants, Subject, Unserved};
use super::metrics::Requests;
use super::ports::{Cluster, IssueSession};
use super::token::bearer;
use crate::api::{CREDENTIALS_PATH, DESTINATION_PATH, DeliveryReport, REPORT_PATH};
use crate::domain::grant::Denial;

/// Longest time that a request waits for news. Shorter than the time that a server which ends gives to what is in flight.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Largest report, in bytes. Ours have a few hundred.
const LARGEST_REPORT: usize = 4096;

/// What the handlers share.
pub(super) struct Broker<C, I> {
    pub(super) grants: Grants<C, I>,
    pub(super) requests: Requests,
}

/// The broker's routes. Whatever else is asked for gets the refusal, too: another method by `any`,
/// as axum's own answer names the methods that would do.
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
    request: HeaderMap,
) -> Response {
    let began = Instant::now();
    let served = async {
        let document = broker.grants.credentials(&bearer(&request)?).await?;
        Ok(answers::credentials(&document))
    };
    let answer = broker.answer(served.await);
    broker.requests.note_credentials(began.elapsed());
    answer
}

async fn destination<C: Cluster, I: IssueSession>(
    State(broker): State<Arc<Broker<C, I>>>,
    request: HeaderMap,
) -> Response {
    let served = async {
        let until = Instant::now() + wait(&request);
        let is_news = |document: &_| !answers::has(&request, &answers::tag(document));
        let document = broker.grants.news(&bearer(&request)?, is_news, until).await?;
        Ok(answers::document(&document, &request))
    };
    broker.answer(served.await)
}

async fn report<C: Cluster, I: IssueSession>(
    State(broker): State<Arc<Broker<C, I>>>,
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
        Ok(match broker.grants.report(&bearer(&head)?, read).await? {
            Ok(()) => answers::taken(),
            Err(problem) => answers::malformed(&problem),
        })
    };
    broker.answer(served.await)
}

async fn unknown<C: Cluster, I: IssueSession>(State(broker): State<Arc<Broker<C, I>>>) -> Response {
    broker.answer(Err(Denial::UnknownRequest.into()))
}

/// How long the caller would wait for news: `Prefer: wait=15`, in seconds (RFC 7240).
pub(super) fn wait(request: &HeaderMap) -> Duration {
    let preferences = request.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut waits = preferences
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.trim().strip_prefix("wait=")?.parse().ok());
    waits.next().map(Duration::from_secs).unwrap_or_default().min(LONGEST_WAIT)
}

impl<C, I> Broker<C, I> {
    /// Says in log and metric how a request ended. The caller learns no cause.
    fn answer(&self, served: Result<Response, Unserved>) -> Response {
        let (result, response) = match served {
            Ok(response) if response.status().is_redirection() => ("NotModified", response),
            Ok(response) if response.status().is_client_error() => ("Malformed", response),
            Ok(response) => ("Served", response),
            Err(Unserved::Refused(denial, Subject { namespace, pod, destination })) => {
                tracing::warn!(%denial, namespace, pod, destination, "request refused");
                (denial.into(), answers::refusal())
            }
            Err(Unserved::Unavailable(cause, Subject { namespace, pod, destination })) => {
                tracing::error!(cause, namespace, pod, destination, "request could not be decided");
                ("Unavailable", answers::unavailable())
            }
        };
        self.requests.count(result);
        response
    }
}

impl From<Denial> for Unserved {
    /// Before anything is known of the caller.
    fn from(denial: Denial) -> Self {
        Unserved::Refused(denial, Subject::default())
    }
}
