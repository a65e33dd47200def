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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_head_must_be_complete_ten_seconds_after_its_first_byte() {
        let (mut client, server) = duplex(1024);
        let answer = tower::service_fn(async |_: Request<()>| Ok::<_, Infallible>(()));
        let (mut stream, mut service) = timed(server, answer, HEAD);
        let began = tokio::time::Instant::now();
        let (mut buffer, idle) = ([0; 64], Duration::from_secs(100));
        for request in 1..=3 {
            // The peer is idle for longer, and then sends a head in two parts.
            let sent = async {
                tokio::time::sleep(idle).await;
                client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
                tokio::time::sleep(HEAD / 2).await;
                client.write_all(b"\r\n").await.unwrap();
            };
            let read = async {
                assert_eq!(stream.read(&mut buffer).await.unwrap(), 16);
                assert_eq!(stream.read(&mut buffer).await.unwrap(), 2);
            };
            tokio::join!(sent, read);
            service.call(Request::new(())).await.unwrap();
            assert_eq!(began.elapsed(), request * (idle + HEAD / 2));
        }
        client.write_all(b"G").await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 1);
        let begun = tokio::time::Instant::now();
        let sent = async {
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                _ = client.write_all(b"G").await;
            }
        };
        let read = async {
            while stream.read(&mut buffer).await.is_ok() {}
            begun.elapsed()
        };
        let ((), took) = tokio::join!(sent, read);
        assert!((HEAD..HEAD + Duration::from_secs(1)).contains(&took), "{took:?}");
    }
}
