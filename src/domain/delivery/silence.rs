//! Pods that are not heard of any more: what each replica of the broker remembers, and what follows from it.
//!
//! Replicas share nothing but the status. A replica that has not heard of a pod for 15 minutes cannot know whether the pod
//! reported to another one since. So it first names the pod in the status, with the time of the last report; a replica
//! that knows better corrects that. What stands uncontested for a minute is settled by what has become of the pod.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::report::{PodReport, REPORT_LIFE, may_still_end, whole_seconds};
use super::update::{News, StatusUpdate, is_newer, item_of};
use crate::api::{Reason, RecordingDestinationStatus, Uploader, Uploaders};

/// From the last report of a pod that was asked to end until it is asked about, and between two such questions. The kubelet
/// ends it without a word when its grace period is over.
const ENDING: SignedDuration = SignedDuration::from_secs(15);
/// How long the status names a silent pod before it is settled.
const UNCONTESTED: SignedDuration = SignedDuration::from_mins(1);
/// How long a last report without anything at stake is remembered: until no other replica can take the pod for silent.
const CALM_LIFE: SignedDuration = SignedDuration::from_mins(20);
/// When the controller takes it that no broker settles a silent pod.
const NO_BROKER: SignedDuration = SignedDuration::from_mins(20);
/// Pods of one destination that are remembered, and of all.
const PODS_OF_A_DESTINATION: usize = 1_000;
const PODS: usize = 20_000;

/// A destination's namespace and name.
type Name = (String, String);

/// The last report of each pod to this replica.
#[derive(Debug)]
pub struct LastReports {
    destinations: BTreeMap<Name, Pods>,
    pods: HashMap<String, usize>,
    most_of_a_destination: usize,
    most: usize,
}

#[derive(Debug, Default)]
struct Pods {
    by_uid: HashMap<String, LastReport>,
    /// Silent pods that the status names.
    seen: HashMap<String, Seen>,
}

#[derive(Debug)]
struct LastReport {
    heard: PodReport,
    /// Whether the status has been written with it.
    is_entered: bool,
}

/// Since when the status has had the same of a silent pod, as far as this replica has seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    reported: Timestamp,
    since: Timestamp,
}

/// What to do about the silent pods of a destination.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// To be applied to the status.
    pub news: Vec<News>,
    /// Pods that the API server is to be asked for.
    pub ask: Vec<SilentPod>,
}

/// A pod that the status names and that no replica has heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentPod {
    /// Its name.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// The time of its last report, by the status.
    pub reported: Timestamp,
}

impl Default for LastReports {
    fn default() -> Self {
        LastReports::with_room_for(PODS_OF_A_DESTINATION, PODS)
    }
}

impl LastReports {
    fn with_room_for(most_of_a_destination: usize, most: usize) -> Self {
        let (destinations, pods) = (BTreeMap::new(), HashMap::new());
        LastReports { destinations, pods, most_of_a_destination, most }
    }

    /// Destinations of which reports are remembered.
    pub fn names(&self) -> Vec<Name> {
        self.destinations.keys().cloned().collect()
    }

    /// Remembers a report. Where there is no room, another pod's is forgotten, first one without anything at stake; returns
    /// one that had.
    pub fn note(&mut self, namespace: &str, name: &str, heard: PodReport) -> Option<PodReport> {
        let key = (namespace.to_owned(), name.to_owned());
        let pods = self.destinations.entry(key.clone()).or_default();
        let report = LastReport { heard, is_entered: false };
        if pods.by_uid.insert(report.heard.uid.clone(), report).is_some() {
            return None;
        }
        let is_full = pods.by_uid.len() > self.most_of_a_destination;
        *self.pods.entry(namespace.to_owned()).or_default() += 1;
        if is_full {
            return self.forget_one(&key);
        }
        if self.pods.values().sum::<usize>() <= self.most {
            return None;
        }
        // Whoever has most pods makes room.
        let (largest, _) = self.pods.iter().max_by_key(|(_, pods)| **pods)?;
        let of_largest = self.destinations.range((largest.clone(), String::new())..);
        let of_largest = of_largest.take_while(|((namespace, _), _)| namespace == largest);
        let (key, _) = of_largest.max_by_key(|(_, pods)| pods.by_uid.len())?;
        self.forget_one(&key.clone())
    }

    /// Forgets the oldest report of a destination.
    fn forget_one(&mut self, key: &Name) -> Option<PodReport> {
        let pods = self.destinations.get_mut(key)?;
        let oldest = pods.by_uid.values().min_by_key(|last| (last.is_owed(), last.heard.at))?;
        let uid = oldest.heard.uid.clone();
        let forgotten = pods.by_uid.remove(&uid)?;
        self.forgot(key, 1);
        forgotten.is_owed().then_some(forgotten.heard)
    }

    fn forgot(&mut self, key: &Name, count: usize) {
        if let Some(pods) = self.pods.get_mut(&key.0) {
            *pods = pods.saturating_sub(count);
            if *pods == 0 {
                self.pods.remove(&key.0);
            }
        }
        if self.destinations.get(key).is_some_and(|pods| pods.by_uid.is_empty() && pods.seen.is_empty()) {
            self.destinations.remove(key);
        }
    }

