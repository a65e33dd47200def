//! Every kind of fault at every call, alone and with others. Whatever comes, each recording is at every instant in the
//! spool or, byte for byte, in the bucket, and in the end in the bucket alone, once.

use std::collections::BTreeMap;
use std::fs;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::fakes::{Bench, Fault, Object};
use crate::domain::delivery::Sizes;

const KINDS: [Fault; 24] = [
    Fault::RequestLost,
    Fault::AnswerLost,
    Fault::NoChecksum,
    Fault::WrongChecksum,
    Fault::Lie,
    Fault::Refused(503, "SlowDown"),
    Fault::Refused(500, "InternalError"),
    Fault::Refused(200, "InternalError"),
    Fault::Refused(429, ""),
    Fault::Refused(400, "ExpiredToken"),
    Fault::Refused(400, "RequestTimeout"),
    Fault::Refused(403, "RequestTimeTooSkewed"),
    Fault::Refused(403, "AccessDenied"),
    Fault::Refused(403, "InvalidAccessKeyId"),
    Fault::Refused(400, "BadDigest"),
    Fault::Refused(400, "InvalidPart"),
    Fault::Refused(409, "ConditionalRequestConflict"),
    Fault::Refused(404, "NoSuchUpload"),
    Fault::Refused(404, "NoSuchBucket"),
    Fault::Refused(301, "PermanentRedirect"),
    Fault::RefusedFor(60, 403, "AccessDenied"),
    Fault::RefusedFor(600, 400, "KMS.DisabledException"),
    Fault::NoSessionFor(120),
    Fault::NoBrokerFor(600),
];

/// How a recording goes: from one buffer, by a stream, in parts.
#[derive(Clone, Copy, Debug)]
enum Way {
    Small,
    Streamed,
    InParts,
}

impl Way {
    fn sizes(self) -> Sizes {
        match self {
            Way::Small | Way::Streamed => Sizes { whole: 1 << 20, part: 1 << 19 },
            Way::InParts => Sizes { whole: 20, part: 10 },
        }
    }

    fn content(self) -> String {
        match self {
            Way::Small => "sound".to_owned(),
            Way::Streamed => "0123456789abcdef".repeat(20_000),
            Way::InParts => "0123456789abcdefghijABCDEFGHIJ!".to_owned(),
        }
    }
}

/// One recording and its companion, and these faults of these calls. How many of them came to pass.
async fn trial(way: Way, plan: BTreeMap<usize, Fault>) -> usize {
    Bench::run(async |mut bench| {
        let (content, planned) = (way.content(), plan.len());
        let label = format!("{way:?} {plan:?}");
        let of_session = |fault: &Fault| matches!(fault, Fault::NoSessionFor(_) | Fault::NoBrokerFor(_));
        let all_of_session = plan.values().all(of_session);
        bench.sizes = way.sizes();
        bench.world.borrow_mut().plan = plan;
        let recordings = [("d/a.wav", content.as_str()), ("d/a.json", "{}")];
        bench.record(recordings[1].0, recordings[1].1);
        bench.record(recordings[0].0, recordings[0].1);
        bench.start();
        let is_safe = |bench: &Bench| {
            recordings.iter().all(|(name, content)| {
                // Seen before the bucket is: what leaves the one is in the other already.
                let moving = format!(".recording-uploader/moving/{}", name.replace('/', "%2F"));
                let holds =
                    |path: &str| fs::read_to_string(bench.path(path)).is_ok_and(|read| read == *content);
                let spooled = holds(name) || holds(&moving);
                spooled || bench.object(&format!("calls/{name}")).as_deref() == Some(content)
            })
        };
        bench
            .until(&label, |bench| {
                assert!(is_safe(bench), "a recording is nowhere: {label}");
                recordings.iter().all(|(name, _)| {
                    !bench.path(name).exists() && bench.object(&format!("calls/{name}")).is_some()
                })
            })
            .await;
        assert!(bench.drains().await, "{label}");
        let outside = bench.world.borrow();
        let expected: BTreeMap<_, _> = recordings
            .iter()
            .map(|(name, content)| {
                (format!("calls/{name}"), Object { bytes: content.as_bytes().to_vec(), has_checksum: true })
            })
            .collect();
        assert!(outside.objects == expected, "{label}: {:?}", outside.objects.keys());
        let injected = planned - outside.plan.len();
        assert!(!all_of_session || injected == 0 || outside.turned_away > 0, "nobody asked: {label}");
        injected
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn every_fault_at_every_call_loses_nothing_and_makes_nothing_twice() {
    let long = std::env::var_os("RECORDINGS_TEST_LONG").is_some();
    let mut injected = 0;
    for (way, calls) in [(Way::Small, 3), (Way::Streamed, 3), (Way::InParts, 9)] {
        for call in 0..calls {
            for kind in &KINDS {
                injected += trial(way, BTreeMap::from([(call, kind.clone())])).await;
            }
        }
    }
    let alone = injected;
    // Several in one delivery, at random; the seeds are the same each time.
    for seed in 0..if long { 1400 } else { 30 } {
        let mut random = StdRng::seed_from_u64(seed);
        let way = [Way::Small, Way::Streamed, Way::InParts, Way::InParts][random.random_range(0..4)];
        let faults = random.random_range(2..8);
        let plan = (0..faults)
            .map(|_| (random.random_range(0..16), KINDS[random.random_range(0..KINDS.len())].clone()))
            .collect();
        injected += trial(way, plan).await;
    }
    println!("{injected} faults of S3 injected, {alone} of them alone");
    assert!(injected > if long { 2000 } else { 250 }, "{injected}");
}
