use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An S3 and the way to it, with a client that always has one more recording.
struct FarEnd {
    round_trip: Duration,
    /// Requests that it can answer in a second; others queue.
    capacity: f64,
    /// Requests in a second above which it answers SlowDown.
    slow_down_above: f64,
    /// Of so many requests one has no answer within twenty seconds.
    one_is_lost_of: u64,
    busy_until: Duration,
    tokens: (f64, Duration),
    asked: u64,
    now: Duration,
    in_flight: BinaryHeap<Reverse<(Duration, u64, Duration)>>,
    replies: Vec<Reply>,
}

#[derive(Debug)]
struct Seen {
    per_second: f64,
    refused_share: f64,
    least: usize,
    most: usize,
}

impl FarEnd {
    fn new(round_trip: Duration) -> Self {
        FarEnd {
            round_trip,
            capacity: f64::INFINITY,
            slow_down_above: f64::INFINITY,
            one_is_lost_of: u64::MAX,
            busy_until: Duration::ZERO,
            tokens: (f64::INFINITY, Duration::ZERO),
            asked: 0,
            now: Duration::ZERO,
            in_flight: BinaryHeap::new(),
            replies: Vec::new(),
        }
    }

    fn send(&mut self) {
        let sent = self.now;
        self.asked += 1;
        let (tokens, at) = self.tokens;
        let per_second = self.slow_down_above.min(1e9);
        // On the way back up to a fifth more, in no order.
        let late = self.round_trip.mul_f64((self.asked * 7919 % 1000) as f64 / 5000.0);
        let tokens = (tokens + (sent - at).as_secs_f64() * per_second).min((per_second / 10.0).max(1.0));
        let (done, reply) = if self.asked.is_multiple_of(self.one_is_lost_of) {
            (sent + seconds(20), Reply::TimedOut)
        } else if tokens < 1.0 {
            (sent + self.round_trip + late, Reply::SlowDown)
        } else {
            let begun = self.busy_until.max(sent + self.round_trip);
            self.busy_until = begun + Duration::from_secs_f64(1.0 / self.capacity);
            let done = self.busy_until + late;
            (done, Reply::Granted { bytes: 100_000, waited: done - sent })
        };
        self.tokens = (if reply == Reply::SlowDown { tokens } else { tokens - 1.0 }, sent);
        self.in_flight.push(Reverse((done, self.replies.len() as u64, sent)));
        self.replies.push(reply);
    }

    /// Lets so much time pass, and says what was seen in it.
    fn run(&mut self, limit: &mut RequestLimit, time: Duration) -> Seen {
        let (began, ends) = (self.now, self.now + time);
        let (mut granted, mut refused, mut least, mut most) = (0, 0, usize::MAX, 0);
        while self.now < ends {
            while self.in_flight.len() < limit.get() {
                self.send();
            }
            let Some(Reverse((done, number, sent))) = self.in_flight.pop() else { break };
            self.now = done;
            let reply = self.replies[number as usize];
            match reply {
                Reply::Granted { .. } => granted += 1,
                _ => refused += 1,
            }
            limit.note(reply, sent, self.in_flight.len() + 1, done);
            (least, most) = (least.min(limit.get()), most.max(limit.get()));
        }
        let took = (self.now - began).as_secs_f64();
        let (granted, refused) = (f64::from(granted), f64::from(refused));
        Seen { per_second: granted / took, refused_share: refused / (granted + refused), least, most }
    }
}

#[test]
fn it_grows_until_the_far_end_is_busy_and_not_much_further() {
    for (round_trip, capacity) in [(1, 2000.0), (10, 500.0), (60, 1000.0), (150, 100.0), (150, 1000.0)] {
        let mut far_end = FarEnd { capacity, ..FarEnd::new(ms(round_trip)) };
        let mut limit = RequestLimit::default();
        let begin = far_end.run(&mut limit, seconds(3));
        assert!(begin.per_second > 0.7 * capacity, "{round_trip} ms: {begin:?}");
        far_end.run(&mut limit, seconds(20));
        let seen = far_end.run(&mut limit, seconds(300));
        let product = capacity * ms(round_trip).as_secs_f64();
        assert!(seen.per_second > 0.97 * capacity, "{round_trip} ms: {seen:?}");
        let most = (product + 4.0 * QUEUE) as usize;
        assert!(seen.most <= most.max(64), "{round_trip} ms, product {product}: {seen:?}");
    }
}

#[test]
fn it_is_bounded_where_nothing_else_bounds_it() {
    let mut limit = RequestLimit::default();
    let mut far_end = FarEnd::new(ms(150));
    let seen = far_end.run(&mut limit, seconds(2));
    assert_eq!(seen.most, MOST_REQUESTS, "soon");
    let seen = far_end.run(&mut limit, seconds(120));
    assert_eq!(seen.most, MOST_REQUESTS);
    assert!(seen.per_second > 0.9 * MOST_REQUESTS as f64 / 0.165, "{seen:?}");
}

