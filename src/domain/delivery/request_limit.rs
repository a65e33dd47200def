//! How many requests to S3 may be in flight: as many as the far end bears.
//!
//! The gradient algorithm of Netflix's concurrency-limits (`GradientLimit`,
//! <https://github.com/Netflix/concurrency-limits>), which follows TCP Vegas (Brakmo and Peterson, 1995): once a round
//! trip, the limit is multiplied by the shortest time to an answer over the present one, and the requests that may queue
//! at the far end are added. The beginning, and what follows refusals, are TCP's: slow start and halving (RFC 5681), a
//! cut by three tenths later (RFC 9438), and additive increase. The shortest time is measured again now and then with
//! half of the requests, as BBR does (Cardwell and others, 2016), since a route may have become longer.
//!
//! Every moment is the time since one that the caller chose.

use std::time::Duration;

/// Most requests in flight: each holds an open file and a connection, of which a process may have 1,024 by default.
pub const MOST_REQUESTS: usize = 256;
/// Requests in flight before S3 has answered any.
const FIRST_REQUESTS: f64 = 32.0;
/// Requests that may queue at the far end, so that it is never idle.
const QUEUE: f64 = 16.0;
/// The largest cut because of slower answers, each round trip.
const STEEPEST: f64 = 0.5;
/// What is left of the limit after a refusal, in slow start and later.
const AFTER_FIRST_REFUSAL: f64 = 0.5;
const AFTER_REFUSAL: f64 = 0.7;
/// For so long after a refusal the limit grows by steps of one, or of this share.
const CAREFUL: Duration = Duration::from_secs(10);
const CAREFUL_STEP: Duration = Duration::from_millis(250);
const CAREFUL_SHARE: f64 = 0.02;
/// Time-outs count from this share of the answers of a round trip on: fewer say something of their own requests only.
const TIMEOUTS: u32 = 8;
/// For how long a shortest time is believed, and what is as short.
const BELIEVED: Duration = Duration::from_secs(30);
const AS_SHORT: f64 = 1.05;
/// Answers to bodies of similar size are compared, as the rest of a large body may wait in the kernel.
const SIZES: usize = 24;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// S3 granted it, this long after the last of so many bytes had left the process.
    Granted { bytes: u64, waited: Duration },
    /// S3 asks for fewer requests.
    SlowDown,
    /// No answer in time.
    TimedOut,
    /// Anything else. It says nothing of the load.
    Other,
}

/// The limit, and what it follows from.
#[derive(Debug)]
pub struct RequestLimit {
    limit: f64,
    slow_start: bool,
    /// The shortest time to an answer, by size, and when it was last seen.
    shortest: [Option<(Duration, Duration)>; SIZES],
    round: Round,
    /// Rounds that are left with half of the requests.
    probing: u32,
    refused: Option<Duration>,
    grew: Duration,
}

/// What was seen since a moment. It ends with the answer to a request that was sent later than that.
#[derive(Debug, Default)]
struct Round {
    began: Duration,
    shortest: [Option<Duration>; SIZES],
    granted: [u32; SIZES],
    answers: u32,
    timeouts: u32,
    most_in_flight: usize,
}

impl Default for RequestLimit {
    fn default() -> Self {
        RequestLimit {
            limit: FIRST_REQUESTS,
            slow_start: true,
            shortest: [None; SIZES],
            round: Round::default(),
            probing: 0,
            refused: None,
            grew: Duration::ZERO,
        }
    }
}

impl RequestLimit {
    /// How many requests may be in flight now.
    pub fn get(&self) -> usize {
        let limit = if self.probing > 0 { self.limit / 2.0 } else { self.limit };
        (limit as usize).clamp(1, MOST_REQUESTS)
    }

