//! TLS handshakes, one after the other: however many are under way, they take no more than one thread at a time, and what
//! the other connections have to do is done in between.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::Request;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::connections::{Admission, Caller, Counted};

/// Counts a connection, and then does its handshake.
#[derive(Clone)]
pub(super) struct Handshakes {
    admission: Admission,
    tls: RustlsAcceptor,
    turns: Arc<Semaphore>,
}

/// A service whose requests tell by which connection they came.
#[derive(Clone)]
pub(super) struct WithCaller<S> {
    caller: Caller,
    service: S,
}

impl Handshakes {
    pub(super) fn new(admission: Admission, config: RustlsConfig, timeout: Duration) -> Self {
        let tls = RustlsAcceptor::new(config).handshake_timeout(timeout);
        Handshakes { admission, tls, turns: Arc::new(Semaphore::new(1)) }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Handshakes {
    type Stream = <RustlsAcceptor as Accept<Counted, WithCaller<S>>>::Stream;
    type Service = <RustlsAcceptor as Accept<Counted, WithCaller<S>>>::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let counted = match self.admission.count(stream) {
            Ok(counted) => counted,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (ending, caller) = (counted.ending(), counted.caller());
        let mut handshake = Box::pin(self.tls.accept(counted, WithCaller { caller, service }));
        let (turns, mut queued) = (self.turns.clone(), None);
        Box::pin(std::future::poll_fn(move |cx| {
            // Also while it is queued: those that must make room must not pile up.
            ending.check(cx)?;
            let turn = queued.get_or_insert_with(|| Box::pin(turns.clone().acquire_owned()));
            // Held while the handshake computes, and not while it waits for its peer.
            let _turn = ready!(turn.as_mut().poll(cx)).expect("it is never closed");
            queued = None;
            handshake.as_mut().poll(cx)
        }))
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithCaller<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.caller.clone());
        self.service.call(request)
    }
}
