//! How often reports of uploaders may have AWS asked again. Pods write the reports, so without a limit those of one
//! namespace could spend the calls that others need.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

/// Questions of one namespace in a minute.
const OF_A_NAMESPACE: usize = 5;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// The part of the calls to STS that such questions may make.
const SHARE: u32 = 10;
/// Calls that may be made at once after a quiet time.
const BURST: u32 = 5;
/// How long a turn is kept for a destination that does not take it.
const KEPT: SignedDuration = SignedDuration::from_mins(5);

/// Turns to ask. A question that has to wait gets a turn of its own, so that none is lost and none is tried in vain.
#[derive(Debug)]
pub struct QuestionLimit {
    interval: SignedDuration,
    /// When as many calls as a burst has may be made at once again.
    full_at: Timestamp,
    /// The turns of each namespace within the last minute, and those to come.
    namespaces: HashMap<String, VecDeque<Timestamp>>,
    /// The turns of destinations that wait, by UID.
    waiting: HashMap<String, Turn>,
    /// Entries above which old ones are dropped.
    sweep_above: usize,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Timestamp,
    /// Whether it counts among all namespaces' already.
    of_all: bool,
}

impl QuestionLimit {
    /// For a process that makes so many calls to STS in a second.
    pub fn new(calls_per_second: u32) -> Self {
        QuestionLimit {
            interval: SignedDuration::from_secs(i64::from(SHARE))
                / i32::try_from(calls_per_second.max(1)).unwrap_or(i32::MAX),
            full_at: Timestamp::UNIX_EPOCH,
            namespaces: HashMap::new(),
            waiting: HashMap::new(),
            sweep_above: 64,
        }
    }

    /// Takes the turn of the destination with that UID. `Err`: it is not its turn; when it will be.
    pub fn admit(&mut self, namespace: &str, uid: &str, now: Timestamp) -> Result<(), Timestamp> {
        self.sweep(now);
        let turn = self.waiting.get(uid).copied();
        if let Some(turn) = turn.filter(|turn| now < turn.at) {
            return Err(turn.at);
        }
        if turn.is_none() {
            let at = self.next_of_namespace(namespace, now);
            self.namespaces.entry(namespace.to_owned()).or_default().push_back(at);
            if now < at {
                self.waiting.insert(uid.to_owned(), Turn { at, of_all: false });
                return Err(at);
            }
        }
        if turn.is_none_or(|turn| !turn.of_all) {
            let at = now.max(self.full_at - self.interval * (BURST as i32 - 1));
            self.full_at = self.full_at.max(at) + self.interval;
            if now < at {
                self.waiting.insert(uid.to_owned(), Turn { at, of_all: true });
                return Err(at);
            }
        }
        self.waiting.remove(uid);
        Ok(())
    }

    /// Counts calls that a question made beyond its first.
    pub fn charge(&mut self, calls: u32, now: Timestamp) {
        self.full_at = self.full_at.max(now) + self.interval * i32::try_from(calls).unwrap_or(i32::MAX);
    }

    fn next_of_namespace(&mut self, namespace: &str, now: Timestamp) -> Timestamp {
        let Some(turns) = self.namespaces.get_mut(namespace) else { return now };
        while turns.front().is_some_and(|turn| *turn + MINUTE <= now) {
            turns.pop_front();
        }
        let limiting = turns.len().checked_sub(OF_A_NAMESPACE).and_then(|index| turns.get(index));
        limiting.map_or(now, |turn| now.max(*turn + MINUTE))
    }

    fn sweep(&mut self, now: Timestamp) {
        if self.namespaces.len() + self.waiting.len() <= self.sweep_above {
            return;
        }
        self.namespaces.retain(|_, turns| turns.back().is_some_and(|turn| now < *turn + MINUTE));
        self.waiting.retain(|_, turn| now < turn.at + KEPT);
        self.sweep_above = 2 * (self.namespaces.len() + self.waiting.len()) + 64;
    }
}