    /// A request ended that was sent at this moment; with it so many were in flight.
    pub fn note(&mut self, reply: Reply, sent: Duration, in_flight: usize, now: Duration) {
        let round = &mut self.round;
        round.answers += 1;
        round.most_in_flight = round.most_in_flight.max(in_flight);
        match reply {
            Reply::Granted { bytes, waited } => {
                let size = size(bytes);
                round.granted[size] += 1;
                let shortest = &mut round.shortest[size];
                *shortest = Some(shortest.map_or(waited, |shortest| shortest.min(waited)));
                if self.slow_start && self.is_used() && self.probing == 0 {
                    self.set(self.limit + 1.0);
                }
            }
            Reply::SlowDown => self.refused(sent, now),
            Reply::TimedOut => {
                round.timeouts += 1;
                if round.timeouts * TIMEOUTS >= round.answers {
                    self.refused(sent, now);
                }
            }
            Reply::Other => {}
        }
        if sent >= self.round.began {
            self.end_round(now);
        }
    }

    /// A limit that is not reached proves nothing by having been kept.
    fn is_used(&self) -> bool {
        self.round.most_in_flight * 2 > self.get()
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(1.0, MOST_REQUESTS as f64);
    }

    /// What was sent before the last cut says nothing of the limit after it.
    fn refused(&mut self, sent: Duration, now: Duration) {
        if self.refused.is_some_and(|refused| sent < refused) {
            return;
        }
        let left = if self.slow_start { AFTER_FIRST_REFUSAL } else { AFTER_REFUSAL };
        self.set(self.limit.min(self.round.most_in_flight as f64) * left);
        (self.slow_start, self.refused, self.grew) = (false, Some(now), now);
    }

    fn end_round(&mut self, now: Duration) {
        let (is_used, gradient) = (self.is_used(), self.gradient());
        let round = std::mem::replace(&mut self.round, Round { began: now, ..Round::default() });
        let is_measured = self.probing == 1;
        self.probing = self.probing.saturating_sub(1);
        let mut is_stale = false;
        for (known, seen) in self.shortest.iter_mut().zip(round.shortest) {
            let Some(seen) = seen else { continue };
            match known {
                Some((shortest, at)) if !is_measured && seen > *shortest => {
                    if seen <= shortest.mul_f64(AS_SHORT) {
                        *at = now;
                    }
                    is_stale |= now.saturating_sub(*at) > BELIEVED;
                }
                _ => *known = Some((seen, now)),
            }
        }
        if is_measured || self.probing > 0 {
            return;
        }
        if is_stale {
            // In the first of these rounds what was sent before it is still answered.
            self.probing = 2;
            return;
        }
        if let (true, Some(gradient)) = (is_used, gradient) {
            self.follow(gradient, now);
        }
    }

    /// The shortest time to an answer over that of this round, whose shortest one counts: of a burst of answers the first
    /// did not wait for the others. `None`: there is nothing to compare.
    fn gradient(&self) -> Option<f64> {
        let (mut sum, mut granted) = (0.0, 0);
        for (size, seen) in self.round.shortest.iter().enumerate() {
            if let (Some((shortest, _)), Some(seen)) = (self.shortest[size], seen) {
                let ratio = shortest.as_secs_f64() / seen.as_secs_f64().max(1e-9);
                sum += ratio.min(1.0) * f64::from(self.round.granted[size]);
                granted += self.round.granted[size];
            }
        }
        (granted > 0).then(|| sum / f64::from(granted))
    }

    fn follow(&mut self, gradient: f64, now: Duration) {
        let wanted = self.limit * gradient.max(STEEPEST) + QUEUE;
        if wanted < self.limit {
            self.slow_start = false;
            self.set(wanted.midpoint(self.limit));
        } else if self.slow_start {
            // It grows with every answer.
        } else if self.refused.is_none_or(|refused| now.saturating_sub(refused) > CAREFUL) {
            self.set(wanted);
        } else if now.saturating_sub(self.grew) >= CAREFUL_STEP {
            self.grew = now;
            self.set(self.limit + (self.limit * CAREFUL_SHARE).max(1.0));
        }
    }
}

fn size(bytes: u64) -> usize {
    // Each class holds sizes up to four times its smallest.
    (bytes.max(1).ilog2() as usize / 2).min(SIZES - 1)
}

#[cfg(test)]
mod tests;
