//! Whether a file is a complete recording, and its checksum.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::uploader::blocking;
use crate::uploader::spool::buffers::Buffer;
use crate::uploader::transfer::deliver::{Outcome, Stop};
use crate::uploader::transfer::concurrency::Lane;
use crate::uploader::queue::Job;
use crate::uploader::spool::recording::{Recording, Unopened};
use crate::uploader::spool::files::Spool;
use crate::api::Crc64Nvme;
use crate::domain::delivery::{
    CHANGES_BEFORE_QUARANTINE, Completeness, Lease, Poison, Sighting, Unread, after_failed_read,
    completeness, quiet,
};

/// Opens a recording that is complete.
pub async fn open(spool: &Spool, job: &mut Job, pod_ends: bool) -> Result<Arc<Recording>, Stop> {
    let (spool, path, renamed) = (spool.clone(), job.path.clone(), job.sighting == Sighting::Renamed);
    let opened = blocking(move || {
        let recording = Recording::open(spool.root(), &path)?;
        if renamed {
            return Ok((recording, Lease::Unavailable, None));
        }
        let lease = recording.lease();
        Ok((recording, lease, spool.clock().ok()))
    });
    let (recording, lease, now_there) = opened.await.map_err(|unopened| match unopened {
        Unopened::Poison(poison) => Stop::Poison(poison),
        Unopened::Error(error) => unread(&error, job),
    })?;
    let now = Instant::now();
    let since = match job.steady {
        Some((identity, since)) if identity == recording.identity => since,
        _ => now,
    };
    job.steady = Some((recording.identity, since));
    let quiet = quiet(lease, recording.modified, now_there, now - since);
    match completeness(job.sighting, quiet, lease, pod_ends) {
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
    let read =
        blocking(move || io::Result::Ok((reading.checksum(reading.range())?, reading.is_unchanged()?)));
    match read.await {
        Ok((crc64nvme, true)) => {
            job.checksum = Some((recording.identity, crc64nvme));
            Ok(crc64nvme)
        }
        Ok((_, false)) => Err(changed(job)),
        Err(error) => Err(unread(&error, job)),
    }
}

/// The bytes of a recording that fits into one buffer.
pub async fn read_whole(recording: &Arc<Recording>, job: &mut Job) -> Result<Option<Bytes>, Stop> {
    let size = recording.identity.size;
    if Lane::of(size) == Lane::Large {
        return Ok(None);
    }
    let reading = recording.clone();
    let read = blocking(move || {
        let mut buffer = Buffer::new();
        reading.read_exact_at(buffer.first(size), 0)?;
        io::Result::Ok((buffer.into_bytes(), reading.is_unchanged()?))
    });
    match read.await {
        Ok((bytes, true)) => Ok(Some(bytes)),
        Ok((_, false)) => Err(changed(job)),
        Err(error) => Err(unread(&error, job)),
    }
}

/// Whatever was known of a file that changed is void, the evidence that it was complete first of all.
pub fn changed(job: &mut Job) -> Stop {
    job.changes += 1;
    job.checksum = None;
    job.verified = None;
    job.sighting = Sighting::Found;
    if job.changes >= CHANGES_BEFORE_QUARANTINE {
        return Stop::Poison(Poison::KeepsChanging);
    }
    Stop::With(Outcome::Changed)
}

/// What follows from an error of reading. A file that ended early has shrunk.
pub fn unread(error: &io::Error, job: &mut Job) -> Stop {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return changed(job);
    }
    job.read_errors += 1;
    match after_failed_read(error, job.read_errors) {
        Unread::Gone => Outcome::Gone.into(),
        Unread::Poison(poison) => Stop::Poison(poison),
        Unread::Retry => Outcome::Postponed(format!("it could not be read: {error}")).into(),
    }
}
