//! Memory into which files are read, used again and again: what is allocated is what is read at one time.

use std::any::Any;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// Size of one.
pub const BUFFER_BYTES: usize = 256 * 1024;
/// How much of a long recording is read at once: half of one, as more costs memory and gains nothing.
const CHUNK_BYTES: u64 = BUFFER_BYTES as u64 / 2;
/// How many are kept for the next that is wanted.
const KEPT: usize = 16;

static FREE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer of [`BUFFER_BYTES`], of which the first `used` hold something.
#[derive(Debug)]
pub struct Buffer {
    /// Never empty before it is dropped.
    bytes: Box<[u8]>,
    used: usize,
    /// Dropped with it.
    held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Buffer {
    /// Holds whatever was in it before.
    pub fn new() -> Self {
        let free = FREE.lock().unwrap().pop();
        Buffer { bytes: free.unwrap_or_else(|| vec![0; BUFFER_BYTES].into()), used: 0, held: None }
    }

    /// One that holds something until nobody holds its bytes.
    pub fn holding(held: Arc<dyn Any + Send + Sync>) -> Self {
        let mut buffer = Buffer::new();
        buffer.held = Some(held);
        buffer
    }

    /// Room for `wanted` bytes, or as many as go in.
    pub fn first(&mut self, wanted: u64) -> &mut [u8] {
        self.used = usize::try_from(wanted).map_or(BUFFER_BYTES, |wanted| wanted.min(BUFFER_BYTES));
        &mut self.bytes[..self.used]
    }

    /// Room for the next chunk of a long recording of which these bytes are left.
    pub fn next_chunk(&mut self, left: u64) -> &mut [u8] {
        self.first(left.min(CHUNK_BYTES))
    }

    /// What is in it. The buffer is free again when the last clone is dropped.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap();
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.bytes));
        }
        drop(free);
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nobody_holds_its_bytes() {
        let mut buffer = Buffer::new();
        buffer.first(3).copy_from_slice(b"abc");
        let place = buffer.bytes.as_ptr();
        let bytes = buffer.into_bytes();
        let end = bytes.slice(1..);
        assert_ne!(Buffer::new().bytes.as_ptr(), place);
        drop(bytes);
        assert_eq!(end, "bc");
        drop(end);
        assert!(FREE.lock().unwrap().iter().any(|free| free.as_ptr() == place));
    }

    #[test]
    fn more_than_fits_is_as_much_as_fits() {
        assert_eq!(Buffer::new().first(u64::MAX).len(), BUFFER_BYTES);
    }
}
