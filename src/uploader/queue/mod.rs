//! What is spooled, and when each recording is worked on next.

pub mod circuit_breaker;
mod pending;
mod waiting;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use self::pending::Pending;
use crate::api::UploadRefusal;
use crate::domain::delivery::{Sighting, Standing, companion_of, is_companion_of};
use crate::uploader::queue::circuit_breaker::Closed;
use crate::uploader::queue::waiting::{Due, Group, WaitingRecordings};
use crate::uploader::spool::watcher::SpooledFile;
use crate::uploader::transfer::concurrency::{Concurrency, SizeClass};
use crate::uploader::transfer::job::Job;

/// Pause before a verified recording that was seen once more is examined.
const DOUBT: Duration = Duration::from_secs(1);

/// Where the work on a recording is.
#[derive(Debug)]
enum Work {
    /// Not begun. Most of a long backlog is here, so it is small.
    New(Sighting),
    /// Begun, and to be taken up again.
    Begun(Box<Job>),
    /// In progress, with the evidence that came meanwhile.
    Taken(Option<Sighting>),
}

#[derive(Debug)]
struct Entry {
    work: Work,
    /// Whether S3 holds the recording, and only the unlinking is left.
    verified: bool,
    /// Whether S3 held the recording when it was worked on last.
    not_removed: bool,
    /// The refusal that it waits for.
    refusal: Option<Rc<UploadRefusal>>,
    /// Its place among the due times; `None` while it is worked on, or while a companion waits for its media file.
    due: Option<(Group, Due)>,
    size: u64,
    since: SystemTime,
    /// Whether an earlier process may have worked on it.
    inherited: bool,
}

/// All recordings in the spool.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Rc<Path>, Entry>,
    waiting: WaitingRecordings,
    entered: u64,
    /// Whether all that an earlier process left has been entered.
    has_walked: bool,
}

impl Ledger {
    /// Enters a file that was seen. Weaker evidence than there is changes nothing.
    pub fn enter(&mut self, file: SpooledFile, now: Instant) {
        let SpooledFile { path, sighting, size, since } = file;
        let Some(entry) = self.entries.get_mut(path.as_path()) else {
            let inherited = !self.has_walked && sighting != Sighting::Renamed;
            let entry = Entry {
                work: Work::New(sighting),
                verified: false,
                not_removed: false,
                refusal: None,
                due: None,
                size,
                since,
                inherited,
            };
            let path: Rc<Path> = path.into();
            self.entries.insert(path.clone(), entry);
            return self.schedule(&path, now);
        };
        entry.size = size;
        let known = match &mut entry.work {
            Work::Taken(seen_again) => {
                *seen_again = (*seen_again).max(Some(sighting));
                return;
            }
            Work::New(known) => known,
            Work::Begun(job) => &mut job.sighting,
        };
        let is_news = *known < sighting;
        if is_news && sighting == Sighting::Renamed {
            entry.inherited = false;
        }
        *known = (*known).max(sighting);
        // S3 may hold an earlier version. Not at once, as the uploader itself may have moved the file.
        let is_doubtful = std::mem::take(&mut entry.verified);
        if is_news {
            self.schedule(&path, now);
        } else if is_doubtful {
            self.schedule(&path, now + DOUBT);
        }
    }

    /// Everything that was in the spool at the start has been entered.
    pub fn has_walked(&mut self) {
        self.has_walked = true;
    }

    /// Forgets a path that is gone. The worker forgets one that is worked on, or whose upload has to be ended.
    pub fn forget(&mut self, path: &Path, now: Instant) {
        match self.entries.get(path).map(|entry| &entry.work) {
            None | Some(Work::Taken(_)) => {}
            Some(Work::Begun(job)) if job.upload.is_some() => self.schedule(path, now),
            Some(Work::New(_) | Work::Begun(_)) => {
                self.unschedule(path);
                self.entries.remove(path);
                self.wake_companion(path, now);
            }
        }
    }

