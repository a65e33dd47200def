//! Metrics and health of a process over plain HTTP.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::routing::get;
use futures::StreamExt as _;

use super::connections::{Admission, Caller, LARGEST_BUFFER};
use super::error::Error;
use super::roster::Limits;
use crate::telemetry::Metrics;

/// Open connections, and as many that are being answered. Prometheus has one.
const CONNECTIONS: usize = 64;
const LIMITS: Limits = Limits { strangers: CONNECTIONS, answered: CONNECTIONS, api_servers: 0, pods: 0 };
/// Time for a connection's first request, and for the peer to read an answer.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Time between the requests of a connection.
const IDLE: Duration = Duration::from_secs(60);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The parts that a process waits for before it is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, bool>>>);

#[derive(Clone, Debug)]
pub struct Part {
    name: &'static str,
    of: Readiness,
}

impl Readiness {
    /// Adds a part: the process is not ready until [`Part::done`].
    pub fn part(&self, name: &'static str) -> Part {
        self.set(name, false);
        Part { name, of: self.clone() }
    }

    /// `/healthz` (the process runs) and `/readyz` (ready, else 503 with the missing parts).
    pub(super) fn routes(self) -> Router {
        let ready = get(async move || match self.missing() {
            missing if missing.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
            missing => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", missing.join(", "))),
        });
        Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", ready)
    }

    fn missing(&self) -> Vec<&'static str> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(_, done)| !**done).map(|(name, _)| *name).collect()
    }

    fn set(&self, name: &'static str, done: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, done);
    }
}

impl Part {
    pub fn done(&self) {
        self.of.set(self.name, true);
    }
}

/// Serves `/metrics` and the process's health for as long as it is polled. Probes do not use it: any peer can occupy it.
pub async fn health(listen: SocketAddr, metrics: Metrics, readiness: Readiness) -> Result<(), Error> {
    let mut server = axum_server::bind(listen)
        .acceptor(Admission::new(LIMITS, FIRST_REQUEST))
        .first_request_timeout(FIRST_REQUEST)
        .http1_only();
    server.http_builder().http1().header_read_timeout(IDLE).max_buf_size(LARGEST_BUFFER);
    let served = server.serve(routes(metrics, readiness).into_make_service()).await;
    served.map_err(|source| Error { listen: listen.to_string(), source })
}

fn routes(metrics: Metrics, readiness: Readiness) -> Router {
    let metrics = get(async move |caller: Caller| {
        let answering = caller.is_answered();
        let text = metrics.chunks().map(move |chunk| {
            _ = &answering;
            Ok::<_, Infallible>(chunk)
        });
        ([(header::CONTENT_TYPE, OPENMETRICS)], Body::from_stream(text))
    });
    readiness.routes().route("/metrics", metrics)
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use http_body_util::BodyExt as _;
    use prometheus_client::registry::Registry;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(app: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_process_is_ready_once_every_part_is_and_alive_before() {
        let readiness = Readiness::default();
        let (certificate, cache) = (readiness.part("certificate"), readiness.part("destinations"));
        let app = routes(Metrics::new(Registry::default()), readiness);

        let waiting = "waiting for certificate, destinations\n".to_owned();
        assert_eq!(ask(&app, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, waiting));
        certificate.done();
        let waiting = "waiting for destinations\n".to_owned();
        assert_eq!(ask(&app, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, waiting));
        assert_eq!(ask(&app, "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
        cache.done();
        assert_eq!(ask(&app, "/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
    }

    #[tokio::test]
    async fn metrics_are_openmetrics_text() {
        let app = routes(Metrics::new(Registry::default()), Readiness::default());
        assert_eq!(ask(&app, "/metrics").await, (StatusCode::OK, "# EOF\n".to_owned()));
    }
}
