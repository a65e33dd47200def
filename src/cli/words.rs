//! Times in the words of kubectl.

use jiff::SignedDuration;

/// A time span as kubectl shows it: one unit.
pub(super) fn age(span: SignedDuration) -> String {
    match span.as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// The time span as the end of a sentence. Nothing has lasted that is not a second old.
pub(super) fn for_a_time(span: SignedDuration) -> String {
    if span.as_secs() < 1 { String::new() } else { format!(" for {}", age(span)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in
            [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172_800, "2d")]
        {
            assert_eq!(age(SignedDuration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn nothing_is_ready_for_no_time() {
        for (millis, expected) in
            [(-5_000, ""), (0, ""), (999, ""), (1_000, " for 1s"), (600_000, " for 10m")]
        {
            assert_eq!(for_a_time(SignedDuration::from_millis(millis)), expected);
        }
    }
}
