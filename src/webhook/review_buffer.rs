//! Limits the memory for reviews. Large ones have a pool of their own, so that no number of them delays the small ones, which
//! nearly all are.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::weight::weigh;

/// Largest review, in bytes. etcd stores objects of up to 1.5 MiB, which are larger as JSON.
pub(super) const LARGEST: usize = 2 * 1024 * 1024;
/// Largest review that takes from the pool of small ones, in bytes. Most have some 10 KiB.
const SMALL: usize = 64 * 1024;
/// Most KiB that such a review takes when it is decoded. A pod of a service mesh takes 2 MiB.
const LIGHT: usize = 4 * 1024;
/// Time for a review to arrive. The API server sends it at once and waits ten seconds for the answer.
const ARRIVAL: Duration = Duration::from_secs(5);
/// The same for a small one, which needs few packets.
const ARRIVAL_OF_SMALL: Duration = Duration::from_secs(2);
/// Time for other reviews to arrive first, and for others to be decoded first.
const QUEUE: Duration = Duration::from_secs(4);

/// The memory for reviews. With all of it in use the container, which may use 256 MiB, has half of that left.
#[derive(Debug)]
pub(super) struct ReviewMemory {
    small: MemoryPool,
    large: MemoryPool,
}

#[derive(Debug)]
struct MemoryPool {
    /// KiB of reviews that have arrived, whole or in part.
    arrived: Semaphore,
    /// KiB of reviews that are being decoded.
    decoding: Semaphore,
    decoding_kib: usize,
}

/// Why a review is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    /// Its lists would fill the memory when they are decoded.
    TooManyEntries,
    /// Too much is read already.
    TooMuch,
    /// It did not arrive in time, or was cut off.
    Incomplete,
}

impl Default for ReviewMemory {
    fn default() -> Self {
        let pool = |arrived_mib: usize, decoding_mib: usize| MemoryPool {
            arrived: Semaphore::new(arrived_mib * 1024),
            decoding: Semaphore::new(decoding_mib * 1024),
            decoding_kib: decoding_mib * 1024,
        };
        ReviewMemory { small: pool(8, 32), large: pool(16, 72) }
    }
}

impl ReviewMemory {
    /// Reads a review to its end, and decodes it. What that takes is released when this returns.
    pub(super) async fn read<T>(
        &self,
        headers: &HeaderMap,
        body: Body,
        decode: impl AsyncFnOnce(Vec<u8>) -> T,
    ) -> Result<T, Unread> {
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
        let is_small = length.is_some_and(|length| length <= SMALL);
        let (mut pool, time) =
            if is_small { (&self.small, ARRIVAL_OF_SMALL) } else { (&self.large, ARRIVAL) };
        let expected = length.unwrap_or(LARGEST);
        if expected > LARGEST {
            return Err(Unread::TooLarge);
        }
        // All of it is booked before any of it is read, so that no two reviews wait for what the other has.
        let arrived = pool.arrived.acquire_many(expected.div_ceil(1024) as u32);
        let arrived = timeout(QUEUE, arrived).await.map_err(|_| Unread::TooMuch)?;
        let mut _arrived = arrived.expect("it is never closed");
        let review = timeout(time, arrive(body, expected)).await.unwrap_or(Err(Unread::Incomplete))?;
        let decoded_kib = weigh(&review).div_ceil(1024);
        if is_small && decoded_kib > LIGHT {
            pool = &self.large;
            let moved = pool.arrived.try_acquire_many(review.len().div_ceil(1024) as u32);
            _arrived = moved.map_err(|_| Unread::TooMuch)?;
        }
        if decoded_kib > pool.decoding_kib {
            return Err(Unread::TooManyEntries);
        }
        let decoding = timeout(QUEUE, pool.decoding.acquire_many(decoded_kib as u32)).await;
        let _permit = decoding.map_err(|_| Unread::TooMuch)?.expect("it is never closed");
        Ok(decode(review).await)
    }
}

