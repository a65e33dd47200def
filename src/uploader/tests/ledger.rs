//! A model of the ledger: whatever is seen, taken, put back, verified or gone, in whatever order, each recording is in
//! it exactly once, is worked on by one at a time, and is worked on in the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tokio::time::Instant;

use crate::domain::delivery::{Sighting, is_companion_of};
use crate::uploader::queue::Ledger;
use crate::uploader::queue::circuit_breaker::Closed;
use crate::uploader::spool::recording::FileVersion;
use crate::uploader::spool::watcher::SpooledFile;
use crate::uploader::transfer::concurrency::Concurrency;
use crate::uploader::transfer::job::Job;

const PATHS: [&str; 7] = ["a.wav", "a.json", "a.mp3", "ab.wav", "d/a.wav", "d/a.json", "lone.json"];

#[derive(Clone, Debug)]
enum Event {
    /// A file of this size was seen in this way.
    Seen(usize, Sighting, u64),
    /// A path was seen to be gone.
    Gone(usize),
    /// This number of seconds passes, and recordings that are due are taken.
    Take(u64),
    /// The n-th of those taken is put back for this number of seconds, verified or not.
    PutBack(usize, u64, bool),
    /// The n-th of those taken has left the spool.
    Left(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let sighting = prop_oneof![Just(Sighting::Found), Just(Sighting::Closed), Just(Sighting::Renamed)];
    prop_oneof![
        4 => (0..PATHS.len(), sighting, prop_oneof![Just(10), Just(10_000_000)]).prop_map(|(path, sighting, size)| Event::Seen(path, sighting, size)),
        1 => (0..PATHS.len()).prop_map(Event::Gone),
        3 => (0_u64..5).prop_map(Event::Take),
        2 => (any::<usize>(), 0_u64..10, any::<bool>()).prop_map(|(nth, wait, verified)| Event::PutBack(nth, wait, verified)),
        2 => any::<usize>().prop_map(Event::Left),
    ]
}

/// What there ought to be.
#[derive(Default)]
struct Model {
    /// By path: whether it is verified.
    present: BTreeMap<String, bool>,
    taken: Vec<Job>,
    /// Seen while they were taken, and whether in a way that tells of a change.
    seen_again: Vec<(String, bool)>,
}

impl Model {
    fn is_taken(&self, path: &str) -> bool {
        self.taken.iter().any(|job| job.path == Path::new(path))
    }

    fn has_media_to_wait_for(&self, companion: &Path) -> bool {
        self.present.iter().any(|(path, verified)| !verified && is_companion_of(companion, Path::new(path)))
    }

    fn nth(&mut self, nth: usize) -> Option<Job> {
        if self.taken.is_empty() {
            return None;
        }
        let at = nth % self.taken.len();
        Some(self.taken.swap_remove(at))
    }

