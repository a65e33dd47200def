//! Whether a file is a complete recording, and its checksum.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::blocking;
use super::deliver::{Outcome, Stop};
use super::ledger::Job;
use super::recording::{Recording, Unopened};
use super::spool::Spool;
use crate::api::Crc64Nvme;
use crate::domain::delivery::{
    CHANGES_BEFORE_QUARANTINE, Completeness, Lease, Poison, Sighting, Unread, after_failed_read, completeness,
};

/// Opens a recording that is complete.
pub async fn open(spool: &Spool, job: &mut Job) -> Result<Arc<Recording>, Stop> {
    let (path, renamed) = (spool.path(&job.path), job.sighting == Sighting::Renamed);
    let opened = blocking(move || {
        let recording = Recording::open(&path)?;
        let lease = if renamed { Lease::Unavailable } else { recording.lease() };
        Ok((recording, lease))
    });
    let (recording, lease) = opened.await.map_err(|unopened| match unopened {
        Unopened::Poison(poison) => Stop::Poison(poison),
        Unopened::Error(error) => unread(&error, job),
    })?;
    let now = Instant::now();
    let since = match job.steady {
        Some((identity, since)) if identity == recording.identity => since,
        _ => now,
    };
    job.steady = Some((recording.identity, since));
    // The file system's clock may be ahead of ours, so what we saw ourselves counts too.
    let quiet = recording.age().max(now - since);
    match completeness(job.sighting, quiet, lease) {
        Completeness::Complete => Ok(Arc::new(recording)),
        Completeness::NotBefore(wait) => Err(Outcome::Incomplete(wait).into()),
    }
}

/// The checksum of a recording, computed once for each state of the file.
pub async fn checksum(recording: &Arc<Recording>, job: &mut Job) -> Result<Crc64Nvme, Stop> {
    if let Some((identity, crc64nvme)) = job.checksum
        && identity == recording.identity
    {
        return Ok(crc64nvme);
    }
    let reading = recording.clone();
    let read = blocking(move || io::Result::Ok((reading.checksum()?, reading.is_unchanged()?)));
    match read.await {
        Ok((crc64nvme, true)) => {
            job.checksum = Some((recording.identity, crc64nvme));
            Ok(crc64nvme)
        }
        Ok((_, false)) => Err(changed(job)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(changed(job)),
        Err(error) => Err(unread(&error, job)),
    }
}

/// Whatever was known of a file that changed is void, the evidence that it was complete first of all.
pub fn changed(job: &mut Job) -> Stop {
    job.changes += 1;
    job.checksum = None;
    job.sighting = Sighting::Found;
    if job.changes >= CHANGES_BEFORE_QUARANTINE {
        return Stop::Poison(Poison::KeepsChanging);
    }
    Stop::With(Outcome::Changed)
}

fn unread(error: &io::Error, job: &Job) -> Stop {
    match after_failed_read(error, job.failures + 1) {
        Unread::Gone => Outcome::Gone.into(),
        Unread::Poison(poison) => Stop::Poison(poison),
        Unread::Retry => Outcome::Postponed(format!("it could not be read: {error}")).into(),
    }
}