async fn arrive(mut body: Body, expected: usize) -> Result<Vec<u8>, Unread> {
    let mut review = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Unread::Incomplete) };
        let Ok(data) = frame.into_data() else { continue };
        if review.len() + data.len() > expected {
            return Err(Unread::TooLarge);
        }
        review.extend_from_slice(&data);
    }
    Ok(review)
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    fn of_length(bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, bytes.into())])
    }

    /// A body of so many bytes, which then does not end.
    fn stalled(bytes: usize) -> Body {
        let sent = futures::stream::iter([Ok::<_, std::io::Error>(vec![b' '; bytes])]);
        Body::from_stream(futures::StreamExt::chain(sent, futures::stream::pending()))
    }

    async fn length(review: Vec<u8>) -> usize {
        review.len()
    }

    #[tokio::test(start_paused = true)]
    async fn large_reviews_never_fill_the_lane_of_small_ones_and_are_dropped_in_time() {
        let memory = ReviewMemory::default();
        let of_any_length = HeaderMap::new();
        let flood = join_all((0..50).map(|_| memory.read(&of_any_length, stalled(LARGEST - 1), length)));
        let small = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            memory.read(&of_length(SMALL), Body::from(vec![b' '; SMALL]), length).await
        };
        let (flooded, small) = tokio::join!(flood, small);
        assert_eq!(small, Ok(SMALL));
        let count = |why| flooded.iter().filter(|read| **read == Err(why)).count();
        assert_eq!((count(Unread::Incomplete), count(Unread::TooMuch)), (8, 42));
        let large = Body::from(vec![b' '; LARGEST]);
        assert_eq!(memory.read(&of_length(LARGEST), large, length).await, Ok(LARGEST));
        let too_large = Body::from(vec![b' '; LARGEST + 1]);
        assert_eq!(memory.read(&HeaderMap::new(), too_large, length).await, Err(Unread::TooLarge));
        assert_eq!(memory.large.arrived.available_permits(), 16 * 1024, "all is released");
    }

    /// A review that takes more than half of the pool's memory.
    fn heavy() -> Vec<u8> {
        format!("[{}0]", "0,".repeat(80_000)).into_bytes()
    }

    #[tokio::test(start_paused = true)]
    async fn large_reviews_are_decoded_one_after_the_other_and_small_ones_beside_them() {
        let memory = ReviewMemory::default();
        let slow = async |review: Vec<u8>| {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            review.len()
        };
        let declared = of_length(LARGEST);
        let large = join_all((0..4).map(|_| memory.read(&declared, Body::from(heavy()), slow)));
        let began = tokio::time::Instant::now();
        let small = async {
            let small = Body::from(vec![b' '; 1024]);
            (memory.read(&of_length(1024), small, length).await, began.elapsed())
        };
        let (large, small) = tokio::join!(large, small);
        assert_eq!(small, (Ok(1024), Duration::ZERO));
        let count = |read| large.iter().filter(|large| **large == read).count();
        assert_eq!((count(Ok(heavy().len())), count(Err(Unread::TooMuch))), (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn large_reviews_wait_for_room_instead_of_being_refused_at_once() {
        let memory = ReviewMemory::default();
        let decode = async |review: Vec<u8>| {
            tokio::time::sleep(Duration::from_millis(50)).await;
            review.len()
        };
        let (large, other) = (1400 * 1024, 100 * 1024);
        let (many, one) = (of_length(large), of_length(other));
        let many = join_all((0..24).map(|_| memory.read(&many, Body::from(vec![b' '; large]), decode)));
        let (many, one) = tokio::join!(many, memory.read(&one, Body::from(vec![b' '; other]), decode));
        assert_eq!((many, one), (vec![Ok(large); 24], Ok(other)));
    }

    #[tokio::test(start_paused = true)]
    async fn reviews_of_few_bytes_and_many_entries_never_fill_the_lane_of_small_ones() {
        let memory = ReviewMemory::default();
        let text = format!("[{}0]", "{},".repeat(5_000));
        let stuck = async |_| std::future::pending::<()>().await;
        let declared = of_length(SMALL);
        let flood = join_all((0..400).map(|_| memory.read(&declared, Body::from(text.clone()), stuck)));
        let small = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            memory.read(&of_length(SMALL), Body::from(vec![b' '; SMALL]), length).await
        };
        let began = tokio::time::Instant::now();
        let small = async { (small.await, began.elapsed()) };
        tokio::select! {
            _ = flood => unreachable!("one of them is decoded for ever"),
            small = small => assert_eq!(small, (Ok(SMALL), Duration::from_secs(1))),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_of_few_bytes_is_booked_with_what_its_lists_take() {
        let memory = ReviewMemory::default();
        for (entries, large_is_used, expected) in
            [(10, false, Ok(())), (2_000, true, Ok(())), (20_000, false, Err(Unread::TooManyEntries))]
        {
            let text = format!("[{}0]", "{},".repeat(entries));
            let decode = async |_| memory.large.decoding.available_permits() < 72 * 1024;
            let read = memory.read(&of_length(text.len()), Body::from(text), decode).await;
            assert_eq!(read, expected.map(|()| large_is_used), "{entries} entries");
        }
    }
}
