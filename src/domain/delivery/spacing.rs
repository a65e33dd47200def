//! In which turn recordings are tried, and how fast, so that none that S3 refuses keeps another waiting. While the
//! broker says that the destination is Ready, a refusal is the recording's own: each recording is tried once, whatever
//! S3 said of the others, and only what was tried before takes turns.

use std::time::Duration;

/// Tries that come to nothing before a recording takes its turns behind those that were tried less often.
const TRIES_BEFORE_DEMOTION: u32 = 3;
/// Answers in a row that say nothing clear, as of an S3 that is down, before first tries are spaced as well.
const UNCLEAR_BEFORE_SPACING: u32 = 8;
/// Between two first tries then: a hundred recordings are tried within five seconds.
const BETWEEN_FIRST_TRIES: Duration = Duration::from_millis(50);
/// Between two repeats while S3 refuses some.
const BETWEEN_REPEATS: Duration = Duration::from_secs(1);
/// The same when the pod ends, as there may be no later.
const BETWEEN_REPEATS_AT_THE_END: Duration = Duration::from_millis(100);
/// A pause that is not worth making.
const NO_PAUSE: Duration = Duration::from_millis(2);

/// How often S3 has been asked to take a recording and did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Untried,
    /// A few times.
    Retried,
    /// Again and again.
    Demoted,
}

impl Standing {
    pub fn of(refusals: u32) -> Self {
        match refusals {
            0 => Standing::Untried,
            1..=TRIES_BEFORE_DEMOTION => Standing::Retried,
            _ => Standing::Demoted,
        }
    }
}

/// The pauses between two tries. Repeats are spaced from the first refusal on. Each that arrives halves the pause, as
/// in a slow start, so that after an outage all go within seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spacing {
    between_repeats: Duration,
    unclear: u32,
    pod_ends: bool,
}

impl Spacing {
    pub fn between_first_tries(&self) -> Duration {
        if self.is_unclear() { BETWEEN_FIRST_TRIES } else { Duration::ZERO }
    }

    pub fn between_repeats(&self) -> Duration {
        self.between_repeats
    }

    /// Whether S3 has given no clear answer for many times in a row.
    pub fn is_unclear(&self) -> bool {
        self.unclear >= UNCLEAR_BEFORE_SPACING
    }

    /// S3 refused a recording.
    pub fn refused(&mut self) {
        self.between_repeats = if self.pod_ends { BETWEEN_REPEATS_AT_THE_END } else { BETWEEN_REPEATS };
    }

    /// S3 gave no clear answer.
    pub fn unclear(&mut self) {
        self.unclear = self.unclear.saturating_add(1);
        if self.is_unclear() {
            self.refused();
        }
    }

    /// A recording of this standing arrived.
    pub fn arrived(&mut self, standing: Standing) {
        self.unclear = 0;
        if standing != Standing::Untried {
            let halved = self.between_repeats / 2;
            self.between_repeats = if halved < NO_PAUSE { Duration::ZERO } else { halved };
        }
    }

    /// The pod ends: everything may go once more at once, and pauses are short from now on.
    pub fn pod_ends(&mut self) {
        *self = Spacing { pod_ends: true, ..Spacing::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_demoted_after_a_few_refusals() {
        let expected = [(0, Standing::Untried), (1, Standing::Retried), (3, Standing::Retried)];
        for (refusals, standing) in expected.into_iter().chain([(4, Standing::Demoted)]) {
            assert_eq!(Standing::of(refusals), standing, "{refusals}");
        }
    }

    #[test]
    fn a_refusal_spaces_repeats_and_no_first_try() {
        let mut spacing = Spacing::default();
        assert_eq!(spacing.between_repeats(), Duration::ZERO);
        for _ in 0..100 {
            spacing.refused();
        }
        assert_eq!(
            (spacing.between_first_tries(), spacing.between_repeats()),
            (Duration::ZERO, BETWEEN_REPEATS)
        );
        spacing.arrived(Standing::Untried);
        assert_eq!(spacing.between_repeats(), BETWEEN_REPEATS, "first tries arrived all the while");
    }

    #[test]
    fn repeats_that_arrive_have_all_go_within_two_seconds() {
        let (mut spacing, mut took) = (Spacing::default(), Duration::ZERO);
        spacing.refused();
        while spacing.between_repeats() > Duration::ZERO {
            took += spacing.between_repeats();
            spacing.arrived(Standing::Retried);
        }
        assert!(took < Duration::from_secs(2), "{took:?}");
    }

    #[test]
    fn single_unclear_answers_space_nothing_and_many_in_a_row_do() {
        let mut spacing = Spacing::default();
        for _ in 1..UNCLEAR_BEFORE_SPACING {
            spacing.unclear();
            assert_eq!((spacing.between_first_tries(), spacing.between_repeats()), Default::default());
        }
        spacing.unclear();
        assert_eq!(
            (spacing.between_first_tries(), spacing.between_repeats()),
            (BETWEEN_FIRST_TRIES, BETWEEN_REPEATS)
        );
        spacing.arrived(Standing::Untried);
        assert_eq!(spacing.between_first_tries(), Duration::ZERO);
    }

    #[test]
    fn at_the_pods_end_everything_goes_once_and_pauses_are_short() {
        let mut spacing = Spacing::default();
        (0..99).for_each(|_| spacing.unclear());
        spacing.pod_ends();
        assert_eq!((spacing.between_first_tries(), spacing.between_repeats()), Default::default());
        spacing.refused();
        assert_eq!(spacing.between_repeats(), BETWEEN_REPEATS_AT_THE_END);
    }
}