    fn leave(&mut self, path: &Path) {
        let path = path.to_str().unwrap().to_owned();
        self.present.remove(&path);
        // Another file has come under its name.
        if self.seen_again.iter().any(|(seen, _)| *seen == path) {
            self.present.insert(path.clone(), false);
        }
        self.seen_again.retain(|(seen, _)| *seen != path);
    }
}

fn check(ledger: &Ledger, model: &Model) -> Result<(), TestCaseError> {
    let pending = ledger.pending();
    let verified = model.present.values().filter(|verified| **verified).count();
    // One that S3 held and that was seen again counts as not removed until it has been worked on.
    prop_assert_eq!(pending.files + pending.not_unlinked, model.present.len());
    prop_assert!(pending.not_unlinked >= verified);
    let unverified: Vec<_> = ledger.unverified().map(|path| path.to_str().unwrap()).collect();
    let mut expected: Vec<_> =
        model.present.iter().filter(|(_, verified)| !**verified).map(|(path, _)| path.as_str()).collect();
    expected.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
    prop_assert_eq!(unverified, expected);
    Ok(())
}

#[test]
fn stronger_evidence_that_came_during_the_work_makes_a_recording_due_at_once() {
    for (seen_again, is_due) in
        [(Sighting::Found, false), (Sighting::Closed, true), (Sighting::Renamed, true)]
    {
        let (mut ledger, concurrency, now) = (Ledger::default(), Concurrency::default(), Instant::now());
        let see = |ledger: &mut Ledger, sighting| {
            let path = "a.wav".into();
            ledger.enter(SpooledFile { path, sighting, size: 10, since: SystemTime::UNIX_EPOCH }, now);
        };
        see(&mut ledger, Sighting::Found);
        let job = ledger.take_due(&concurrency, &Closed::at(now), now).unwrap();
        see(&mut ledger, seen_again);
        ledger.put_back(job, now + Duration::from_secs(600), now);
        assert_eq!(ledger.take_due(&concurrency, &Closed::at(now), now).is_some(), is_due, "{seen_again:?}");
    }
}

#[test]
fn a_name_used_again_while_its_recording_is_sent_is_a_new_recording() {
    let (mut ledger, concurrency, now) = (Ledger::default(), Concurrency::default(), Instant::now());
    let renamed = || SpooledFile {
        path: "a.wav".into(),
        sighting: Sighting::Renamed,
        size: 10,
        since: SystemTime::UNIX_EPOCH,
    };
    ledger.enter(renamed(), now);
    let first = ledger.take_due(&concurrency, &Closed::at(now), now).unwrap();
    ledger.enter(renamed(), now);
    ledger.forget(Path::new("a.wav"), now);
    assert!(ledger.take_due(&concurrency, &Closed::at(now), now).is_none());
    ledger.remove(&first, now);
    assert_eq!(ledger.pending().files, 1);
    let second = ledger.take_due(&concurrency, &Closed::at(now), now).unwrap();
    ledger.remove(&second, now);
    assert_eq!(ledger.pending(), Default::default());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_recording_is_in_the_ledger_once_and_is_worked_on_in_the_end(events in prop::collection::vec(event(), 0..60)) {
        let directory = tempfile::tempdir().unwrap();
        let identity = FileVersion::from(&rustix::fs::stat(directory.path()).unwrap());
        let (mut ledger, mut model, concurrency, mut now) = (Ledger::default(), Model::default(), Concurrency::default(), Instant::now());
        for event in events {
            match event {
                Event::Seen(path, sighting, size) => {
                    let path = PATHS[path].to_owned();
                    ledger.enter(SpooledFile { path: path.clone().into(), sighting, size, since: SystemTime::UNIX_EPOCH }, now);
                    if model.is_taken(&path) {
                        model.seen_again.push((path, sighting > Sighting::Found));
                    } else {
                        model.present.insert(path, false);
                    }
                }
                Event::Gone(path) => {
                    ledger.forget(Path::new(PATHS[path]), now);
                    if !model.is_taken(PATHS[path]) {
                        model.present.remove(PATHS[path]);
                    }
                }
                Event::Take(seconds) => {
                    now += Duration::from_secs(seconds);
                    if let Some(job) = ledger.take_due(&concurrency, &Closed::at(now), now) {
                        let path = job.path.to_str().unwrap().to_owned();
                        prop_assert!(model.present.contains_key(&path) && !model.is_taken(&path), "{} twice", path);
                        prop_assert!(!model.has_media_to_wait_for(&job.path), "{} before its media file", path);
                        model.taken.push(job);
                    }
                }
                Event::PutBack(nth, seconds, verified) => {
                    let Some(mut job) = model.nth(nth) else { continue };
                    (job.verified, job.steady) = (verified.then_some(identity), Some((identity, now)));
                    let path = job.path.to_str().unwrap().to_owned();
                    let has_changed = model.seen_again.contains(&(path.clone(), true));
                    model.seen_again.retain(|(seen, _)| *seen != path);
                    model.present.insert(path, verified && !has_changed);
                    ledger.put_back(job, now + Duration::from_secs(seconds), now);
                }
                Event::Left(nth) => {
                    let Some(job) = model.nth(nth) else { continue };
                    ledger.remove(&job, now);
                    model.leave(&job.path);
                }
            }
            check(&ledger, &model)?;
        }
        // Everything comes up again, media files first, and leaves.
        now += Duration::from_secs(60);
        for job in std::mem::take(&mut model.taken) {
            ledger.remove(&job, now);
            model.leave(&job.path);
        }
        while let Some(job) = ledger.take_due(&concurrency, &Closed::at(now), now) {
            prop_assert!(!model.has_media_to_wait_for(&job.path));
            ledger.remove(&job, now);
            model.leave(&job.path);
            check(&ledger, &model)?;
        }
        prop_assert!(model.present.is_empty(), "never worked on: {:?}", model.present.keys());
    }
}
