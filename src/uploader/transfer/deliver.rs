//! One recording, from the spool into the bucket.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::api::{Crc64Nvme, DestinationDocument, RefusedCall, UploadRefusal};
use crate::domain::delivery::{
    Completeness, Lease, Poison, Sighting, alternate, awaits_media, completeness, object_key,
    quarantine_wait, quiet,
};
use crate::uploader::broker::Broker;
use crate::uploader::spool::recording::{Recording, Unopened};
use crate::uploader::spool::{Departure, Opened, Spool, Writer};
use crate::uploader::storage::Storage;
use crate::uploader::transfer::concurrency::Admission;
use crate::uploader::transfer::context::{Transfer, TransferContext};
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::multipart::{drop_upload, put_in_parts, remove_journal};
use crate::uploader::transfer::outcome::{Answered, Outcome, Stop};
use crate::uploader::transfer::put::put;
use crate::uploader::transfer::verify::Arrival;

/// Time between two checks whether the media file of a companion is there.
const UNTIL_MEDIA_IS_THERE: Duration = Duration::from_secs(5);

/// Takes one recording as far as it goes.
pub async fn deliver<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    destination: &Rc<DestinationDocument>,
    admission: Admission,
    job: &mut Job,
) -> Outcome {
    let outcome = match steps(context, destination, admission, job).await {
        Err(Stop::Poison(poison)) => quarantine_if_quiet(context, poison, job).await,
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
        Outcome::NotWritable(error, _) => {
            Outcome::NotWritable(error, context.spool.owner_of_directory(&job.path).await.ok())
        }
        outcome => outcome,
    }
}

async fn steps<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    destination: &Rc<DestinationDocument>,
    admission: Admission,
    job: &mut Job,
) -> Result<Outcome, Stop> {
    let (recording, lease) = open_complete(&context.spool, job, context.pod_ends.get()).await?;
    let key = object_key(&destination.target.prefix, &job.path).map_err(Stop::Poison)?;
    if let Some(outcome) = follow_media(context, &recording, job).await? {
        return Ok(outcome);
    }
    let size = recording.version.size;
    let known = job.checksum.filter(|_| job.verified == Some(recording.version));
    let crc64nvme = match known {
        Some((_, crc64nvme)) => crc64nvme,
        None => {
            let transfer = Transfer { destination, key: &key, recording: &recording };
            match send(context, transfer, admission, job).await? {
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
    context.companions.forget(&job.path).await;
    remove(context, recording, lease, job).await?;
    if job.upload.is_some() {
        // Not before: a process that finds the recording again has to learn what became of it.
        remove_journal(context, &job.path).await;
    }
    Ok(Outcome::Delivered { key, size, crc64nvme })
}

/// What becomes of a companion whose media file was set aside, or is still being written; `None`: it goes by its name.
async fn follow_media<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    recording: &Recording,
    job: &mut Job,
) -> Result<Option<Outcome>, Stop> {
    if let Some(quiet) = context.companions.media_in_progress(&job.path).await
        && awaits_media(quiet, context.pod_ends.get())
    {
        return Ok(Some(Outcome::Incomplete(UNTIL_MEDIA_IS_THERE)));
    }
    match context.companions.media_set_aside(&job.path).await {
        None => Ok(None),
        Some(media) => set_aside(context, recording, media, job).await.map(Some),
    }
}

/// Opens a recording that is complete.
async fn open_complete(spool: &Spool, job: &mut Job, pod_ends: bool) -> Result<(Recording, Lease), Stop> {
    let opened = spool.open(&job.path, job.sighting == Sighting::Renamed).await;
    let Opened { recording, lease, now_there } = opened.map_err(|unopened| match unopened {
        Unopened::Poison(poison) => Stop::Poison(poison),
        Unopened::Error(error) => job.unread(&error),
    })?;
    let quiet = quiet(lease, recording.modified, now_there, job.steady_for(recording.version));
    match completeness(job.sighting, quiet, lease, pod_ends) {
        Completeness::Complete => Ok((recording, lease)),
        Completeness::NotBefore(wait) => Err(Outcome::Incomplete(wait).into()),
    }
}

/// What it was admitted with is given back as soon as S3 has answered.
async fn send<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    mut admission: Admission,
    job: &mut Job,
) -> Result<(Arrival, Crc64Nvme), Stop> {
    if let Some(part_size) = context.sizes.part_of(transfer.recording.version.size) {
        // Each part takes memory and a request of its own.
        (admission.request, admission.memory) = (None, None);
        return put_in_parts(context, part_size, transfer, job).await;
    }
    // The file had parts when it was larger.
    if job.upload.is_some() {
        drop_upload(context, transfer.destination, job).await?;
    }
    put(context, transfer, &mut admission, job).await
}

async fn remove<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    recording: Recording,
    lease: Lease,
    job: &mut Job,
) -> Result<(), Stop> {
    // One who has it open and has long been silent is waited for no longer.
    let writer = if lease == Lease::Refused { Writer::CountsNot } else { Writer::Counts };
    match context.spool.remove(&job.path, recording, writer).await {
        Ok(Departure::Gone | Departure::Replaced) => Ok(()),
        // A writer has opened the file again.
        Ok(Departure::Kept) => Err(job.changed()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Outcome::NotWritable(error, None).into()),
    }
}

