//! How much is on its way at a time: as much as goes into a fixed amount of memory, half of which is for recordings
//! that fit into one buffer, so that large ones never keep these waiting.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::uploader::spool::buffers::BUFFER_BYTES;

/// Memory for the bytes of recordings.
const MEMORY: usize = 8 << 20;
/// What a stream takes: a buffer that is filled, one that waits, and one that is sent.
const STREAM_BYTES: usize = 3 * BUFFER_BYTES;
/// Streams at a time. Those who wait for one are served in turn, so that recordings in parts share them.
pub const STREAMS: usize = MEMORY / 2 / STREAM_BYTES;
/// Small recordings at a time.
const SMALL: usize = MEMORY / 2 / BUFFER_BYTES;

/// By how a recording is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// From one buffer.
    Small,
    /// By streams.
    Large,
}

impl Lane {
    /// Of a recording of so many bytes.
    pub fn of(size: u64) -> Self {
        if size <= BUFFER_BYTES as u64 { Lane::Small } else { Lane::Large }
    }
}

/// Who is on his way.
#[derive(Debug, Default)]
pub struct Lanes {
    small: usize,
    large: usize,
}

impl Lanes {
    /// Whether another recording may go.
    pub fn has_room(&self, lane: Lane) -> bool {
        match lane {
            Lane::Small => self.small < SMALL,
            Lane::Large => self.large < STREAMS,
        }
    }

    /// One goes.
    pub fn enter(&mut self, lane: Lane) {
        *self.count(lane) += 1;
    }

    /// One is through.
    pub fn leave(&mut self, lane: Lane) {
        *self.count(lane) -= 1;
    }

    fn count(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Small => &mut self.small,
            Lane::Large => &mut self.large,
        }
    }
}

/// The streams, for whoever sends.
#[derive(Debug)]
pub struct Streams(Semaphore);

impl Default for Streams {
    fn default() -> Self {
        Streams(Semaphore::new(STREAMS))
    }
}

impl Streams {
    /// Waits for one.
    pub async fn one(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("it is never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_recordings_leave_the_small_ones_their_room() {
        let mut lanes = Lanes::default();
        while lanes.has_room(Lane::Large) {
            lanes.enter(Lane::Large);
        }
        assert!(lanes.has_room(Lane::Small));
        while lanes.has_room(Lane::Small) {
            lanes.enter(Lane::Small);
        }
        lanes.leave(Lane::Large);
        assert!(lanes.has_room(Lane::Large) && !lanes.has_room(Lane::Small));
        let memory = lanes.small * BUFFER_BYTES + STREAMS * STREAM_BYTES;
        assert!(memory <= MEMORY, "{memory}");
        assert_eq!((Lane::of(200_000), Lane::of(300_000)), (Lane::Small, Lane::Large));
    }
}
