//! One recording, from the spool into the bucket.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::uploader::transfer::concurrency::Streams;
use crate::uploader::queue::Job;
use crate::uploader::transfer::bandwidth::Pace;
use crate::uploader::storage::{Broker, Storage};
use crate::uploader::spool::recording::Recording;
use crate::uploader::broker::session::Sessions;
use crate::uploader::spool::files::{Departure, Spool};
use crate::uploader::transfer::put::{Arrival, Sending};
use crate::uploader::blocking;
use crate::uploader::transfer::examine;
use crate::api::{Crc64Nvme, DestinationDocument};
use crate::domain::delivery::{Lease, Poison, Sighting, Sizes, alternate, companion_of, object_key};

/// What the work on recordings uses.
pub struct Works<B, S: Storage> {
    /// Where they are.
    pub spool: Spool,
    /// Where they go.
    pub sessions: Sessions<B, S>,
    /// Which of them go in parts.
    pub sizes: Sizes,
    /// How fast they may go; `None`: as fast as they can.
    pub pace: Option<Pace>,
    /// Whether the containers that recorded have ended.
    pub pod_ends: Cell<bool>,
    pub streams: Streams,
    /// Where recordings go now, if they go.
    pub present: RefCell<Option<Rc<DestinationDocument>>>,
    /// Bytes that S3 has in parts, of recordings that are being sent.
    pub in_parts: Rc<Cell<u64>>,
    /// Uploads that may have been left in buckets.
    pub left_open: Cell<u64>,
}

/// How the work on one recording ended, for now.
#[derive(Debug)]
pub enum Outcome {
    /// Uploaded, verified and unlinked.
    Delivered {
        /// In the bucket.
        key: String,
        /// In bytes.
        size: u64,
        /// As S3 holds it.
        crc64nvme: Crc64Nvme,
    },
    /// No longer there.
    Gone,
    /// The broker paused or moved the destination in between.
    Interrupted,
    /// Not complete: look again after this time.
    Incomplete(Duration),
    /// It changed while it was read, or what arrived was not what was read.
    Changed,
    /// Nothing is wrong with it, nor with S3, but it could not be sent. Why.
    Postponed(String),
    /// S3 gave no clear answer. Why.
    Failed(String),
    /// The destination refuses, and probably not this recording alone. Why.
    Refused(String),
    /// It can never be uploaded, and is in quarantine at this place.
    Quarantined(Poison, PathBuf),
    /// S3 holds other content under its name. From now on it is called this.
    Renamed(PathBuf),
    /// Its directory does not let it go.
    NotWritable(io::Error),
}

/// Why the next step is not taken.
#[derive(Debug)]
pub enum Stop {
    /// This is how it ends, for now.
    With(Outcome),
    /// It can never be uploaded, and goes to quarantine.
    Poison(Poison),
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Stop::With(outcome)
    }
}

impl<B: Broker, S: Storage> Works<B, S> {
    /// For recordings of this spool.
    pub fn new(spool: Spool, sessions: Sessions<B, S>) -> Self {
        Works {
            spool,
            sessions,
            sizes: Sizes::default(),
            pace: None,
            pod_ends: Cell::default(),
            streams: Streams::default(),
            present: RefCell::default(),
            in_parts: Rc::default(),
            left_open: Cell::default(),
        }
    }

    /// Recordings go there from now on; `None`: nowhere. What is on its way elsewhere ends with the call that is made.
    pub fn send_to(&self, destination: Option<Rc<DestinationDocument>>) {
        self.present.replace(destination);
    }

    pub fn sends_to(&self, destination: &Rc<DestinationDocument>) -> bool {
        self.present.borrow().as_ref() == Some(destination)
    }

    /// Takes one recording as far as it goes.
    pub async fn deliver(&self, destination: &Rc<DestinationDocument>, job: &mut Job) -> Outcome {
        let outcome = match self.steps(destination, job).await {
            Err(Stop::Poison(poison)) => self.quarantine(poison, job).await,
            Ok(outcome) | Err(Stop::With(outcome)) => outcome,
        };
        match outcome {
            Outcome::Gone => match self.bring_back(job).await {
                Some(outcome) => outcome,
                None => self.drop_upload(destination, job).await.err().unwrap_or(Outcome::Gone),
            },
            Outcome::Quarantined(..) => {
                // What is in quarantine stays there; if S3 gave no answer, the next process ends its upload.
                let _ = self.drop_upload(destination, job).await;
                outcome
            }
            outcome => outcome,
        }
    }

