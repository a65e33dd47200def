use futures::FutureExt as _;

use super::*;
use crate::api::Refusal;

const SLOW_DOWN: u16 = 503;

async fn refuse(permit: &RequestPermit) {
    let refused = Answer::<()>::Refused(Refusal { status: SLOW_DOWN, ..Refusal::default() });
    permit.call(1, &Written::default(), std::future::ready(refused)).await;
}

/// One whose far end bears so many requests.
async fn bearing(limit: usize) -> Rc<Concurrency> {
    let concurrency: Rc<Concurrency> = Rc::default();
    while concurrency.limit() > limit {
        // Once in each round trip.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        refuse(&concurrency.take_request(false)).await;
    }
    concurrency
}

fn admit_all(concurrency: &Rc<Concurrency>, class: SizeClass) -> Vec<Admission> {
    std::iter::from_fn(|| concurrency.has_room(class).then(|| concurrency.admit(class))).collect()
}

#[test]
fn sizes_have_their_classes() {
    let classes = [200_000, 300_000, 32 << 20, 33 << 20].map(SizeClass::of);
    assert_eq!(classes, [SizeClass::Small, SizeClass::Medium, SizeClass::Medium, SizeClass::Large]);
}

#[tokio::test(start_paused = true)]
async fn memory_is_given_back_when_the_body_is_written_and_the_request_with_the_answer() {
    let concurrency: Rc<Concurrency> = Rc::default();
    let mut small = admit_all(&concurrency, SizeClass::Small);
    assert_eq!(small.len(), SMALL);
    assert!(concurrency.has_room(SizeClass::Medium), "it has memory of its own");
    let freed = concurrency.freed();
    tokio::pin!(freed);
    assert!(freed.as_mut().now_or_never().is_none());
    let memory = small[0].memory.take().unwrap();
    let written = memory.written();
    let buffers = [memory.share()];
    let sent = buffers.clone();
    drop(buffers);
    assert!(!concurrency.has_room(SizeClass::Small), "one buffer is still on its way");
    drop(sent);
    assert!(freed.now_or_never().is_some() && written.0.get().is_some());
    assert!(concurrency.has_room(SizeClass::Small), "its request is still in flight");
}

#[tokio::test(start_paused = true)]
async fn neither_kind_takes_what_the_other_waits_for() {
    for limit in [1, 2, 4, 16] {
        let concurrency = bearing(limit).await;
        let mut parts = Vec::new();
        while let Some(permit) = concurrency.request_of_part().now_or_never() {
            parts.push(permit);
        }
        assert_eq!(parts.len(), concurrency.limit(), "nobody else waits");
        assert!(!concurrency.has_room(SizeClass::Small));
        concurrency.is_due(SizeClass::Small);
        let next_part = concurrency.request_of_part();
        tokio::pin!(next_part);
        assert!(next_part.as_mut().now_or_never().is_none());
        while !concurrency.has_room(SizeClass::Small) {
            assert!(parts.pop().is_some(), "of {limit} none is left for small ones");
        }
        let small = concurrency.admit(SizeClass::Small);
        // Now it is a part's turn, whatever else is due.
        concurrency.forget_due();
        concurrency.is_due(SizeClass::Small);
        parts.clear();
        drop(small);
        assert!(next_part.now_or_never().is_some(), "of {limit} none is left for parts");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_waits_goes_when_nothing_else_is_due_any_more() {
    let concurrency = bearing(1).await;
    let part = concurrency.request_of_part().await;
    concurrency.is_due(SizeClass::Small);
    let next = concurrency.request_of_part();
    tokio::pin!(next);
    assert!(next.as_mut().now_or_never().is_none());
    drop(part);
    assert!(next.as_mut().now_or_never().is_none(), "it is the small one's turn");
    concurrency.forget_due();
    concurrency.wake_part();
    assert!(next.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn many_large_recordings_leave_room_for_others() {
    let concurrency: Rc<Concurrency> = Rc::default();
    let large = admit_all(&concurrency, SizeClass::Large);
    assert_eq!(large.len(), IN_PARTS);
    assert!(concurrency.has_room(SizeClass::Small) && concurrency.has_room(SizeClass::Medium));
}
