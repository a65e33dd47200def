//! Whether to send now: the broker's word, and S3's.

use std::rc::Rc;

use tokio::time::Instant;

use crate::api::DestinationDocument;
use crate::domain::delivery::backoff;

/// Failures in a row, of different recordings perhaps, that are taken for a refusal.
const FAILURES_BEFORE_CLOSING: usize = 8;

/// The broker's word on the destination.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// None yet.
    Unheard,
    /// Keep everything, for this reason.
    Paused(String),
    /// Send it here.
    Active(Rc<DestinationDocument>),
}

/// What lets recordings through. When S3 refuses one it closes for a while, and then lets one at a time
/// through until one arrives.
#[derive(Debug)]
pub struct Gate {
    word: Word,
    /// Failures since a recording arrived.
    failures: usize,
    /// Closings since a recording arrived.
    closings: u32,
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    until: Instant,
    why: String,
}

impl Gate {
    /// Takes the broker's word. What S3 said before it counts no longer.
    pub fn new(word: Word) -> Self {
        Gate { word, failures: 0, closings: 0, closed: None }
    }

    /// Where to send another recording while so many are on their way; `None`: not now.
    pub fn lets_through(&self, in_flight: usize, now: Instant) -> Option<Rc<DestinationDocument>> {
        let Word::Active(destination) = &self.word else { return None };
        let is_open = !self.is_closed(now) && (self.closings == 0 || in_flight == 0);
        is_open.then(|| destination.clone())
    }

    /// When it opens by itself, if it is closed.
    pub fn opens_at(&self) -> Option<Instant> {
        self.closed.as_ref().map(|closed| closed.until)
    }

    /// Why nothing is sent.
    pub fn why_closed(&self) -> Option<&str> {
        match &self.word {
            Word::Unheard => Some("the broker has not been reached"),
            Word::Paused(reason) => Some(reason),
            Word::Active(_) => self.closed.as_ref().map(|closed| closed.why.as_str()),
        }
    }

    /// A recording arrived. Whether that ends a time of refusals.
    pub fn arrived(&mut self) -> bool {
        (self.failures, self.closings) = (0, 0);
        self.closed.take().is_some()
    }

    /// S3 gave no clear answer. Many of those in a row close it.
    pub fn failed(&mut self, why: &str, now: Instant, jitter: f64) -> bool {
        self.failures += 1;
        self.failures >= FAILURES_BEFORE_CLOSING && self.refused(why, now, jitter)
    }

    /// The destination refused. Whether that begins a time of refusals.
    pub fn refused(&mut self, why: &str, now: Instant, jitter: f64) -> bool {
        if self.is_closed(now) {
            return false;
        }
        self.closings += 1;
        let until = now + backoff(self.closings, jitter);
        self.closed.replace(Closed { until, why: why.to_owned() }).is_none()
    }

    fn is_closed(&self, now: Instant) -> bool {
        self.closed.as_ref().is_some_and(|closed| now < closed.until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::uploader::tests::destination;

    fn active() -> Gate {
        Gate::new(Word::Active(Rc::new(destination())))
    }

    #[test]
    fn nothing_goes_through_before_the_broker_says_so() {
        let now = Instant::now();
        assert!(Gate::new(Word::Unheard).lets_through(0, now).is_none());
        assert!(Gate::new(Word::Paused("Suspended".into())).lets_through(0, now).is_none());
        assert!(active().lets_through(99, now).is_some());
    }

    #[test]
    fn after_a_refusal_one_recording_at_a_time_tries_until_one_arrives() {
        let (mut gate, now) = (active(), Instant::now());
        assert!(gate.refused("403", now, 1.0));
        assert!(!gate.refused("403", now, 1.0), "of eight refused at once only the first counts");
        assert!(gate.lets_through(0, now).is_none());
        let later = now + Duration::from_secs(1);
        assert!(gate.lets_through(0, later).is_some());
        assert!(gate.lets_through(1, later).is_none());
        assert!(!gate.refused("403", later, 1.0));
        assert!(gate.lets_through(0, later + Duration::from_secs(1)).is_none());
        assert!(gate.lets_through(0, later + Duration::from_secs(2)).is_some());
        assert!(gate.arrived());
        assert!(gate.lets_through(99, later).is_some());
        assert!(!gate.arrived());
    }

    #[test]
    fn single_failures_close_nothing_and_many_in_a_row_do() {
        let (mut gate, now) = (active(), Instant::now());
        for _ in 1..FAILURES_BEFORE_CLOSING {
            assert!(!gate.failed("503", now, 1.0));
            assert!(gate.lets_through(0, now).is_some());
        }
        assert!(gate.failed("503", now, 1.0));
        assert!(gate.lets_through(0, now).is_none());
    }
}
