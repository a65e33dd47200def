//! The body of a put.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// The slowest transfer that is not given up, in bytes per second.
const SLOWEST_TRANSFER: u64 = 64 * 1024;
/// Time for the first bytes of an object, in addition to what its size needs.
pub(super) const LEAST_TRANSFER: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// This many bytes, which arrive while they are sent. An error, or a premature end, ends the call like a failed
    /// connection.
    Chunks(mpsc::Receiver<io::Result<Bytes>>, u64),
}

impl Body {
    /// Time after which sending it is given up.
    pub(super) fn transfer_time(&self) -> Duration {
        transfer_time(match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Chunks(_, size) => *size,
        })
    }
}

/// Time after which sending or reading that many bytes is given up.
pub(super) fn transfer_time(size: u64) -> Duration {
    LEAST_TRANSFER + Duration::from_secs(size / SLOWEST_TRANSFER)
}

impl From<Body> for ByteStream {
    fn from(body: Body) -> Self {
        match body {
            // One that cannot be cloned: the SDK would keep it until the answer.
            Body::Bytes(bytes) => ByteStream::new(SdkBody::from_body_1_x(Full::new(bytes))),
            Body::Chunks(chunks, left) => ByteStream::new(SdkBody::from_body_1_x(Chunks { chunks, left })),
        }
    }
}

struct Chunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let chunk =
            ready!(self.chunks.poll_recv(context)).unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()));
        Poll::Ready(Some(chunk.map(|bytes| {
            self.left = self.left.saturating_sub(bytes.len() as u64);
            Frame::data(bytes)
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
