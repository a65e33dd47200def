//! What is spooled, and when each recording is worked on next.

pub mod circuit_breaker;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::uploader::transfer::concurrency::{Lane, Lanes};
use crate::uploader::transfer::multipart::Upload;
use crate::uploader::spool::recording::Identity;
use crate::uploader::spool::watcher::Sighted;
use crate::api::Crc64Nvme;
use crate::domain::delivery::{Sighting, companion_of, is_companion_of};

/// A recording to work on, with what is known of it. Taken from the ledger, and given back.
#[derive(Clone, Debug)]
pub struct Job {
    /// Relative to the spool.
    pub path: PathBuf,
    /// In which it is now on its way.
    pub lane: Lane,
    /// The strongest evidence that it is complete.
    pub sighting: Sighting,
    /// Failures in a row.
    pub failures: u32,
    /// Errors of reading it, since S3 last answered about it.
    pub read_errors: u32,
    /// Uploads begun.
    pub attempts: u32,
    /// How often it was different after it had been read.
    pub changes: u32,
    /// Since when it has been seen in one state.
    pub steady: Option<(Identity, Instant)>,
    /// Its checksum in one state, so that it is computed once.
    pub checksum: Option<(Identity, Crc64Nvme)>,
    /// The state in which a put to this key was answered: what is there is asked before it is put again.
    pub answered: Option<(Identity, String)>,
    /// Its upload in parts, if it has one.
    pub upload: Option<Upload>,
    /// The state in which S3 was seen to hold it.
    pub verified: Option<Identity>,
}

/// Where the work on a recording is.
#[derive(Debug)]
enum Work {
    /// Not begun. Most of a long backlog is here, so it is small.
    New(Sighting),
    /// Begun, and to be taken up again.
    Begun(Box<Job>),
    /// Being done, with the evidence that came meanwhile.
    Taken(Option<Sighting>),
}

#[derive(Debug)]
struct Entry {
    work: Work,
    /// Whether S3 holds it, and only the unlinking is left.
    verified: bool,
    /// Its valid place in the queue; none while a companion waits for its media file.
    ticket: Option<u64>,
    size: u64,
    since: SystemTime,
}

/// A place in a queue. One whose ticket is no longer its entry's counts for nothing.
type Place = Reverse<(Instant, u64, Rc<Path>)>;

/// After how long a verified recording that was seen once more is looked at.
const DOUBT: Duration = Duration::from_secs(1);

/// All recordings in the spool.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Rc<Path>, Entry>,
    /// Of the recordings of each lane, earliest first.
    small: BinaryHeap<Place>,
    large: BinaryHeap<Place>,
    tickets: u64,
}

/// What is pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Recordings not yet verified.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// Since when the oldest has been there.
    pub oldest: Option<SystemTime>,
    /// Recordings verified and not unlinked.
    pub not_unlinked: usize,
}

impl Ledger {
    /// Notes a file that was seen. Weaker evidence than there is changes nothing.
    pub fn note(&mut self, sighted: Sighted, now: Instant) {
        let Sighted { path, sighting, size, since } = sighted;
        let Some(entry) = self.entries.get_mut(path.as_path()) else {
            let entry = Entry { work: Work::New(sighting), verified: false, ticket: None, size, since };
            let path: Rc<Path> = path.into();
            self.entries.insert(path.clone(), entry);
            return self.enqueue(&path, now);
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
        *known = (*known).max(sighting);
        // S3 holds a state of it that need not be this one. Not at once, as we may have moved it ourselves.
        let is_doubtful = std::mem::take(&mut entry.verified);
        if is_news {
            self.enqueue(&path, now);
        } else if is_doubtful {
            self.enqueue(&path, now + DOUBT);
        }
    }

    /// Forgets a path that is gone. One that is being worked on, or whose upload has to be ended, its worker forgets.
    pub fn forget(&mut self, path: &Path, now: Instant) {
        match self.entries.get(path).map(|entry| &entry.work) {
            None | Some(Work::Taken(_)) => {}
            Some(Work::Begun(job)) if job.upload.is_some() => self.enqueue(path, now),
            Some(Work::New(_) | Work::Begun(_)) => {
                self.entries.remove(path);
                self.wake_companion(path, now);
            }
        }
    }

    /// Whatever waits is due now, as there may be no later.
    pub fn hurry(&mut self, now: Instant) {
        let waiting = self.entries.iter().filter(|(_, entry)| entry.ticket.is_some());
        for path in waiting.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.enqueue(&path, now);
        }
    }

