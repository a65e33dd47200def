//! TLS handshakes, one after the other: however many are under way, they take no more than one thread at a time, and what
//! the other connections have to do is done in between.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::connections::{Admission, Counted, WithCaller};
use super::heads::{Timed, TimedService, timed};

/// Counts a connection, and then does its handshake.
#[derive(Clone)]
pub(super) struct Handshakes {
    admission: Admission,
    tls: RustlsAcceptor,
    turns: Arc<Semaphore>,
    /// Time for the head of a request, from its first byte.
    head: Duration,
}

impl Handshakes {
    pub(super) fn new(admission: Admission, config: RustlsConfig, timeout: Duration, head: Duration) -> Self {
        let tls = RustlsAcceptor::new(config).handshake_timeout(timeout);
        Handshakes { admission, tls, turns: Arc::new(Semaphore::new(1)), head }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Handshakes {
    type Stream = Timed<<RustlsAcceptor as Accept<Counted, WithCaller<S>>>::Stream>;
    type Service = TimedService<<RustlsAcceptor as Accept<Counted, WithCaller<S>>>::Service>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let counted = match self.admission.count(stream) {
            Ok(counted) => counted,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (ending, caller) = (counted.ending(), counted.caller());
        let mut handshake = Box::pin(self.tls.accept(counted, WithCaller { caller, service }));
        let (turns, mut queued, head) = (self.turns.clone(), None, self.head);
        Box::pin(std::future::poll_fn(move |cx| {
            // Also while it is queued: those that must make room must not pile up.
            ending.check(cx)?;
            let turn = queued.get_or_insert_with(|| Box::pin(turns.clone().acquire_owned()));
            // Held while the handshake computes, and not while it waits for its peer.
            let _turn = ready!(turn.as_mut().poll(cx)).expect("it is never closed");
            queued = None;
            let (stream, service) = ready!(handshake.as_mut().poll(cx))?;
            Poll::Ready(Ok(timed(stream, service, head)))
        }))
    }
}