    async fn steps(&self, destination: &Rc<DestinationDocument>, job: &mut Job) -> Result<Outcome, Stop> {
        let key = object_key(&destination.target.prefix, &job.path).map_err(Stop::Poison)?;
        let recording = examine::open(&self.spool, job, self.pod_ends.get()).await?;
        let size = recording.identity.size;
        let known = job.checksum.filter(|_| job.verified == Some(recording.identity));
        let crc64nvme = match known {
            Some((_, crc64nvme)) => crc64nvme,
            None => {
                let sending = Sending { destination, key: &key, recording: &recording };
                let sent = match self.sizes.part_of(size) {
                    None => {
                        // It had parts when it was larger.
                        if job.upload.is_some() {
                            self.drop_upload(destination, job).await?;
                        }
                        self.put(sending, job).await?
                    }
                    Some(part_size) => self.put_in_parts(part_size, sending, job).await?,
                };
                match sent {
                    (Arrival::Verified, crc64nvme) => crc64nvme,
                    (Arrival::Conflict, crc64nvme) => {
                        return self.set_aside(&recording, crc64nvme, job).await;
                    }
                    (Arrival::Void(said), _) => return Ok(Outcome::Failed(said)),
                }
            }
        };
        job.verified = Some(recording.identity);
        job.checksum = Some((recording.identity, crc64nvme));
        self.let_go(recording, job).await?;
        if job.upload.is_some() {
            // Not before: whoever finds the recording again has to find what became of it.
            self.remove_journal(&job.path).await;
        }
        Ok(Outcome::Delivered { key, size, crc64nvme })
    }

    /// Unlinks what S3 holds. Whatever has come under its name meanwhile stays, and is another recording.
    async fn let_go(&self, recording: Arc<Recording>, job: &mut Job) -> Result<(), Stop> {
        let (spool, path, renamed) =
            (self.spool.clone(), job.path.clone(), job.sighting == Sighting::Renamed);
        let removed = blocking(move || {
            let is_written = || !renamed && recording.lease() == Lease::Refused;
            if is_written() {
                return Ok(Departure::Kept);
            }
            // Once more when it can no longer be opened, and then whether something was written until then.
            let may_go = || !is_written() && recording.is_unchanged().unwrap_or(false);
            spool.remove(&path, recording.identity, may_go)
        });
        match removed.await {
            Ok(Departure::Gone | Departure::Replaced) => Ok(()),
            // A writer has opened it again.
            Ok(Departure::Kept) => Err(examine::changed(job)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Outcome::NotWritable(error).into()),
        }
    }

    /// Gives a recording, and before it its companion, the alternate name. The names in the spool
    /// remember it, so that it outlives this process.
    async fn set_aside(
        &self,
        recording: &Recording,
        crc64nvme: Crc64Nvme,
        job: &Job,
    ) -> Result<Outcome, Stop> {
        let (spool, path, identity) = (self.spool.clone(), job.path.clone(), recording.identity);
        let renamed = blocking(move || {
            let companion = companion_of(&path);
            if companion != path
                && let Ok(found) = Recording::open(spool.root(), &companion)
            {
                match spool.rename(&companion, &alternate(&companion, crc64nvme), found.identity) {
                    // Its own fate is not the media file's.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    renamed => drop(renamed?),
                }
            }
            let to = alternate(&path, crc64nvme);
            spool.rename(&path, &to, identity).map(|departure| (departure, to))
        });
        match renamed.await {
            Ok((Departure::Gone, to)) => Ok(Outcome::Renamed(to)),
            Ok((Departure::Replaced | Departure::Kept, _)) => Ok(Outcome::Changed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Gone),
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                Err(Stop::Poison(Poison::NameTooLong))
            }
            Err(error) => Ok(Outcome::NotWritable(error)),
        }
    }

    /// What follows for a recording that is gone from its place because we could put it neither on nor back.
    async fn bring_back(&self, job: &Job) -> Option<Outcome> {
        let (spool, path) = (self.spool.clone(), job.path.clone());
        match blocking(move || spool.bring_back(&path)).await {
            Ok(false) => None,
            Ok(true) => Some(Outcome::Postponed("it was in hand, and is back in its place".to_owned())),
            Err(error) => Some(Outcome::NotWritable(error)),
        }
    }

    async fn quarantine(&self, poison: Poison, job: &Job) -> Outcome {
        let (spool, path) = (self.spool.clone(), job.path.clone());
        match blocking(move || spool.quarantine(&path)).await {
            Ok(place) => Outcome::Quarantined(poison, place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Gone,
            Err(error) => Outcome::NotWritable(error),
        }
    }
}