    /// The next recording that is due and for which there is room.
    pub fn take_due(&mut self, lanes: &Lanes, now: Instant) -> Option<Job> {
        [Lane::Large, Lane::Small]
            .into_iter()
            .filter(|lane| lanes.has_room(*lane))
            .find_map(|lane| self.take_due_in(lane, now))
    }

    fn take_due_in(&mut self, lane: Lane, now: Instant) -> Option<Job> {
        while let Some(Reverse((due, ticket, path))) = self.queue(lane).peek().cloned() {
            let valid = self.entries.get(&path).is_some_and(|entry| entry.ticket == Some(ticket));
            if valid && due > now {
                return None;
            }
            self.queue(lane).pop();
            let waits = valid && self.has_media_waiting(&path);
            let Some(entry) = self.entries.get_mut(&path).filter(|_| valid) else { continue };
            entry.ticket = None;
            if waits {
                continue;
            }
            match std::mem::replace(&mut entry.work, Work::Taken(None)) {
                Work::New(sighting) => return Some(Job::new(path.to_path_buf(), sighting, lane)),
                Work::Begun(job) => return Some(Job { lane, ..*job }),
                taken @ Work::Taken(_) => entry.work = taken,
            }
        }
        None
    }

    /// When the next recording for which there is room is due. May be early.
    pub fn next_due(&self, lanes: &Lanes) -> Option<Instant> {
        let next = |lane, queue: &BinaryHeap<Place>| {
            queue.peek().filter(|_| lanes.has_room(lane)).map(|Reverse((due, _, _))| *due)
        };
        next(Lane::Small, &self.small).into_iter().chain(next(Lane::Large, &self.large)).min()
    }

    /// Takes back a recording that stays, to be worked on again at `due`.
    pub fn put_back(&mut self, mut job: Job, due: Instant) {
        let path = job.path.clone();
        let Some(entry) = self.entries.get_mut(path.as_path()) else { return };
        let mut is_as_seen =
            job.verified.is_some() && job.verified == job.steady.map(|(identity, _)| identity);
        if let Work::Taken(Some(seen_again)) = entry.work {
            job.sighting = job.sighting.max(seen_again);
            is_as_seen &= seen_again == Sighting::Found;
        }
        // Of the state that it is in, and no earlier one.
        entry.verified = is_as_seen;
        entry.size = job.steady.map_or(entry.size, |(identity, _)| identity.size);
        let verified = entry.verified;
        entry.work = Work::Begun(Box::new(job));
        self.enqueue(&path, due);
        if verified {
            self.wake_companion(&path, due);
        }
    }

    /// Strikes out a recording that left the spool, unless another has come under its name.
    pub fn strike_out(&mut self, job: &Job, now: Instant) {
        let Some(entry) = self.entries.remove(job.path.as_path()) else { return };
        if let Entry { work: Work::Taken(Some(sighting)), size, since, .. } = entry {
            self.note(Sighted { path: job.path.clone(), sighting, size, since }, now);
        }
        self.wake_companion(&job.path, now);
    }

    /// What is pending. Looks at every entry.
    pub fn pending(&self) -> Pending {
        let mut pending = Pending::default();
        for entry in self.entries.values() {
            if entry.verified {
                pending.not_unlinked += 1;
                continue;
            }
            pending.files += 1;
            pending.bytes += entry.size;
            pending.oldest = Some(pending.oldest.map_or(entry.since, |oldest| oldest.min(entry.since)));
        }
        pending
    }