    /// Makes everything that waits due now, as there may be no later.
    pub fn make_all_due(&mut self, now: Instant) {
        let waiting = self.entries.iter().filter(|(_, entry)| entry.due.is_some());
        for path in waiting.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.schedule(&path, now);
        }
    }

    /// The next recording that is due, for which there is room, and which the circuit breaker lets through.
    pub fn take_due(&mut self, concurrency: &Concurrency, closed: &Closed, now: Instant) -> Option<Job> {
        loop {
            let (group, path) = self.waiting.next(concurrency, closed, now)?;
            self.unschedule(&path);
            if self.has_media_waiting(&path) {
                continue;
            }
            self.waiting.took(group);
            let Some(entry) = self.entries.get_mut(&path) else { continue };
            match std::mem::replace(&mut entry.work, Work::Taken(None)) {
                Work::New(sighting) => {
                    let inherited = entry.inherited;
                    return Some(Job { inherited, ..Job::new(path.to_path_buf(), sighting, group.0) });
                }
                Work::Begun(job) => return Some(Job { size_class: group.0, ..*job }),
                taken @ Work::Taken(_) => entry.work = taken,
            }
        }
    }

    /// When the next recording for which there is room is due and let through.
    pub fn next_due(&self, concurrency: &Concurrency, closed: &Closed) -> Option<Instant> {
        self.waiting.next_due(concurrency, closed)
    }

    /// Takes back a recording that stays, to be worked on again at `due`, or at once where stronger evidence that it is
    /// complete came meanwhile.
    pub fn put_back(&mut self, mut job: Job, mut due: Instant, now: Instant) {
        let path = job.path.clone();
        let Some(entry) = self.entries.get_mut(path.as_path()) else { return };
        let mut is_as_seen = job.verified.is_some() && job.verified == job.steady.map(|(version, _)| version);
        if let Work::Taken(Some(seen_again)) = entry.work {
            if seen_again > job.sighting {
                due = now;
            }
            job.sighting = job.sighting.max(seen_again);
            is_as_seen &= seen_again == Sighting::Found;
        }
        // Only the version that the file has now counts.
        entry.verified = is_as_seen;
        entry.not_removed = is_as_seen;
        entry.refusal.clone_from(&job.refusal);
        entry.size = job.steady.map_or(entry.size, |(version, _)| version.size);
        let verified = entry.verified;
        entry.work = Work::Begun(Box::new(job));
        self.schedule(&path, due);
        if verified {
            self.wake_companion(&path, due);
        }
    }

    /// Removes a recording that left the spool, unless another has come under its name.
    pub fn remove(&mut self, job: &Job, now: Instant) {
        let Some(entry) = self.entries.remove(job.path.as_path()) else { return };
        if let Entry { work: Work::Taken(Some(sighting)), size, since, .. } = entry {
            self.enter(SpooledFile { path: job.path.clone(), sighting, size, since }, now);
        }
        self.wake_companion(&job.path, now);
    }

    /// How long a recording has been there.
    pub fn age(&self, path: &Path, now: SystemTime) -> Duration {
        self.entries.get(path).and_then(|entry| now.duration_since(entry.since).ok()).unwrap_or_default()
    }

    fn schedule(&mut self, path: &Path, at: Instant) {
        self.unschedule(path);
        let Some((path, _)) = self.entries.get_key_value(path) else { return };
        let path = path.clone();
        self.entered += 1;
        let due = (at, self.entered);
        let Some(entry) = self.entries.get_mut(&path) else { return };
        let standing = match &entry.work {
            Work::Begun(job) => job.standing(),
            Work::New(_) | Work::Taken(_) => Standing::Untried,
        };
        let group = (SizeClass::of(entry.size), standing);
        entry.due = Some((group, due));
        self.waiting.insert(group, due, path);
    }

    fn unschedule(&mut self, path: &Path) {
        let Some((key, entry)) = self.entries.get_key_value(path) else { return };
        let (key, due) = (key.clone(), entry.due);
        if let Some((group, due)) = due {
            self.waiting.remove(group, due, &key);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.due = None;
            }
        }
    }

    /// Whether a media file that this path is the companion of is still on its way.
    fn has_media_waiting(&self, companion: &Path) -> bool {
        // Paths are ordered by component, so everything named `<stem>…` stands together.
        let stem = companion.with_extension("");
        let (Some(directory), Some(name)) = (stem.parent(), stem.file_name()) else { return false };
        let depth = directory.components().count();
        let named_alike = |path: &Path| {
            let component = path.components().nth(depth).map(|component| component.as_os_str());
            path.starts_with(directory)
                && component.is_some_and(|c| c.as_encoded_bytes().starts_with(name.as_encoded_bytes()))
        };
        self.entries
            .range::<Path, _>((Bound::Included(stem.as_path()), Bound::Unbounded))
            .take_while(|(path, _)| named_alike(path))
            .any(|(path, entry)| !entry.verified && is_companion_of(companion, path))
    }

    fn wake_companion(&mut self, media: &Path, now: Instant) {
        let companion = companion_of(media);
        let waits = |entry: &Entry| !matches!(entry.work, Work::Taken(_)) && entry.due.is_none();
        if companion != media && self.entries.get(companion.as_path()).is_some_and(waits) {
            self.schedule(&companion, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uploader::spool::recording::FileVersion;

    fn file(path: &str, sighting: Sighting) -> SpooledFile {
        SpooledFile { path: path.into(), sighting, size: 10, since: SystemTime::UNIX_EPOCH }
    }

    fn a_version() -> FileVersion {
        FileVersion::from(&rustix::fs::fstat(tempfile::NamedTempFile::new().unwrap()).unwrap())
    }

    fn take(ledger: &mut Ledger, now: Instant) -> Option<String> {
        ledger
            .take_due(&Concurrency::default(), &Closed::at(now), now)
            .map(|job| job.path.to_str().unwrap().to_owned())
    }

    #[test]
    fn recordings_come_in_the_order_in_which_they_are_due() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.enter(file("b.wav", Sighting::Renamed), now);
        ledger.enter(file("a.wav", Sighting::Renamed), now);
        let b = ledger.take_due(&Concurrency::default(), &Closed::at(now), now).unwrap();
        assert_eq!(b.path, Path::new("b.wav"));
        ledger.put_back(b, now + Duration::from_secs(9), now);
        assert_eq!(take(&mut ledger, now).as_deref(), Some("a.wav"));
        assert_eq!(take(&mut ledger, now), None);
        assert_eq!(
            ledger.next_due(&Concurrency::default(), &Closed::at(now)),
            Some(now + Duration::from_secs(9))
        );
        assert_eq!(take(&mut ledger, now + Duration::from_secs(9)).as_deref(), Some("b.wav"));
    }

    #[test]
    fn stronger_evidence_makes_a_waiting_recording_due() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.enter(file("a.wav", Sighting::Found), now);
        let job = ledger.take_due(&Concurrency::default(), &Closed::at(now), now).unwrap();
        ledger.put_back(job, now + Duration::from_secs(5), now);
        ledger.enter(file("a.wav", Sighting::Found), now);
        assert!(ledger.take_due(&Concurrency::default(), &Closed::at(now), now).is_none());
        ledger.enter(file("a.wav", Sighting::Renamed), now);
        assert_eq!(
            ledger.take_due(&Concurrency::default(), &Closed::at(now), now).unwrap().sighting,
            Sighting::Renamed
        );
        assert!(
            ledger
                .take_due(&Concurrency::default(), &Closed::at(now), now + Duration::from_secs(5))
                .is_none()
        );
    }

    #[test]
    fn when_there_may_be_no_later_whatever_waits_is_due() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.enter(file("a.wav", Sighting::Closed), now);
        let job = ledger.take_due(&Concurrency::default(), &Closed::at(now), now).unwrap();
        ledger.put_back(job, now + Duration::from_secs(60), now);
        assert_eq!(take(&mut ledger, now), None);
        ledger.make_all_due(now);
        assert_eq!(take(&mut ledger, now).as_deref(), Some("a.wav"));
        assert_eq!(take(&mut ledger, now + Duration::from_secs(60)), None);
    }

    #[test]
    fn a_companion_waits_until_its_media_file_is_away() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for path in ["d/a.json", "d/a.wav", "d/ab.wav", "d/a!.wav", "e/a.wav", "d/b.json"] {
            ledger.enter(file(path, Sighting::Renamed), now);
        }
        let mut jobs: Vec<Job> =
            std::iter::from_fn(|| ledger.take_due(&Concurrency::default(), &Closed::at(now), now)).collect();
        let names: Vec<_> = jobs.iter().map(|job| job.path.to_str().unwrap()).collect();
        assert_eq!(names, ["d/a.wav", "d/ab.wav", "d/a!.wav", "e/a.wav", "d/b.json"]);
        ledger.remove(&jobs.remove(0), now);
        assert_eq!(take(&mut ledger, now).as_deref(), Some("d/a.json"));
    }

    #[test]
    fn a_companion_does_not_wait_for_a_media_file_that_is_only_not_unlinked() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.enter(file("a.wav", Sighting::Renamed), now);
        ledger.enter(file("a.json", Sighting::Renamed), now);
        let mut media = ledger.take_due(&Concurrency::default(), &Closed::at(now), now).unwrap();
        assert!(ledger.take_due(&Concurrency::default(), &Closed::at(now), now).is_none());
        let version = a_version();
        (media.verified, media.steady) = (Some(version), Some((version, now)));
        ledger.put_back(media, now, now);
        assert_eq!(ledger.pending().not_unlinked, 1);
        let next: Vec<_> = std::iter::from_fn(|| take(&mut ledger, now)).collect();
        assert_eq!(next, ["a.wav", "a.json"]);
    }

    #[test]
    fn a_verified_recording_seen_again_may_have_changed() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let version = a_version();
        ledger.enter(file("a.wav", Sighting::Closed), now);
        let mut job = ledger.take_due(&Concurrency::default(), &Closed::at(now), now).unwrap();
        (job.verified, job.steady) = (Some(version), Some((version, now)));
        ledger.put_back(job, now + Duration::from_secs(60), now);
        assert_eq!(ledger.unverified().count(), 0);
        ledger.enter(file("a.wav", Sighting::Found), now);
        assert_eq!(ledger.unverified().count(), 1);
        assert_eq!(take(&mut ledger, now + DOUBT).as_deref(), Some("a.wav"));

        ledger.enter(file("b.wav", Sighting::Closed), now);
        let mut job = ledger.take_due(&Concurrency::default(), &Closed::at(now), now).unwrap();
        ledger.enter(file("b.wav", Sighting::Closed), now);
        (job.verified, job.steady) = (Some(version), Some((version, now)));
        ledger.put_back(job, now, now);
        assert_eq!(ledger.unverified().count(), 2, "closed again while it was worked on");
    }
}
