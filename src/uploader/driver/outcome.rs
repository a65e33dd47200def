//! What follows from how an attempt to deliver a recording ended.

use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::{Unanswered, UploadRefusal};
use crate::domain::delivery::{Sighting, Standing, refusal_of_most, remedy_to_write};
use crate::uploader::broker::destination::DestinationState;
use crate::uploader::metrics::UploaderMetrics;
use crate::uploader::queue::circuit_breaker::CircuitBreaker;
use crate::uploader::queue::{Ledger, Pending};
use crate::uploader::spool::syscalls::Owner;
use crate::uploader::spool::watcher::SpooledFile;
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::outcome::{Answered, Outcome};

/// All recordings of the spool, and what the attempts to deliver them came to.
pub struct Deliveries {
    pub ledger: Ledger,
    pub breaker: CircuitBreaker,
    pub metrics: UploaderMetrics,
    /// When a recording was last uploaded and verified.
    pub last_upload: Option<Timestamp>,
    /// Files in quarantine; `None` before the first walk.
    pub quarantined: Option<u64>,
    /// S3's last answer that said nothing clear.
    pub unclear_answer: Option<String>,
    /// Why a recording could last not be removed, and whose its directory is.
    pub not_writable: Option<(io::Error, Option<Owner>)>,
}

impl Deliveries {
    pub fn new(metrics: UploaderMetrics) -> Self {
        Deliveries {
            ledger: Ledger::default(),
            breaker: CircuitBreaker::new(DestinationState::Unknown),
            metrics,
            last_upload: None,
            quarantined: None,
            unclear_answer: None,
            not_writable: None,
        }
    }

    /// Removes a recording from the ledger or puts it back, tells the circuit breaker, and logs the outcome.
    pub fn conclude(&mut self, mut job: Job, outcome: Outcome, took: Duration) {
        let (now, jitter) = (Instant::now(), rand::random::<f64>());
        let name = job.path.display().to_string();
        match outcome {
            Outcome::Delivered { key, size, crc64nvme } => {
                let (attempts, seconds) = (job.attempts, took.as_secs_f64());
                tracing::info!(name, bytes = size, checksum = %crc64nvme, key, seconds, attempts, "uploaded and verified");
                self.metrics.uploaded(size, self.ledger.age(&job.path, SystemTime::now()));
                self.last_upload = Some(Timestamp::now());
                self.breaker.arrived(job.standing());
                self.ledger.remove(&job, now);
            }
            Outcome::Gone => self.ledger.remove(&job, now),
            Outcome::Interrupted => self.ledger.put_back(job, now, now),
            Outcome::Incomplete(wait) => self.ledger.put_back(job, now + wait, now),
            Outcome::Changed => {
                let due = now + self.breaker.backoff(job.changes, jitter);
                self.ledger.put_back(job, due, now);
            }
            Outcome::Postponed(error) => {
                if job.failures == 0 {
                    tracing::warn!(name, error, "cannot send a recording; it is kept and tried again");
                }
                self.try_again(job, now, jitter);
            }
            Outcome::NoSession(why) => {
                self.breaker.no_session(why, now, jitter);
                self.ledger.put_back(job, now, now);
            }
            Outcome::Failed(error) => {
                tracing::debug!(name, error, "no clear answer from S3");
                self.breaker.failed();
                self.unclear_answer = Some(error.clone());
                self.not_taken(job, error, now, jitter);
            }
            Outcome::Refused(Answered { words, refusal }) => {
                tracing::debug!(name, error = words, "S3 refuses a recording");
                self.breaker.refused();
                job.refusal = refusal.map(Rc::new);
                self.not_taken(job, words, now, jitter);
            }
            Outcome::Quarantined(poison, path) => {
                tracing::error!(name, error = %poison, path = %path.display(), "moved a file to quarantine");
                self.metrics.quarantined();
                self.quarantined = self.quarantined.map(|known| known + 1);
                self.ledger.remove(&job, now);
            }
            Outcome::Renamed(to) => {
                tracing::warn!(name, to = %to.display(), "S3 holds other content under this key; both are kept");
                self.ledger.remove(&job, now);
                let since = SystemTime::now();
                let size = job.steady.map_or(0, |(version, _)| version.size);
                self.ledger.enter(SpooledFile { path: to, sighting: Sighting::Renamed, size, since }, now);
            }
            Outcome::NotWritable(error, owner) => {
                if job.verified.is_some() {
                    if !self.ledger.is_not_removed(&job.path) {
                        self.last_upload = Some(Timestamp::now());
                    }
                    (job.refusals, job.cause, job.refusal) = (0, None, None);
                } else if job.failures == 0 {
                    let (reason, remedy) = ("SpoolNotWritable", remedy_to_write(error.kind()));
                    tracing::error!(reason, name, %error, remedy, "cannot move a file out of its directory");
                }
                self.not_writable = Some((error, owner));
                self.try_again(job, now, jitter);
            }
        }
    }

    /// The refusal that keeps recordings waiting, and how many.
    pub fn refusal(&self, pending: &Pending) -> Option<UploadRefusal> {
        let files = pending.files as u64;
        let of_role = self.breaker.without_session().and_then(|none| none.refusal.clone());
        match of_role.filter(|_| files > 0) {
            Some(refusal) => Some(UploadRefusal { files, ..refusal }),
            None => refusal_of_most(self.ledger.refusals().map(|(_, refusal)| refusal)),
        }
    }

    /// Who gives no usable answer while recordings wait.
    pub fn outage(&self, pending: &Pending) -> Option<Unanswered> {
        let outage = match self.breaker.without_session() {
            Some(none) => none.refusal.is_none().then_some(Unanswered::Session),
            None => self.breaker.is_unclear().then_some(Unanswered::S3),
        };
        outage.filter(|_| pending.files > 0)
    }

    /// Recordings that wait because AWS refuses something.
    pub fn refused_files(&self, pending: &Pending) -> usize {
        let of_role = self.breaker.without_session().is_some_and(|none| none.refusal.is_some());
        if of_role { pending.files } else { self.ledger.refusals().count() }
    }

    fn not_taken(&mut self, mut job: Job, error: String, now: Instant, jitter: f64) {
        let before = job.standing();
        (job.read_errors, job.refusals) = (0, job.refusals.saturating_add(1));
        if job.standing() != before && job.standing() == Standing::Demoted {
            let (name, attempts) = (job.path.display(), job.refusals);
            tracing::warn!(%name, error, attempts, "S3 keeps not taking a recording; it is kept and tried after others");
        }
        job.cause = Some(error);
        self.try_again(job, now, jitter);
    }

    fn try_again(&mut self, mut job: Job, now: Instant, jitter: f64) {
        job.failures += 1;
        self.metrics.retried();
        let due = now + self.breaker.backoff(job.failures, jitter);
        self.ledger.put_back(job, due, now);
    }
}