    /// How long a recording has been there.
    pub fn age(&self, path: &Path, now: SystemTime) -> Duration {
        self.entries.get(path).and_then(|entry| now.duration_since(entry.since).ok()).unwrap_or_default()
    }

    /// Paths of recordings not yet verified.
    pub fn unverified(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().filter(|(_, entry)| !entry.verified).map(|(path, _)| &**path)
    }

    fn enqueue(&mut self, path: &Path, due: Instant) {
        let Some((path, _)) = self.entries.get_key_value(path) else { return };
        let path = path.clone();
        self.tickets += 1;
        let ticket = self.tickets;
        let Some(entry) = self.entries.get_mut(&path) else { return };
        entry.ticket = Some(ticket);
        let lane = Lane::of(entry.size);
        self.queue(lane).push(Reverse((due, ticket, path)));
    }

    fn queue(&mut self, lane: Lane) -> &mut BinaryHeap<Place> {
        match lane {
            Lane::Small => &mut self.small,
            Lane::Large => &mut self.large,
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
        let waits = |entry: &Entry| !matches!(entry.work, Work::Taken(_)) && entry.ticket.is_none();
        if companion != media && self.entries.get(companion.as_path()).is_some_and(waits) {
            self.enqueue(&companion, now);
        }
    }
}

impl Job {
    fn new(path: PathBuf, sighting: Sighting, lane: Lane) -> Self {
        Job {
            path,
            lane,
            sighting,
            failures: 0,
            read_errors: 0,
            attempts: 0,
            changes: 0,
            steady: None,
            checksum: None,
            answered: None,
            upload: None,
            verified: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sighted(path: &str, sighting: Sighting) -> Sighted {
        Sighted { path: path.into(), sighting, size: 10, since: SystemTime::UNIX_EPOCH }
    }

    fn take(ledger: &mut Ledger, now: Instant) -> Option<String> {
        ledger.take_due(&Lanes::default(), now).map(|job| job.path.to_str().unwrap().to_owned())
    }

    #[test]
    fn recordings_come_in_the_order_in_which_they_are_due() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.note(sighted("b.wav", Sighting::Renamed), now);
        ledger.note(sighted("a.wav", Sighting::Renamed), now);
        let b = ledger.take_due(&Lanes::default(), now).unwrap();
        assert_eq!(b.path, Path::new("b.wav"));
        ledger.put_back(b, now + Duration::from_secs(9));
        assert_eq!(take(&mut ledger, now).as_deref(), Some("a.wav"));
        assert_eq!(take(&mut ledger, now), None);
        assert_eq!(ledger.next_due(&Lanes::default()), Some(now + Duration::from_secs(9)));
        assert_eq!(take(&mut ledger, now + Duration::from_secs(9)).as_deref(), Some("b.wav"));
    }

    #[test]
    fn stronger_evidence_makes_a_waiting_recording_due() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.note(sighted("a.wav", Sighting::Found), now);
        let job = ledger.take_due(&Lanes::default(), now).unwrap();
        ledger.put_back(job, now + Duration::from_secs(5));
        ledger.note(sighted("a.wav", Sighting::Found), now);
        assert!(ledger.take_due(&Lanes::default(), now).is_none());
        ledger.note(sighted("a.wav", Sighting::Renamed), now);
        assert_eq!(ledger.take_due(&Lanes::default(), now).unwrap().sighting, Sighting::Renamed);
        assert!(ledger.take_due(&Lanes::default(), now + Duration::from_secs(5)).is_none());
    }

