//! One recording, from the spool into the bucket.

use std::io;
use std::rc::Rc;

use tokio::time::Instant;

use crate::api::{Crc64Nvme, DestinationDocument};
use crate::domain::delivery::{Completeness, Poison, Sighting, completeness, object_key, quiet};
use crate::uploader::broker::Broker;
use crate::uploader::spool::recording::{Recording, Unopened};
use crate::uploader::spool::{Departure, Opened, Spool};
use crate::uploader::storage::Storage;
use crate::uploader::transfer::context::{Transfer, TransferContext};
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::multipart::{drop_upload, put_in_parts, remove_journal};
use crate::uploader::transfer::outcome::{Outcome, Stop};
use crate::uploader::transfer::put::put;
use crate::uploader::transfer::verify::Arrival;

/// Takes one recording as far as it goes.
pub async fn deliver<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    destination: &Rc<DestinationDocument>,
    job: &mut Job,
) -> Outcome {
    let outcome = match steps(context, destination, job).await {
        Err(Stop::Poison(poison)) => quarantine(context, poison, job).await,
        Ok(outcome) | Err(Stop::With(outcome)) => outcome,
    };
    match outcome {
        Outcome::Gone => match bring_back(context, job).await {
            Some(outcome) => outcome,
            None => drop_upload(context, destination, job).await.err().unwrap_or(Outcome::Gone),
        },
        Outcome::Quarantined(..) => {
            // What is in quarantine stays there; if S3 gave no answer, the next process ends its upload.
            let _ = drop_upload(context, destination, job).await;
            outcome
        }
        outcome => outcome,
    }
}

async fn steps<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    destination: &Rc<DestinationDocument>,
    job: &mut Job,
) -> Result<Outcome, Stop> {
    let key = object_key(&destination.target.prefix, &job.path).map_err(Stop::Poison)?;
    let recording = open_complete(&context.spool, job, context.pod_ends.get()).await?;
    let size = recording.version.size;
    let known = job.checksum.filter(|_| job.verified == Some(recording.version));
    let crc64nvme = match known {
        Some((_, crc64nvme)) => crc64nvme,
        None => {
            let transfer = Transfer { destination, key: &key, recording: &recording };
            match send(context, transfer, job).await? {
                (Arrival::Verified, crc64nvme) => crc64nvme,
                (Arrival::Conflict, crc64nvme) => {
                    return set_aside(context, &recording, crc64nvme, job).await;
                }
                (Arrival::Void(answered), _) => return Ok(Outcome::Failed(answered)),
            }
        }
    };
    job.verified = Some(recording.version);
    job.checksum = Some((recording.version, crc64nvme));
    remove(context, recording, job).await?;
    if job.upload.is_some() {
        // Not before: a process that finds the recording again has to learn what became of it.
        remove_journal(context, &job.path).await;
    }
    Ok(Outcome::Delivered { key, size, crc64nvme })
}

/// Opens a recording that is complete.
async fn open_complete(spool: &Spool, job: &mut Job, pod_ends: bool) -> Result<Recording, Stop> {
    let opened = spool.open(&job.path, job.sighting == Sighting::Renamed).await;
    let Opened { recording, lease, now_there } = opened.map_err(|unopened| match unopened {
        Unopened::Poison(poison) => Stop::Poison(poison),
        Unopened::Error(error) => job.unread(&error),
    })?;
    let now = Instant::now();
    let since = match job.steady {
        Some((version, since)) if version == recording.version => since,
        _ => now,
    };
    job.steady = Some((recording.version, since));
    let quiet = quiet(lease, recording.modified, now_there, now - since);
    match completeness(job.sighting, quiet, lease, pod_ends) {
        Completeness::Complete => Ok(recording),
        Completeness::NotBefore(wait) => Err(Outcome::Incomplete(wait).into()),
    }
}

async fn send<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    job: &mut Job,
) -> Result<(Arrival, Crc64Nvme), Stop> {
    if let Some(part_size) = context.sizes.part_of(transfer.recording.version.size) {
        return put_in_parts(context, part_size, transfer, job).await;
    }
    // The file had parts when it was larger.
    if job.upload.is_some() {
        drop_upload(context, transfer.destination, job).await?;
    }
    put(context, transfer, job).await
}

async fn remove<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    recording: Recording,
    job: &mut Job,
) -> Result<(), Stop> {
    match context.spool.remove(&job.path, recording, job.sighting == Sighting::Renamed).await {
        Ok(Departure::Gone | Departure::Replaced) => Ok(()),
        // A writer has opened the file again.
        Ok(Departure::Kept) => Err(job.changed()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Outcome::NotWritable(error).into()),
    }
}

async fn set_aside<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    recording: &Recording,
    crc64nvme: Crc64Nvme,
    job: &Job,
) -> Result<Outcome, Stop> {
    match context.spool.set_aside(&job.path, recording.version, crc64nvme).await {
        Ok((Departure::Gone, to)) => Ok(Outcome::Renamed(to)),
        Ok((Departure::Replaced | Departure::Kept, _)) => Ok(Outcome::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Gone),
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
            Err(Stop::Poison(Poison::NameTooLong))
        }
        Err(error) => Ok(Outcome::NotWritable(error)),
    }
}

/// What follows for a recording that is gone from its place because it could be moved neither on nor back.
async fn bring_back<B: Broker, S: Storage>(context: &TransferContext<B, S>, job: &Job) -> Option<Outcome> {
    match context.spool.bring_back(&job.path).await {
        Ok(false) => None,
        Ok(true) => Some(Outcome::Postponed("it was in hand, and is back in its place".to_owned())),
        Err(error) => Some(Outcome::NotWritable(error)),
    }
}

async fn quarantine<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    poison: Poison,
    job: &Job,
) -> Outcome {
    match context.spool.quarantine(&job.path).await {
        Ok(path) => Outcome::Quarantined(poison, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Gone,
        Err(error) => Outcome::NotWritable(error),
    }
}