async fn set_aside<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    recording: &Recording,
    crc64nvme: Crc64Nvme,
    job: &Job,
) -> Result<Outcome, Stop> {
    if alternate(&job.path, crc64nvme) == job.path {
        let refusal = UploadRefusal {
            call: RefusedCall::PutObject,
            status: 412,
            code: "PreconditionFailed".to_owned(),
            policy: None,
            files: 1,
        };
        let words = "S3 holds other content under the key and under its alternate name; remove one of them"
            .to_owned();
        return Ok(Outcome::Refused(Answered { words, refusal: Some(refusal) }));
    }
    context.companions.set_aside(&job.path, crc64nvme).await;
    match context.spool.set_aside(&job.path, recording.version, crc64nvme).await {
        Ok((Departure::Gone, to)) => Ok(Outcome::Renamed(to)),
        Ok((Departure::Replaced | Departure::Kept, _)) => Ok(Outcome::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Gone),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(Outcome::Postponed("its alternate name is taken in the spool".to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
            Err(Stop::Poison(Poison::NameTooLong))
        }
        Err(error) => Ok(Outcome::NotWritable(error, None)),
    }
}

/// What follows for a recording that is gone from its place because it could be moved neither on nor back.
async fn bring_back<B: Broker, S: Storage>(context: &TransferContext<B, S>, job: &Job) -> Option<Outcome> {
    match context.spool.bring_back(&job.path).await {
        Ok(false) => None,
        Ok(true) => Some(Outcome::Postponed("it was in hand, and is back in its place".to_owned())),
        Err(error) => Some(Outcome::NotWritable(error, None)),
    }
}

/// A file that its writer may not be done with stays in its place.
async fn quarantine_if_quiet<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    poison: Poison,
    job: &mut Job,
) -> Outcome {
    if poison == Poison::Unreadable {
        let (version, modified, now_there) = match context.spool.examine(&job.path).await {
            Ok(examined) => examined,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::Gone,
            Err(error) => return Outcome::Postponed(error.to_string()),
        };
        let quiet = quiet(Lease::Unavailable, modified, now_there, job.steady_for(version));
        if let Some(wait) = quarantine_wait(quiet) {
            return Outcome::Incomplete(wait);
        }
    }
    match context.spool.quarantine(&job.path).await {
        Ok(path) => Outcome::Quarantined(poison, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Gone,
        Err(error) => Outcome::NotWritable(error, None),
    }
}
