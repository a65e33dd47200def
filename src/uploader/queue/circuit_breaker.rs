//! Whether recordings are sent now: the broker decides where to, and S3's answers open and close the breaker.

use std::rc::Rc;

use tokio::time::Instant;

use crate::api::DestinationDocument;
use crate::domain::delivery::backoff;
use crate::uploader::broker::destination::DestinationState;

/// Failures in a row, perhaps of different recordings, that count as a refusal.
const FAILURES_BEFORE_OPENING: usize = 8;

/// Closed, it lets recordings through. A refusal by S3 opens it for a while; then one recording at a time goes through
/// until one arrives.
#[derive(Debug)]
pub struct CircuitBreaker {
    state: DestinationState,
    /// Failures since a recording arrived.
    failures: usize,
    /// How often the breaker has opened since a recording arrived.
    openings: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    why: String,
}

impl CircuitBreaker {
    /// A closed breaker for a destination in this state.
    pub fn new(state: DestinationState) -> Self {
        CircuitBreaker { state, failures: 0, openings: 0, open: None }
    }

    /// Where to send another recording while this number is in flight; `None`: not now.
    pub fn lets_through(&self, in_flight: usize, now: Instant) -> Option<Rc<DestinationDocument>> {
        let DestinationState::Active(destination) = &self.state else { return None };
        let passes = !self.is_open(now) && (self.openings == 0 || in_flight == 0);
        passes.then(|| destination.clone())
    }

    /// When an open breaker lets the next recording through.
    pub fn retries_at(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until)
    }

    /// Why nothing is sent.
    pub fn why_not(&self) -> Option<&str> {
        match &self.state {
            DestinationState::Unknown => Some("the broker has not been reached"),
            DestinationState::Paused(reason) => Some(reason),
            DestinationState::Active(_) => self.open.as_ref().map(|open| open.why.as_str()),
        }
    }

    /// A recording arrived. Returns whether that ends a time of refusals.
    pub fn arrived(&mut self) -> bool {
        (self.failures, self.openings) = (0, 0);
        self.open.take().is_some()
    }

    /// S3 gave no clear answer. Returns whether that begins a time of refusals.
    pub fn failed(&mut self, why: &str, now: Instant, jitter: f64) -> bool {
        self.failures += 1;
        self.failures >= FAILURES_BEFORE_OPENING && self.refused(why, now, jitter)
    }

    /// S3 refused. Returns whether that begins a time of refusals.
    pub fn refused(&mut self, why: &str, now: Instant, jitter: f64) -> bool {
        if self.is_open(now) {
            return false;
        }
        self.openings += 1;
        let until = now + backoff(self.openings, jitter);
        self.open.replace(Open { until, why: why.to_owned() }).is_none()
    }

    fn is_open(&self, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|open| now < open.until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::uploader::tests::destination;

    fn active() -> CircuitBreaker {
        CircuitBreaker::new(DestinationState::Active(Rc::new(destination())))
    }

    #[test]
    fn nothing_goes_through_before_the_broker_says_so() {
        let now = Instant::now();
        assert!(CircuitBreaker::new(DestinationState::Unknown).lets_through(0, now).is_none());
        assert!(
            CircuitBreaker::new(DestinationState::Paused("Suspended".into())).lets_through(0, now).is_none()
        );
        assert!(active().lets_through(99, now).is_some());
    }

    #[test]
    fn after_a_refusal_one_recording_at_a_time_tries_until_one_arrives() {
        let (mut breaker, now) = (active(), Instant::now());
        assert!(breaker.refused("403", now, 1.0));
        assert!(!breaker.refused("403", now, 1.0), "of eight refused at once only the first counts");
        assert!(breaker.lets_through(0, now).is_none());
        let later = now + Duration::from_secs(1);
        assert!(breaker.lets_through(0, later).is_some());
        assert!(breaker.lets_through(1, later).is_none());
        assert!(!breaker.refused("403", later, 1.0));
        assert!(breaker.lets_through(0, later + Duration::from_secs(1)).is_none());
        assert!(breaker.lets_through(0, later + Duration::from_secs(2)).is_some());
        assert!(breaker.arrived());
        assert!(breaker.lets_through(99, later).is_some());
        assert!(!breaker.arrived());
    }

    #[test]
    fn single_failures_open_nothing_and_many_in_a_row_do() {
        let (mut breaker, now) = (active(), Instant::now());
        for _ in 1..FAILURES_BEFORE_OPENING {
            assert!(!breaker.failed("503", now, 1.0));
            assert!(breaker.lets_through(0, now).is_some());
        }
        assert!(breaker.failed("503", now, 1.0));
        assert!(breaker.lets_through(0, now).is_none());
    }
}
