//! HTTPS with a certificate that is replaced while it is in use.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;

use super::connections::{Admission, LARGEST_BUFFER};
use super::error::Error;
use super::handshakes::Handshakes;
use super::health::Readiness;
use super::roster::Limits;
use super::tls::{POLL, TlsDirectory, UnusableCertificate};

/// Open connections of callers that have proved nothing yet.
const STRANGERS: usize = 1000;
/// Open connections of API servers: a few hundred for each of several.
const API_SERVERS: usize = 1000;
/// Memory of an idle connection, in bytes.
const OF_AN_IDLE: u64 = 40 * 1024;
/// Memory of a connection with as much of a request as it may buffer, in bytes.
const OF_A_FULL: u64 = OF_AN_IDLE + LARGEST_BUFFER as u64;
/// Memory for the process, its caches and its sessions at 10,000 destinations, in bytes.
const RESERVE: u64 = 64 * 1024 * 1024;
/// Connections of pods where the memory is not limited.
const PODS: usize = 10_000;

#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) handshake: Duration,
    /// For the first request, after the handshake.
    pub(super) first_request: Duration,
    /// For the head of a request, from its first byte.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// For one request, with its body and the answer.
    pub(super) request: Duration,
    /// For clients to connect to another replica, after SIGTERM.
    pub(super) reconnect: Duration,
}

pub(super) const TIMEOUTS: Timeouts = Timeouts {
    handshake: Duration::from_secs(5),
    first_request: Duration::from_secs(10),
    head: Duration::from_secs(10),
    // The API server's HTTP client, Go's, closes an idle connection after 90 s. If the server closed it first, a call just
    // sent on it would fail.
    idle: Duration::from_secs(120),
    request: Duration::from_secs(30),
    reconnect: Duration::from_secs(5),
};
/// Time for the requests in flight after that. With `reconnect` and the chart's preStop it fits into
/// terminationGracePeriodSeconds.
const DRAIN: Duration = Duration::from_secs(20);

/// Serves `app` over TLS until `shutdown` ends, then asks clients to reconnect elsewhere and finishes the requests in flight.
/// Waits for the certificate, which the controller may have to create first, and loads a new one within seconds.
pub async fn https(
    listen: SocketAddr,
    tls: &TlsDirectory,
    app: Router,
    readiness: &Readiness,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let memory = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let memory = memory.and_then(|limit| limit.trim().parse().ok());
    let limits =
        Limits { strangers: STRANGERS, answered: 0, api_servers: API_SERVERS, pods: pods_within(memory) };
    serve(listen, tls, app, readiness, shutdown, (TIMEOUTS, limits)).await
}

/// How many connections of pods fit into the container's memory beside the reserve and the most that strangers take, so
/// that no number of them ends the process.
pub(super) fn pods_within(memory: Option<u64>) -> usize {
    let rest = RESERVE + STRANGERS as u64 * OF_A_FULL;
    memory.map_or(PODS, |memory| (memory.saturating_sub(rest) / OF_AN_IDLE).max(200) as usize)
}

pub(super) async fn serve(
    listen: SocketAddr,
    tls: &TlsDirectory,
    app: Router,
    readiness: &Readiness,
    shutdown: impl Future<Output = ()>,
    (timeouts, limits): (Timeouts, Limits),
) -> Result<(), Error> {
    tokio::pin!(shutdown);
    let ready = readiness.part("certificate");
    let (certificate, config) = tokio::select! {
        first = first_certificate(tls) => first,
        () = &mut shutdown => return Ok(()),
    };
    let config = RustlsConfig::from_config(config);
    ready.done();

    let handle = Handle::new();
    let admission = Admission::new(limits, timeouts.request);
    let acceptor = Handshakes::new(admission, config.clone(), timeouts.handshake, timeouts.head);
    let mut server = axum_server::bind(listen)
        .handle(handle.clone())
        .acceptor(acceptor)
        .first_request_timeout(timeouts.first_request)
        .http1_only();
    server.http_builder().http1().header_read_timeout(timeouts.idle).max_buf_size(LARGEST_BUFFER);
    let draining = Arc::new(AtomicBool::new(false));
    let app = app
        .layer(middleware::from_fn(move |request, next| in_time(timeouts.request, request, next)))
        .layer(middleware::map_response_with_state(draining.clone(), close_while_draining));
    let serving = server.serve(app.into_make_service());
    tokio::pin!(serving);
    let reconnected = async {
        shutdown.await;
        draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(timeouts.reconnect).await;
    };
    tokio::select! {
        result = &mut serving => return result.map_err(|source| Error { listen: listen.to_string(), source }),
        never = follow(tls, certificate, &config) => match never {},
        () = reconnected => handle.graceful_shutdown(Some(DRAIN)),
    }
    serving.await.map_err(|source| Error { listen: listen.to_string(), source })
}

/// Waits for a usable certificate, and logs that at once and then every minute.
async fn first_certificate(tls: &TlsDirectory) -> (Vec<u8>, Arc<ServerConfig>) {
    let mut logged = None;
    loop {
        match load(tls).await {
            Ok(loaded) => return loaded,
            Err(error) if logged.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(60)) => {
                tracing::info!(%error, "waiting for the certificate, which the controller writes when it starts");
                logged = Some(Instant::now());
            }
            Err(_) => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

pub(super) async fn load(tls: &TlsDirectory) -> Result<(Vec<u8>, Arc<ServerConfig>), UnusableCertificate> {
    let certificate = tls.certificate().await?;
    let config = tls.server_config(&certificate).await?;
    Ok((certificate, config))
}

/// Loads new certificates. Contents are compared, because Kubernetes replaces links and not files.
async fn follow(tls: &TlsDirectory, mut served: Vec<u8>, config: &RustlsConfig) -> Infallible {
    let mut reported = false;
    loop {
        tokio::time::sleep(POLL).await;
        let changed = async {
            match tls.certificate().await? {
                certificate if certificate == served => Ok(None),
                _ => load(tls).await.map(Some),
            }
        };
        match changed.await {
            Ok(None) => reported = false,
            Ok(Some((certificate, new))) => {
                config.reload_from_config(new);
                served = certificate;
                tracing::info!("serving with a new certificate");
            }
            Err(error) if !reported => {
                tracing::warn!(%error, "reading the certificate failed; serving with the previous one");
                reported = true;
            }
            Err(_) => {}
        }
    }
}

/// Answers 408 to a client that sends its request too slowly, which ends the request.
async fn in_time(time: Duration, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(time, next.run(request)).await;
    answer.unwrap_or_else(|_| (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response())
}

/// Asks the client to close the connection with this answer. If the server closed it later, while it is idle, a request may just
/// have been sent on it: that request would fail, and the API server does not repeat calls to webhooks.
async fn close_while_draining(State(draining): State<Arc<AtomicBool>>, mut answer: Response) -> Response {
    if draining.load(Ordering::Relaxed) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}
