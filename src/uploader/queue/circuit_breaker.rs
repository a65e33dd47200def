//! Whether recordings are sent now. The broker decides where to; S3's answers space the tries; without a session
//! nothing is sent for a while.

use std::rc::Rc;

use tokio::time::Instant;

use crate::api::DestinationDocument;
use crate::domain::delivery::{Spacing, Standing, backoff, backoff_at_the_end};
use crate::uploader::broker::destination::DestinationState;
use crate::uploader::broker::session::NoSession;

#[derive(Debug)]
pub struct CircuitBreaker {
    state: DestinationState,
    spacing: Spacing,
    last_first_try: Option<Instant>,
    last_repeat: Option<Instant>,
    /// How often in a row a session was asked for in vain.
    openings: u32,
    open: Option<Open>,
    pod_ends: bool,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    why: NoSession,
}

/// Where recordings go, and from when on the next may.
#[derive(Debug)]
pub struct Closed {
    pub destination: Rc<DestinationDocument>,
    first_tries: Instant,
    repeats: Instant,
}

impl Closed {
    /// One that lets everything through.
    #[cfg(test)]
    pub fn at(now: Instant) -> Self {
        let destination = Rc::new(crate::uploader::tests::destination());
        Closed { destination, first_tries: now, repeats: now }
    }

    /// From when on a recording of this standing may be tried.
    pub fn passes_from(&self, standing: Standing) -> Instant {
        if standing == Standing::Untried { self.first_tries } else { self.repeats }
    }
}

impl CircuitBreaker {
    /// A closed breaker for a destination in this state.
    pub fn new(state: DestinationState) -> Self {
        CircuitBreaker {
            state,
            spacing: Spacing::default(),
            last_first_try: None,
            last_repeat: None,
            openings: 0,
            open: None,
            pod_ends: false,
        }
    }

    /// The destination is in another state. What S3 said of the former one counts no longer.
    pub fn follow(&mut self, state: DestinationState) {
        let pod_ends = self.pod_ends;
        *self = CircuitBreaker::new(state);
        if pod_ends {
            self.pod_ends();
        }
    }

    /// The pod ends: everything may go once more at once, and no wait is long from now on.
    pub fn pod_ends(&mut self) {
        self.pod_ends = true;
        self.spacing.pod_ends();
        (self.openings, self.open) = (0, None);
    }

    /// `None`: nothing is sent in this state of the destination.
    pub fn closed(&self, now: Instant) -> Option<Closed> {
        let DestinationState::Active(destination) = &self.state else { return None };
        let closed = self.open.as_ref().map_or(now, |open| open.until);
        let after = |last: Option<Instant>, pause| last.map_or(closed, |last| closed.max(last + pause));
        Some(Closed {
            destination: destination.clone(),
            first_tries: after(self.last_first_try, self.spacing.between_first_tries()),
            repeats: after(self.last_repeat, self.spacing.between_repeats()),
        })
    }

    /// A recording of this standing is on its way. While there is no session it goes alone.
    pub fn sent(&mut self, standing: Standing, now: Instant, jitter: f64) {
        if self.open.is_some() {
            self.openings += 1;
            let until = now + self.backoff(self.openings, jitter);
            self.open.iter_mut().for_each(|open| open.until = until);
        }
        let last =
            if standing == Standing::Untried { &mut self.last_first_try } else { &mut self.last_repeat };
        *last = Some(now);
    }

    /// Whether the broker says that nothing may be sent.
    pub fn is_paused(&self) -> bool {
        matches!(self.state, DestinationState::Paused(_))
    }

    /// Why nothing is sent.
    pub fn why_not(&self) -> Option<&str> {
        match &self.state {
            DestinationState::Unknown => Some("the destination is not known yet"),
            DestinationState::Paused(reason) => Some(reason),
            DestinationState::Active(_) => self.open.as_ref().map(|open| open.why.why.as_str()),
        }
    }

    /// Why there is no session.
    pub fn without_session(&self) -> Option<&NoSession> {
        self.open.as_ref().map(|open| &open.why)
    }

    /// Whether S3 has given no clear answer for many times in a row.
    pub fn is_unclear(&self) -> bool {
        self.spacing.is_unclear()
    }

