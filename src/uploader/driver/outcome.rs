//! What follows from how an attempt to deliver a recording ended.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::delivery::{Sighting, Standing, remedy_to_write};
use crate::uploader::broker::destination::DestinationState;
use crate::uploader::metrics::UploaderMetrics;
use crate::uploader::queue::Ledger;
use crate::uploader::queue::circuit_breaker::CircuitBreaker;
use crate::uploader::spool::watcher::SpooledFile;
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::outcome::Outcome;

/// All recordings of the spool, and what the attempts to deliver them came to.
pub struct Deliveries {
    pub ledger: Ledger,
    pub breaker: CircuitBreaker,
    pub metrics: UploaderMetrics,
    /// When a recording was last uploaded and verified.
    pub last_upload: Option<Timestamp>,
    /// Files in quarantine; `None` before the first walk.
    pub quarantined: Option<u64>,
    /// Whether it has been logged that a directory is not writable.
    logged_not_writable: bool,
}

impl Deliveries {
    pub fn new(metrics: UploaderMetrics) -> Self {
        Deliveries {
            ledger: Ledger::default(),
            breaker: CircuitBreaker::new(DestinationState::Unknown),
            metrics,
            last_upload: None,
            quarantined: None,
            logged_not_writable: false,
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
                self.logged_not_writable = false;
                if self.breaker.arrived(job.standing()) {
                    tracing::info!("S3 takes recordings again that it did not take");
                }
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
                tracing::warn!(name, error, "cannot send a recording; it is kept and tried again");
                self.try_again(job, now, jitter);
            }
            Outcome::NoSession(error) => {
                if self.breaker.no_session(&error, now, jitter) {
                    tracing::warn!(error, "no session; every recording is kept until there is one");
                }
                self.ledger.put_back(job, now, now);
            }
            Outcome::Failed(error) => {
                tracing::debug!(name, error, "no clear answer from S3");
                if self.breaker.failed() {
                    tracing::warn!(error, "S3 fails; every recording is kept and tried again");
                }
                self.not_taken(job, error, now, jitter);
            }
            Outcome::Refused(error) => {
                if self.breaker.refused() {
                    tracing::warn!(
                        name,
                        error,
                        "S3 refuses a recording; it is kept and tried again, after others"
                    );
                }
                self.not_taken(job, error, now, jitter);
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
            Outcome::NotWritable(error) => {
                if !std::mem::replace(&mut self.logged_not_writable, true) {
                    let (reason, remedy) = ("SpoolNotWritable", remedy_to_write(error.kind()));
                    tracing::error!(reason, name, %error, remedy, "cannot remove a file from its directory");
                }
                if job.verified.is_some() {
                    (job.refusals, job.cause) = (0, None);
                }
                self.try_again(job, now, jitter);
            }
        }
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
