//! A recording is read while it is sent: a few buffers of memory, whatever its size.

use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::aws::Body;
use crate::uploader::spool::buffers::Buffer;
use crate::uploader::spool::recording::Recording;
use crate::uploader::transfer::bandwidth::BandwidthLimit;
use crate::uploader::transfer::concurrency::BodyMemory;

/// Buffers of a stream: one is filled, one waits, one is sent. They are counted until their bytes have left the process, as
/// the connection would take more of them before it has sent the first.
pub const BUFFERS: usize = 3;

/// Why reading ended early, if it did.
pub type ReadError = Arc<OnceLock<io::Error>>;

/// The place of a buffer among those of its stream.
struct Place(std::sync::mpsc::Sender<()>);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A range of a recording's bytes, which another thread reads as they are sent, and no faster than the limit.
pub fn stream(
    recording: &Recording,
    range: Range<u64>,
    bandwidth: Option<&BandwidthLimit>,
    memory: BodyMemory,
) -> (Body, ReadError) {
    let (sender, receiver) = mpsc::channel(BUFFERS);
    let (read_error, size) = (ReadError::default(), range.end - range.start);
    let (recording, bandwidth, failed) = (recording.clone(), bandwidth.cloned(), read_error.clone());
    let memory = memory.share();
    tokio::task::spawn_blocking(move || {
        let (give_back, free) = std::sync::mpsc::channel();
        for _ in 0..BUFFERS {
            let _ = give_back.send(());
        }
        let mut position = range.start;
        while position < range.end {
            // Every buffer gives its place back, also those of a body that is not sent to its end.
            let Ok(()) = free.recv() else { return };
            let memory = (Place(give_back.clone()), memory.clone());
            let mut buffer = Buffer::holding(Arc::new(memory));
            let chunk = buffer.next_chunk(range.end - position);
            if let Err(error) = recording.read_exact_at(chunk, position) {
                // The sender sees a body that ends early, and finds the cause here.
                let _ = failed.set(error);
                return;
            }
            position += chunk.len() as u64;
            if let Some(bandwidth) = &bandwidth {
                std::thread::sleep(bandwidth.delay(chunk.len(), Instant::now()));
            }
            if sender.blocking_send(Ok(buffer.into_bytes())).is_err() {
                return;
            }
        }
    });
    (Body::Chunks(receiver, size), read_error)
}