#[test]
fn after_the_route_became_longer_or_shorter_it_is_as_fast_as_before() {
    for (before, after) in [(10, 150), (150, 10)] {
        let mut far_end = FarEnd { capacity: 1000.0, ..FarEnd::new(ms(before)) };
        let mut limit = RequestLimit::default();
        far_end.run(&mut limit, seconds(30));
        far_end.round_trip = ms(after);
        let meanwhile = far_end.run(&mut limit, seconds(60));
        assert!(meanwhile.least >= 8, "{before} to {after} ms: {meanwhile:?}");
        let seen = far_end.run(&mut limit, seconds(30));
        assert!(seen.per_second > 950.0, "{before} to {after} ms: {seen:?}");
    }
}

#[test]
fn under_slow_down_few_are_refused_and_afterwards_it_recovers() {
    for (round_trip, slow_down_above) in [(10, 200.0), (50, 100.0), (60, 1000.0), (150, 500.0), (150, 20.0)] {
        let mut far_end = FarEnd { slow_down_above, ..FarEnd::new(ms(round_trip)) };
        let mut limit = RequestLimit::default();
        far_end.run(&mut limit, seconds(10));
        let seen = far_end.run(&mut limit, seconds(60));
        let case = format!("{round_trip} ms, {slow_down_above} a second: {seen:?}");
        assert!(seen.refused_share < 0.15, "{case}");
        assert!(seen.per_second > 0.6 * slow_down_above, "{case}");
        far_end.slow_down_above = f64::INFINITY;
        let seen = far_end.run(&mut limit, seconds(15));
        assert!(seen.most > 128, "{case}, then {seen:?}");
    }
}

#[test]
fn one_recording_that_gets_no_answer_leaves_the_others_their_speed() {
    let mut speeds = Vec::new();
    for one_is_lost_of in [u64::MAX, 2000] {
        let mut far_end = FarEnd { capacity: 1000.0, one_is_lost_of, ..FarEnd::new(ms(60)) };
        let mut limit = RequestLimit::default();
        far_end.run(&mut limit, seconds(10));
        speeds.push(far_end.run(&mut limit, seconds(60)).per_second);
    }
    assert!(speeds[1] > 0.9 * speeds[0], "{speeds:?}");
}

#[test]
fn without_any_answer_it_shrinks_to_one_and_comes_back() {
    let mut far_end = FarEnd { one_is_lost_of: 1, ..FarEnd::new(ms(60)) };
    let mut limit = RequestLimit::default();
    far_end.run(&mut limit, seconds(240));
    assert_eq!(limit.get(), 1);
    far_end.one_is_lost_of = u64::MAX;
    far_end.run(&mut limit, seconds(30));
    assert!(limit.get() > 128, "{limit:?}");
}

#[test]
fn what_is_not_used_does_not_grow() {
    let mut limit = RequestLimit::default();
    for second in 0..100 {
        let (sent, now) = (seconds(second), seconds(second) + ms(60));
        limit.note(Reply::Granted { bytes: 1, waited: ms(60) }, sent, 3, now);
    }
    assert_eq!(limit.get(), FIRST_REQUESTS as usize);
}

#[test]
fn the_answer_to_a_large_body_is_not_compared_with_that_to_a_small_one() {
    let mut limit = RequestLimit::default();
    let mut now = Duration::ZERO;
    for bytes in [10_000, 8 << 20].repeat(20) {
        let waited = if bytes == 10_000 { ms(60) } else { ms(300) };
        let sent = now;
        now += waited;
        (0..64).for_each(|_| limit.note(Reply::Granted { bytes, waited }, sent, 64, now));
    }
    assert!(limit.get() >= 128, "{limit:?}");
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let granted = (0_u64..1 << 40, 0_u64..100_000)
        .prop_map(|(bytes, waited)| Reply::Granted { bytes, waited: ms(waited) });
    prop_oneof![granted, Just(Reply::SlowDown), Just(Reply::TimedOut), Just(Reply::Other)]
}

proptest! {
    #[test]
    fn it_stays_within_its_bounds(steps in prop::collection::vec((any_reply(), 0_usize..1000, 0_u64..50_000, 0_u64..5_000), 0..300)) {
        let (mut limit, mut now) = (RequestLimit::default(), Duration::ZERO);
        for (reply, in_flight, ago, pause) in steps {
            now += ms(pause);
            limit.note(reply, now.saturating_sub(ms(ago)), in_flight, now);
            prop_assert!((1..=MOST_REQUESTS).contains(&limit.get()));
        }
    }
}
