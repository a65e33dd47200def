//! What follows from how the work on a recording ended.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::uploader::transfer::deliver::Outcome;
use crate::uploader::driver::Driver;
use crate::uploader::queue::Job;
use crate::uploader::storage::{Broker, Storage};
use crate::uploader::spool::watcher::Sighted;
use crate::domain::delivery::{Sighting, backoff, remedy_to_write};

impl<B: Broker + 'static, S: Storage + 'static> Driver<B, S> {
    /// Strikes a recording out or puts it back, opens or closes the gate, and says what there is to say.
    pub fn settle(&mut self, mut job: Job, outcome: Outcome, took: Duration) {
        let (now, jitter) = (Instant::now(), rand::random::<f64>());
        let name = job.path.display().to_string();
        self.lanes.leave(job.lane);
        match outcome {
            Outcome::Delivered { key, size, crc64nvme } => {
                let (attempts, seconds) = (job.attempts, took.as_secs_f64());
                tracing::info!(name, bytes = size, checksum = %crc64nvme, key, seconds, attempts, "Uploaded and verified");
                self.metrics.uploaded(size, self.ledger.age(&job.path, SystemTime::now()));
                self.last_upload = Some(Timestamp::now());
                self.not_writable = false;
                if self.gate.arrived() {
                    tracing::info!("The destination takes recordings again");
                }
                self.ledger.strike_out(&job, now);
            }
            Outcome::Gone => self.ledger.strike_out(&job, now),
            Outcome::Interrupted => self.ledger.put_back(job, now),
            Outcome::Incomplete(wait) => self.ledger.put_back(job, now + wait),
            Outcome::Changed => {
                let due = now + backoff(job.changes, jitter);
                self.ledger.put_back(job, due);
            }
            Outcome::Postponed(why) => {
                tracing::warn!(name, why, "A recording could not be sent. It is kept, and tried again");
                self.try_again(job, now, jitter);
            }
            Outcome::Failed(why) => {
                tracing::debug!(name, why, "No clear answer");
                job.read_errors = 0;
                if self.gate.failed(&why, now, jitter) {
                    tracing::warn!(why, "S3 fails. Every recording is kept, and one at a time is tried");
                }
                self.try_again(job, now, jitter);
            }
            Outcome::Refused(why) => {
                job.read_errors = 0;
                if self.gate.refused(&why, now, jitter) {
                    tracing::warn!(
                        name,
                        why,
                        "The destination refuses. Every recording is kept, and one at a time is tried"
                    );
                }
                self.try_again(job, now, jitter);
            }
            Outcome::Quarantined(why, place) => {
                tracing::error!(name, %why, place = %place.display(), "Quarantined");
                self.metrics.quarantined();
                self.quarantined = self.quarantined.map(|known| known + 1);
                self.ledger.strike_out(&job, now);
            }
            Outcome::Renamed(to) => {
                tracing::warn!(name, to = %to.display(), "S3 holds other content under this name. Both are kept");
                self.ledger.strike_out(&job, now);
                let since = SystemTime::now();
                let size = job.steady.map_or(0, |(identity, _)| identity.size);
                self.ledger.note(Sighted { path: to, sighting: Sighting::Renamed, size, since }, now);
            }
            Outcome::NotWritable(error) => {
                if !std::mem::replace(&mut self.not_writable, true) {
                    let (reason, remedy) = ("SpoolNotWritable", remedy_to_write(error.kind()));
                    tracing::error!(reason, name, %error, remedy, "A directory does not let a file go");
                }
                self.try_again(job, now, jitter);
            }
        }
    }

    fn try_again(&mut self, mut job: Job, now: Instant, jitter: f64) {
        job.failures += 1;
        self.metrics.retried();
        let due = now + backoff(job.failures, jitter);
        self.ledger.put_back(job, due);
    }
}
