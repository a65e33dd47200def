//! How much of reviews is held at a time, in all and of one caller: whoever reaches the port may send some.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

/// Largest review, in bytes. etcd holds objects of 1.5 MiB, which are larger as JSON.
pub(super) const LARGEST: usize = 2 * 1024 * 1024;
/// Bytes of one caller. The API server is one, whose reviews have some 10 KiB.
const OF_A_CALLER: usize = 8 * 1024 * 1024;
/// Bytes of all of them.
const OF_ALL: usize = 24 * 1024 * 1024;
/// Time for a review to arrive. The API server sends it at once, and waits for ten seconds in all.
const ARRIVAL: Duration = Duration::from_secs(5);

/// What is held now.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A review, as it was sent, and its share of the budget.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    share: Share,
}

#[derive(Debug)]
struct Share {
    budget: Budget,
    caller: IpAddr,
    bytes: usize,
}

/// Why a review is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It has more than 2 MiB.
    TooLarge,
    /// Too much is held already.
    TooMuch,
    /// It did not arrive in time, or broke off.
    Incomplete,
}

impl Budget {
    /// Reads a review to its end.
    pub(super) async fn read(&self, caller: IpAddr, body: Body) -> Result<Held, Unread> {
        let mut held = Held { bytes: Vec::new(), share: Share { budget: self.clone(), caller, bytes: 0 } };
        let arrival = async {
            let mut body = body;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return Err(Unread::Incomplete) };
                let Ok(data) = frame.into_data() else { continue };
                if held.bytes.len() + data.len() > LARGEST {
                    return Err(Unread::TooLarge);
                }
                held.share.grow(data.len())?;
                held.bytes.extend_from_slice(&data);
            }
            Ok(())
        };
        timeout(ARRIVAL, arrival).await.unwrap_or(Err(Unread::Incomplete))?;
        Ok(held)
    }
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), Unread> {
        let mut held = self.budget.0.lock().expect("nobody panics while holding it");
        let of_caller = held.get(&self.caller).copied().unwrap_or_default() + bytes;
        if of_caller > OF_A_CALLER || held.values().sum::<usize>() + bytes > OF_ALL {
            return Err(Unread::TooMuch);
        }
        held.insert(self.caller, of_caller);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.budget.0.lock().expect("nobody panics while holding it");
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
        let budget = Budget::default();
        let flood = async {
            futures::future::join_all((0..50).map(|_| budget.read(STRANGER, stalled(LARGEST - 1)))).await
        };
        let other = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let held: usize = budget.0.lock().unwrap().values().sum();
            (held, budget.read(SERVER, Body::from(vec![b' '; LARGEST])).await)
        };
        let (flooded, (held, other)) = tokio::join!(flood, other);
        assert!(held > OF_A_CALLER / 2 && held <= OF_A_CALLER, "{held}");
        assert_eq!(other.unwrap().bytes.len(), LARGEST);
        let stalled = flooded.iter().filter(|read| matches!(read, Err(Unread::Incomplete))).count();
        let refused = flooded.iter().filter(|read| matches!(read, Err(Unread::TooMuch))).count();
        assert_eq!((stalled, refused), (4, 46));
        assert!(budget.0.lock().unwrap().is_empty());
        let too_large = budget.read(SERVER, Body::from(vec![b' '; LARGEST + 1])).await;
        assert_eq!(too_large.unwrap_err(), Unread::TooLarge);
    }
}
