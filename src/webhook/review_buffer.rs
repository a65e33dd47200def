//! Limits the bytes of reviews that are buffered, for each caller and in all, because any peer of the port may send some.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

/// Largest review, in bytes. etcd stores objects of up to 1.5 MiB, which are larger as JSON.
pub(super) const LARGEST: usize = 2 * 1024 * 1024;
/// Bytes buffered for one caller. The API server is one, whose reviews have some 10 KiB.
const OF_A_CALLER: usize = 8 * 1024 * 1024;
/// Bytes buffered for all callers.
const OF_ALL: usize = 24 * 1024 * 1024;
/// Time for a review to arrive. The API server sends it at once and waits ten seconds for the answer.
const ARRIVAL: Duration = Duration::from_secs(5);

/// The bytes buffered for each caller. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct BufferLimit(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A review as it was sent, with the bytes that it reserves.
#[derive(Debug)]
pub(super) struct BufferedReview {
    pub(super) bytes: Vec<u8>,
    reservation: Reservation,
}

#[derive(Debug)]
struct Reservation {
    limit: BufferLimit,
    caller: IpAddr,
    bytes: usize,
}

/// Why a review is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    /// Too many bytes are buffered already.
    TooMuch,
    /// It did not arrive in time, or was cut off.
    Incomplete,
}

impl BufferLimit {
    /// Reads a review to its end.
    pub(super) async fn read(&self, caller: IpAddr, body: Body) -> Result<BufferedReview, Unread> {
        let mut held = BufferedReview {
            bytes: Vec::new(),
            reservation: Reservation { limit: self.clone(), caller, bytes: 0 },
        };
        let arrival = async {
            let mut body = body;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return Err(Unread::Incomplete) };
                let Ok(data) = frame.into_data() else { continue };
                if held.bytes.len() + data.len() > LARGEST {
                    return Err(Unread::TooLarge);
                }
                held.reservation.grow(data.len())?;
                held.bytes.extend_from_slice(&data);
            }
            Ok(())
        };
        timeout(ARRIVAL, arrival).await.unwrap_or(Err(Unread::Incomplete))?;
        Ok(held)
    }
}

impl Reservation {
    fn grow(&mut self, bytes: usize) -> Result<(), Unread> {
        let mut held = self.limit.0.lock().expect("no thread panics while holding the lock");
        let of_caller = held.get(&self.caller).copied().unwrap_or_default() + bytes;
        if of_caller > OF_A_CALLER || held.values().sum::<usize>() + bytes > OF_ALL {
            return Err(Unread::TooMuch);
        }
        held.insert(self.caller, of_caller);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut held = self.limit.0.lock().expect("no thread panics while holding the lock");
        match held.get_mut(&self.caller) {
            Some(of_caller) if *of_caller > self.bytes => *of_caller -= self.bytes,
            _ => _ = held.remove(&self.caller),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 0, 9));
    const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 2));

    /// A body of so many bytes, which then does not end.
    fn stalled(bytes: usize) -> Body {
        let sent = futures::stream::iter([Ok::<_, std::io::Error>(vec![b' '; bytes])]);
        Body::from_stream(futures::StreamExt::chain(sent, futures::stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_reviews_block_no_other_caller_and_are_dropped_in_time() {
        let limit = BufferLimit::default();
        let flood = async {
            futures::future::join_all((0..50).map(|_| limit.read(STRANGER, stalled(LARGEST - 1)))).await
        };
        let other = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let held: usize = limit.0.lock().unwrap().values().sum();
            (held, limit.read(SERVER, Body::from(vec![b' '; LARGEST])).await)
        };
        let (flooded, (held, other)) = tokio::join!(flood, other);
        assert!(held > OF_A_CALLER / 2 && held <= OF_A_CALLER, "{held}");
        assert_eq!(other.unwrap().bytes.len(), LARGEST);
        let stalled = flooded.iter().filter(|read| matches!(read, Err(Unread::Incomplete))).count();
        let refused = flooded.iter().filter(|read| matches!(read, Err(Unread::TooMuch))).count();
        assert_eq!((stalled, refused), (4, 46));
        assert!(limit.0.lock().unwrap().is_empty());
        let too_large = limit.read(SERVER, Body::from(vec![b' '; LARGEST + 1])).await;
        assert_eq!(too_large.unwrap_err(), Unread::TooLarge);
    }
}
