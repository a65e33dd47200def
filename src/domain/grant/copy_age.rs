//! How old a copy of the destinations may be.

use std::time::Duration;

/// Age up to which a copy is used, whatever else is known: a revocation takes effect within this time.
const CURRENT: Duration = Duration::from_secs(60);
/// Age up to which it is used while the API server cannot be reached.
const WITHOUT_API_SERVER: Duration = Duration::from_secs(300);
/// Time since its last answer from which on the API server counts as unreachable. It is asked every five seconds.
const SILENCE: Duration = Duration::from_secs(20);

/// Whether credentials may be issued by a copy that was known to be current `confirmed` ago. `answered` is how long ago the
/// API server answered another question, if it did since: where it answers, an old copy is a fault of this process, and
/// what it hides may be a revocation.
pub fn may_use_copy(confirmed: Duration, answered: Option<Duration>) -> bool {
    let is_reachable = answered.is_some_and(|ago| ago < SILENCE);
    confirmed <= if is_reachable { CURRENT } else { WITHOUT_API_SERVER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_copy_is_used_only_while_the_api_server_cannot_be_reached() {
        for (confirmed, answered, expected) in [
            (0, None, true),
            (60, None, true),
            (60, Some(0), true),
            (61, Some(0), false),
            (61, Some(19), false),
            // It was reachable when the copy became old, and no longer is.
            (61, Some(20), true),
            (61, None, true),
            (300, None, true),
            (300, Some(200), true),
            (300, Some(5), false),
            (301, None, false),
            (301, Some(200), false),
            (100_000, Some(0), false),
        ] {
            let seconds = Duration::from_secs;
            let answer = may_use_copy(seconds(confirmed), answered.map(seconds));
            assert_eq!(answer, expected, "current {confirmed} s ago, answered {answered:?} s ago");
        }
    }
}