    /// A recording arrived.
    pub fn arrived(&mut self, standing: Standing) {
        self.answered();
        self.spacing.arrived(standing);
    }

    /// S3 gave no clear answer.
    pub fn failed(&mut self) {
        self.answered();
        self.spacing.unclear();
    }

    /// S3 refused a recording.
    pub fn refused(&mut self) {
        self.answered();
        self.spacing.refused();
    }

    /// There is no session.
    pub fn no_session(&mut self, why: NoSession, now: Instant, jitter: f64) {
        let until = match &self.open {
            Some(open) => open.until,
            None => {
                self.openings = 1;
                now + self.backoff(self.openings, jitter)
            }
        };
        self.open = Some(Open { until, why });
    }

    /// How long to wait after this number of failures in a row.
    pub fn backoff(&self, failures: u32, jitter: f64) -> std::time::Duration {
        if self.pod_ends { backoff_at_the_end(failures, jitter) } else { backoff(failures, jitter) }
    }

    /// S3 was asked, so there was a session.
    fn answered(&mut self) {
        (self.openings, self.open) = (0, None);
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

    /// Whether a first try, and a repeat, may go now.
    fn passes(breaker: &CircuitBreaker, now: Instant) -> (bool, bool) {
        let closed = breaker.closed(now).unwrap();
        (closed.passes_from(Standing::Untried) <= now, closed.passes_from(Standing::Demoted) <= now)
    }

    fn no_broker() -> NoSession {
        NoSession { why: "no broker".into(), refusal: None }
    }

    #[test]
    fn nothing_goes_through_before_the_broker_says_so() {
        let now = Instant::now();
        for state in [DestinationState::Unknown, DestinationState::Paused("Suspended".into())] {
            assert!(CircuitBreaker::new(state).closed(now).is_none());
        }
        assert_eq!(passes(&active(), now), (true, true));
    }

    #[test]
    fn after_a_refusal_first_tries_go_and_repeats_a_second_apart() {
        let (mut breaker, now) = (active(), Instant::now());
        breaker.refused();
        breaker.refused();
        assert_eq!(passes(&breaker, now), (true, true));
        breaker.sent(Standing::Retried, now, 1.0);
        breaker.sent(Standing::Untried, now, 1.0);
        assert_eq!(passes(&breaker, now), (true, false));
        // However many first tries are refused meanwhile.
        breaker.refused();
        assert_eq!(passes(&breaker, now + Duration::from_secs(1)), (true, true));
        breaker.arrived(Standing::Untried);
        assert_eq!(passes(&breaker, now), (true, false));
        (0..10).for_each(|_| breaker.arrived(Standing::Retried));
        assert_eq!(passes(&breaker, now), (true, true));
    }

    #[test]
    fn without_a_session_nothing_goes_for_a_while() {
        let (mut breaker, now) = (active(), Instant::now());
        breaker.no_session(no_broker(), now, 1.0);
        // Those that waited with it.
        breaker.no_session(no_broker(), now, 1.0);
        assert_eq!((passes(&breaker, now), breaker.why_not()), ((false, false), Some("no broker")));
        let later = now + Duration::from_secs(1);
        assert_eq!(passes(&breaker, later), (true, true));
        breaker.sent(Standing::Retried, later, 1.0);
        assert_eq!(passes(&breaker, later), (false, false), "one asks for all");
        breaker.no_session(no_broker(), later, 1.0);
        assert_eq!(passes(&breaker, later + Duration::from_secs(1)), (false, false));
        assert_eq!(passes(&breaker, later + Duration::from_secs(2)), (true, true));
        breaker.arrived(Standing::Untried);
        assert_eq!(breaker.why_not(), None);
    }

    #[test]
    fn at_the_pods_end_waits_are_over_and_short_ones_follow() {
        let (mut breaker, now) = (active(), Instant::now());
        for _ in 0..9 {
            breaker.no_session(no_broker(), now, 1.0);
            breaker.failed();
            breaker.sent(Standing::Retried, now, 1.0);
        }
        breaker.pod_ends();
        breaker.follow(DestinationState::Active(Rc::new(destination())));
        assert_eq!(passes(&breaker, now), (true, true));
        assert!(breaker.backoff(99, 1.0) <= Duration::from_secs(5));
        assert!(active().backoff(99, 1.0) > Duration::from_secs(5));
    }
}
