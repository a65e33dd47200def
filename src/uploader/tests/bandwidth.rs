//! A limit on how fast recordings go, kept whichever way they go.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::fakes::Bench;
use crate::domain::delivery::Sizes;
use crate::uploader::transfer::bandwidth::BandwidthLimit;

const WHOLE: Sizes = Sizes { whole: 1 << 20, part: 1 << 19 };
const IN_PARTS: Sizes = Sizes { whole: 20, part: 10 };

fn limit(bytes_per_second: u64) -> Option<BandwidthLimit> {
    NonZeroU64::new(bytes_per_second).map(BandwidthLimit::new)
}

#[tokio::test(start_paused = true)]
async fn small_recordings_wait_for_as_long_as_those_before_them_take() {
    Bench::run(async |mut bench| {
        (bench.sizes, bench.bandwidth) = (WHOLE, limit(1));
        let (began, clock) = (Instant::now(), tokio::time::Instant::now());
        let content = "a hundred bytes ".repeat(7)[..100].to_owned();
        let names = ["a.wav", "b.wav", "c.wav"];
        for name in names {
            bench.record(name, &content);
        }
        bench.start();
        for name in names {
            bench.until_delivered(name, &content).await;
        }
        // The limit goes by real time; what is waited for passes at once.
        let waited = clock.elapsed() + began.elapsed();
        assert!(waited >= Duration::from_secs(200), "{waited:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_read_while_it_is_sent_is_read_no_faster() {
    let chunks = "0123456789abcdef".repeat(20_000);
    for (sizes, content, bytes_per_second, least) in [
        // All but the last chunk of 128 KiB.
        (WHOLE, chunks.as_str(), 1 << 20, Duration::from_millis(250)),
        // All but the last part, which may be any.
        (IN_PARTS, "0123456789abcdefghijABCDEFGHIJ!", 100, Duration::from_millis(210)),
    ] {
        Bench::run(async |mut bench| {
            (bench.sizes, bench.bandwidth) = (sizes, limit(bytes_per_second));
            let began = Instant::now();
            bench.record("a.wav", content);
            bench.start();
            bench.until_delivered("a.wav", content).await;
            let took = began.elapsed();
            assert!(took >= least, "{} bytes took {took:?}", content.len());
        })
        .await;
    }
}
