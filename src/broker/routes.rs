//! The requests that the broker knows, and the log line and the count of each.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::any;
use tokio::time::Instant;

use super::answers;
use super::grants::{Cluster, Grants, IssueSession, Subject, Unserved};
use super::metrics::Requests;
use super::token::bearer;
use crate::api::{CREDENTIALS_PATH, DESTINATION_PATH};
use crate::domain::grant::Denial;

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
    broker.answer(began, served.await)
}

async fn destination<C: Cluster, I: IssueSession>(
    State(broker): State<Arc<Broker<C, I>>>,
    request: HeaderMap,
) -> Response {
    let began = Instant::now();
    let served = async {
        let document = broker.grants.document(&bearer(&request)?).await?;
        Ok(answers::document(&document, &request))
    };
    broker.answer(began, served.await)
}

async fn unknown<C: Cluster, I: IssueSession>(State(broker): State<Arc<Broker<C, I>>>) -> Response {
    broker.answer(Instant::now(), Err(Denial::UnknownRequest.into()))
}

impl<C, I> Broker<C, I> {
    /// Says in log and metric how a request ended. The caller learns no cause.
    fn answer(&self, began: Instant, served: Result<Response, Unserved>) -> Response {
        let (result, response) = match served {
            Ok(response) if response.status().is_redirection() => ("NotModified", response),
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
        self.requests.observe(result, began.elapsed());
        response
    }
}

impl From<Denial> for Unserved {
    /// Before anything is known of the caller.
    fn from(denial: Denial) -> Self {
        Unserved::Refused(denial, Subject::default())
    }
}
