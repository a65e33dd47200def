//! How many recordings are on their way at a time: as many as fit into a fixed amount of memory, half of which is for
//! recordings that fit into one buffer, so that large ones never keep these waiting.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::uploader::spool::buffers::BUFFER_BYTES;

/// Memory for the bytes of recordings.
const MEMORY: usize = 8 << 20;
/// Memory of a stream: a buffer that is filled, one that waits, and one that is sent.
const STREAM_BYTES: usize = 3 * BUFFER_BYTES;
/// Streams at a time. Recordings in parts share them: those that wait for one get it in turn.
pub const STREAMS: usize = MEMORY / 2 / STREAM_BYTES;
/// Small recordings at a time.
const SMALL: usize = MEMORY / 2 / BUFFER_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeClass {
    /// Sent from one buffer.
    Small,
    /// Sent by streams.
    Large,
}

impl SizeClass {
    /// The class of a recording of this size, in bytes.
    pub fn of(size: u64) -> Self {
        if size <= BUFFER_BYTES as u64 { SizeClass::Small } else { SizeClass::Large }
    }
}

/// The recordings on their way.
#[derive(Debug, Default)]
pub struct Concurrency {
    small: usize,
    large: usize,
}

impl Concurrency {
    /// Whether another recording may go.
    pub fn has_room(&self, class: SizeClass) -> bool {
        match class {
            SizeClass::Small => self.small < SMALL,
            SizeClass::Large => self.large < STREAMS,
        }
    }

    pub fn acquire(&mut self, class: SizeClass) {
        *self.count(class) += 1;
    }

    pub fn release(&mut self, class: SizeClass) {
        *self.count(class) -= 1;
    }

    fn count(&mut self, class: SizeClass) -> &mut usize {
        match class {
            SizeClass::Small => &mut self.small,
            SizeClass::Large => &mut self.large,
        }
    }
}

#[derive(Debug)]
pub struct StreamLimit(Semaphore);

impl Default for StreamLimit {
    fn default() -> Self {
        StreamLimit(Semaphore::new(STREAMS))
    }
}

impl StreamLimit {
    /// Waits for a permit to send one stream.
    pub async fn acquire(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("the semaphore is never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_recordings_leave_the_small_ones_their_room() {
        let mut concurrency = Concurrency::default();
        while concurrency.has_room(SizeClass::Large) {
            concurrency.acquire(SizeClass::Large);
        }
        assert!(concurrency.has_room(SizeClass::Small));
        while concurrency.has_room(SizeClass::Small) {
            concurrency.acquire(SizeClass::Small);
        }
        concurrency.release(SizeClass::Large);
        assert!(concurrency.has_room(SizeClass::Large) && !concurrency.has_room(SizeClass::Small));
        let memory = concurrency.small * BUFFER_BYTES + STREAMS * STREAM_BYTES;
        assert!(memory <= MEMORY, "{memory}");
        assert_eq!((SizeClass::of(200_000), SizeClass::of(300_000)), (SizeClass::Small, SizeClass::Large));
    }
}
