//! Ends a connection whose peer begins a request and does not finish its head. Between requests it may be idle for longer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tower_service::Service;

/// Counts the beginnings and the ends of requests of one connection: it is odd while one is answered.
type Changes = Arc<AtomicU64>;

#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    changes: Changes,
    head: Duration,
    /// Runs from the first byte of a head, and is of use until the next change.
    timer: Option<(u64, Pin<Box<Sleep>>)>,
}

#[derive(Clone)]
pub(super) struct TimedService<S> {
    changes: Changes,
    service: S,
}

/// A connection and its service, where a head may take so long from its first byte.
pub(super) fn timed<T, S>(stream: T, service: S, head: Duration) -> (Timed<T>, TimedService<S>) {
    let changes = Changes::default();
    (Timed { stream, changes: changes.clone(), head, timer: None }, TimedService { changes, service })
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now = self.changes.load(Ordering::Acquire);
        self.timer.take_if(|(begun, _)| *begun != now);
        if let Some((_, timer)) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let is_head = now.is_multiple_of(2);
        if is_head && buffer.filled().len() > before && self.timer.is_none() {
            self.timer = Some((now, Box::pin(sleep(self.head))));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S, B> Service<Request<B>> for TimedService<S>
where
    S: Service<Request<B>, Future: Send + 'static, Response: Send, Error: Send>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let changes = self.changes.clone();
        changes.fetch_add(1, Ordering::Release);
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            changes.fetch_add(1, Ordering::Release);
            answer
        })
    }
}