    /// Takes note of news that a write has brought into the status; `update` is what was written, if anything was to be.
    pub fn entered(&mut self, namespace: &str, name: &str, news: &[News], update: Option<&StatusUpdate>) {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(pods) = self.destinations.get_mut(&key) else { return };
        let mut forgotten = 0;
        for one in news {
            match one {
                News::Report(heard) => {
                    let last = pods.by_uid.get_mut(&heard.uid).filter(|last| last.heard.at == heard.at);
                    last.into_iter().for_each(|last| last.is_entered = true);
                }
                // From here on the status says it to every replica, and whoever knows better takes it out.
                News::Silent(heard) if update.is_some_and(|update| update.names(&heard.uid)) => {
                    let is_last = pods.by_uid.get(&heard.uid).is_some_and(|last| last.heard.at == heard.at);
                    forgotten += usize::from(is_last && pods.by_uid.remove(&heard.uid).is_some());
                }
                News::Silent(_) | News::Found { .. } => {}
            }
        }
        self.forgot(&key, forgotten);
    }

    /// What to do about a destination; `None`: there is none of that name any more.
    pub fn steps(
        &mut self,
        namespace: &str,
        name: &str,
        status: Option<&RecordingDestinationStatus>,
        now: Timestamp,
    ) -> Steps {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(status) = status else {
            let forgotten = self.destinations.remove(&key).map_or(0, |pods| pods.by_uid.len());
            self.forgot(&key, forgotten);
            return Steps::default();
        };
        let pods = self.destinations.entry(key.clone()).or_default();
        let before = pods.by_uid.len();
        let mut steps = Steps::default();
        pods.by_uid.retain(|_, last| last.follow(status, now, &mut steps.news));
        let forgotten = before - pods.by_uid.len();
        pods.follow_silent(status, now, &mut steps.ask);
        self.forgot(&key, forgotten);
        steps
    }
}

impl LastReport {
    /// Whether something is lost if this is forgotten.
    fn is_owed(&self) -> bool {
        self.heard.has_stake() && !(self.heard.has_ended() && self.is_entered)
    }

    /// Says what the status lacks. Whether this is still to be remembered.
    fn follow(&self, status: &RecordingDestinationStatus, now: Timestamp, news: &mut Vec<News>) -> bool {
        let heard = &self.heard;
        let is_calm_for_long = !self.is_owed() && heard.at + CALM_LIFE <= now;
        if let Some(item) = item_of(status, &heard.uid) {
            let is_newer = is_newer(heard, &item.report_time);
            if is_newer {
                news.push(News::Report(heard.clone()));
            }
            return is_newer && !is_calm_for_long;
        }
        let loss = status.last_losses.iter().find(|loss| loss.uid == heard.uid);
        if loss.is_some_and(|loss| whole_seconds(heard.at) <= loss.time) {
            return heard.has_ended() && !is_calm_for_long;
        }
        if heard.has_ended() && self.is_owed() {
            news.push(News::Report(heard.clone()));
        } else if self.is_owed() && heard.at + REPORT_LIFE <= now {
            news.push(News::Silent(heard.clone()));
        }
        !is_calm_for_long
    }
}

impl Pods {
    /// Which of the silent pods in the status nobody has corrected for a minute; each again a minute later.
    fn follow_silent(
        &mut self,
        status: &RecordingDestinationStatus,
        now: Timestamp,
        ask: &mut Vec<SilentPod>,
    ) {
        self.seen
            .retain(|uid, seen| item_of(status, uid).is_some_and(|item| item.report_time.0 == seen.reported));
        for item in status.uploaders.iter().flat_map(|all| &all.items) {
            let Uploader { pod, uid, report_time, .. } = item;
            let reported = report_time.0;
            let is_ending = may_still_end(item, now);
            let knows_better = match self.by_uid.get(uid) {
                Some(last) if is_ending => whole_seconds(last.heard.at).0 > reported,
                last => last.is_some(),
            };
            let (life, uncontested) = if is_ending { (ENDING, ENDING) } else { (REPORT_LIFE, UNCONTESTED) };
            if now < reported + life || knows_better {
                continue;
            }
            let seen = self.seen.entry(uid.clone()).or_insert(Seen { reported, since: now });
            if seen.since + uncontested <= now {
                seen.since = now;
                ask.push(SilentPod { pod: pod.clone(), uid: uid.clone(), reported });
            }
        }
    }
}

/// Says of uploaders that no broker settles, as none is there, that they are silent. `None`: there are none.
pub fn call_silent(uploaders: &Uploaders, now: Timestamp) -> Option<Uploaders> {
    let mut after = uploaders.clone();
    for item in after.items.iter_mut().filter(|item| item.report_time.0 + NO_BROKER <= now) {
        item.reason = Reason::UploaderSilent.to_string();
    }
    (after != *uploaders).then_some(after)
}

/// When the next of them is to be called silent unless it reports.
pub fn call_silent_at(uploaders: &Uploaders) -> Option<Timestamp> {
    let silent = Reason::UploaderSilent.to_string();
    let others = uploaders.items.iter().filter(|item| item.reason != silent);
    others.map(|item| item.report_time.0 + NO_BROKER).min()
}

#[cfg(test)]
mod tests;