    #[test]
    fn when_there_may_be_no_later_whatever_waits_is_due() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.note(sighted("a.wav", Sighting::Closed), now);
        let job = ledger.take_due(&Lanes::default(), now).unwrap();
        ledger.put_back(job, now + Duration::from_secs(60));
        assert_eq!(take(&mut ledger, now), None);
        ledger.hurry(now);
        assert_eq!(take(&mut ledger, now).as_deref(), Some("a.wav"));
        assert_eq!(take(&mut ledger, now + Duration::from_secs(60)), None);
    }

    #[test]
    fn a_companion_waits_until_its_media_file_is_away() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for path in ["d/a.json", "d/a.wav", "d/ab.wav", "d/a!.wav", "e/a.wav", "d/b.json"] {
            ledger.note(sighted(path, Sighting::Renamed), now);
        }
        let mut jobs: Vec<Job> = std::iter::from_fn(|| ledger.take_due(&Lanes::default(), now)).collect();
        let names: Vec<_> = jobs.iter().map(|job| job.path.to_str().unwrap()).collect();
        assert_eq!(names, ["d/a.wav", "d/ab.wav", "d/a!.wav", "e/a.wav", "d/b.json"]);
        ledger.strike_out(&jobs.remove(0), now);
        assert_eq!(take(&mut ledger, now).as_deref(), Some("d/a.json"));
    }

    #[test]
    fn a_companion_does_not_wait_for_a_media_file_that_is_only_not_unlinked() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.note(sighted("a.wav", Sighting::Renamed), now);
        ledger.note(sighted("a.json", Sighting::Renamed), now);
        let mut media = ledger.take_due(&Lanes::default(), now).unwrap();
        assert!(ledger.take_due(&Lanes::default(), now).is_none());
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = Identity::from(&rustix::fs::fstat(&file).unwrap());
        (media.verified, media.steady) = (Some(identity), Some((identity, now)));
        ledger.put_back(media, now);
        assert_eq!(ledger.pending().not_unlinked, 1);
        let next: Vec<_> = std::iter::from_fn(|| take(&mut ledger, now)).collect();
        assert_eq!(next, ["a.wav", "a.json"]);
    }

    #[test]
    fn a_verified_recording_that_is_seen_once_more_may_have_changed_and_holds_up_the_end() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = Identity::from(&rustix::fs::fstat(&file).unwrap());
        ledger.note(sighted("a.wav", Sighting::Closed), now);
        let mut job = ledger.take_due(&Lanes::default(), now).unwrap();
        (job.verified, job.steady) = (Some(identity), Some((identity, now)));
        ledger.put_back(job, now + Duration::from_secs(60));
        assert_eq!(ledger.unverified().count(), 0);
        ledger.note(sighted("a.wav", Sighting::Found), now);
        assert_eq!(ledger.unverified().count(), 1);
        assert_eq!(take(&mut ledger, now + DOUBT).as_deref(), Some("a.wav"));

        ledger.note(sighted("b.wav", Sighting::Closed), now);
        let mut job = ledger.take_due(&Lanes::default(), now).unwrap();
        ledger.note(sighted("b.wav", Sighting::Closed), now);
        (job.verified, job.steady) = (Some(identity), Some((identity, now)));
        ledger.put_back(job, now);
        assert_eq!(ledger.unverified().count(), 2, "closed again while it was worked on");
    }

    #[test]
    fn a_name_used_again_while_its_recording_is_sent_is_a_new_recording() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.note(sighted("a.wav", Sighting::Renamed), now);
        let first = ledger.take_due(&Lanes::default(), now).unwrap();
        ledger.note(sighted("a.wav", Sighting::Renamed), now);
        ledger.forget(Path::new("a.wav"), now);
        assert!(ledger.take_due(&Lanes::default(), now).is_none());
        ledger.strike_out(&first, now);
        assert_eq!(ledger.pending().files, 1);
        let second = ledger.take_due(&Lanes::default(), now).unwrap();
        ledger.strike_out(&second, now);
        assert_eq!(ledger.pending(), Pending::default());
    }
}
