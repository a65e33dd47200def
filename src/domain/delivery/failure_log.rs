//! When a failure that lasts is logged.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// Pauses between two lines about a failure that lasts. The last one repeats.
const PAUSES: [Duration; 4] =
    [MINUTE, MINUTE.saturating_mul(5), MINUTE.saturating_mul(15), MINUTE.saturating_mul(60)];

/// One kind of failure, as the log tells of it: when it begins, at growing intervals while it lasts, and when it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailureLog {
    lasting: Option<Lasting>,
}

#[derive(Clone, Copy, Debug)]
struct Lasting {
    since: Instant,
    /// Lines so far.
    lines: usize,
    next_line: Instant,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLine {
    Begins,
    /// For how long it has lasted.
    Lasts(Duration),
    /// For how long it lasted.
    Ends(Duration),
}

impl LogLine {
    /// For how long the failure has lasted, in seconds.
    pub fn seconds(self) -> u64 {
        match self {
            LogLine::Begins => 0,
            LogLine::Lasts(lasts) | LogLine::Ends(lasts) => lasts.as_secs(),
        }
    }
}

impl FailureLog {
    /// The line that is due now, if any. Called whenever the state may have changed, and every few seconds.
    pub fn line(&mut self, fails: bool, now: Instant) -> Option<LogLine> {
        let Some(lasting) = &mut self.lasting else {
            self.lasting = fails.then(|| Lasting { since: now, lines: 1, next_line: now + PAUSES[0] });
            return fails.then_some(LogLine::Begins);
        };
        let since = lasting.since;
        if !fails {
            self.lasting = None;
            return Some(LogLine::Ends(now - since));
        }
        (lasting.next_line <= now).then(|| {
            lasting.next_line = now + PAUSES[lasting.lines.min(PAUSES.len() - 1)];
            lasting.lines += 1;
            LogLine::Lasts(now - since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_logged_when_it_begins_ever_more_rarely_and_when_it_ends() {
        let (mut log, start) = (FailureLog::default(), Instant::now());
        let mut lines = Vec::new();
        for second in 0..20_000 {
            let fails = (10..15_000).contains(&second);
            let line = log.line(fails, start + Duration::from_secs(second));
            lines.extend(line.map(|line| (second, line)));
        }
        let lasts = |seconds| (seconds + 10, LogLine::Lasts(Duration::from_secs(seconds)));
        let expected = [
            (10, LogLine::Begins),
            lasts(60),
            lasts(60 + 300),
            lasts(60 + 300 + 900),
            lasts(60 + 300 + 900 + 3600),
            lasts(60 + 300 + 900 + 3600 + 3600),
            lasts(60 + 300 + 900 + 3600 + 3600 + 3600),
            (15_000, LogLine::Ends(Duration::from_secs(14_990))),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_next_failure_begins_again() {
        let (mut log, now) = (FailureLog::default(), Instant::now());
        let lines: Vec<_> = [true, true, false, false, true].map(|fails| log.line(fails, now)).to_vec();
        let ends = Some(LogLine::Ends(Duration::ZERO));
        assert_eq!(lines, [Some(LogLine::Begins), None, ends, None, Some(LogLine::Begins)]);
    }
}
