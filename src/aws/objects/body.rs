//! What is put into a bucket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// The slowest transfer that is not given up and begun again, in bytes per second.
const SLOWEST_TRANSFER: u64 = 64 * 1024;
/// Time for an object's first bytes to come, beside what its size needs.
pub(super) const LEAST_TRANSFER: Duration = Duration::from_secs(20);

/// What is put.
#[derive(Debug)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// So many bytes, which come while they are sent. An error in between, or their end, ends the call as a
    /// connection that failed would.
    Chunks(mpsc::Receiver<io::Result<Bytes>>, u64),
}

impl Body {
    /// Time in which it is sent or given up.
    pub(super) fn transfer_time(&self) -> Duration {
        transfer_time(match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Chunks(_, size) => *size,
        })
    }
}

/// Time in which so many bytes are sent or read.
pub(super) fn transfer_time(size: u64) -> Duration {
    LEAST_TRANSFER + Duration::from_secs(size / SLOWEST_TRANSFER)
}

impl From<Body> for ByteStream {
    fn from(body: Body) -> Self {
        match body {
            Body::Bytes(bytes) => ByteStream::new(SdkBody::from(bytes)),
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
