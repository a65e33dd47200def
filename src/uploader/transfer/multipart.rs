//! Sends a recording in parts, with a journal, so that only what was in flight is sent again.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::{Fuse, FusedFuture as _, FutureExt as _, LocalBoxFuture};
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::{Answer, Crc64Nvme, DestinationDocument, Part};
use crate::domain::delivery::{
    Dropped, Journal, Next, after_abort, after_complete, after_create, after_part, settings,
};
use crate::uploader::broker::Broker;
use crate::uploader::spool::journal;
use crate::uploader::storage::{Bucket, Storage};
use crate::uploader::transfer::body::stream;
use crate::uploader::transfer::concurrency::SizeClass;
use crate::uploader::transfer::context::{Transfer, TransferContext};
use crate::uploader::transfer::job::{Job, Upload};
use crate::uploader::transfer::outcome::{Answered, Outcome, Stop};
use crate::uploader::transfer::verify::{Arrival, NotRead, Question, ask, in_words, stop, was_read};

/// Parts of one recording whose bytes are in motion, or wait for memory, at a time. After a kill these are sent again, with
/// those that wait for their answers, and as many that had arrived before the journal said so.
const PARTS_AT_ONCE: usize = 4;
/// Parts of one recording that are sent, or wait for their answers.
const PARTS_IN_FLIGHT: usize = 64;

/// Why a part did not arrive.
enum NotSent<T> {
    /// The file could not be read.
    NotRead(NotRead),
    /// Nothing may be sent now.
    Stop(Outcome),
    /// S3 did not take the part.
    Refused(Next, Answered, Rc<T>),
}

/// Adds to a shared count of bytes, and takes away what it added when it is dropped.
struct CountedBytes<'a> {
    all: &'a Cell<u64>,
    own: u64,
}

impl<'a> CountedBytes<'a> {
    fn new(all: &'a Cell<u64>) -> Self {
        CountedBytes { all, own: 0 }
    }

    fn add(&mut self, range: Range<u64>) {
        self.own += range.end - range.start;
        self.all.update(|all| all + range.end - range.start);
    }
}

impl Drop for CountedBytes<'_> {
    fn drop(&mut self) {
        self.all.update(|all| all - self.own);
    }
}

/// Sends a recording in parts of this size, those of them that S3 does not have yet.
pub async fn put_in_parts<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    part_size: u64,
    transfer: Transfer<'_>,
    job: &mut Job,
) -> Result<(Arrival, Crc64Nvme), Stop> {
    take_over(context, transfer, job).await?;
    if job.upload.is_none() {
        begin(context, part_size, transfer, job).await?;
    }
    let first = send_parts(context, transfer, job).await?;
    // Parts that were read at different times must not be made one object that never was a file.
    match transfer.recording.unchanged().await {
        Ok(true) => {}
        Ok(false) => return Err(job.changed()),
        Err(error) => return Err(job.unread(&error)),
    }
    let Some(Upload { journal, .. }) = job.upload.clone() else {
        return Err(Outcome::Failed("the upload is gone".to_owned()).into());
    };
    let crc64nvme = match journal.crc64nvme() {
        Some(known) => known,
        // S3 may have made the object of parts that the journal does not know of.
        None => job.checksum_of(transfer.recording).await?,
    };
    let upload_id = journal.upload_id.as_deref().unwrap_or_default();
    let complete = async |bucket: &S::Bucket| {
        let answer = bucket.complete_multipart(transfer.key, upload_id, &journal.parts, crc64nvme).await;
        Ok((after_complete(&answer, crc64nvme), in_words("CompleteMultipartUpload", &answer)))
    };
    let permit = context.concurrency.request_of_part().await;
    let arrival = ask(context, first, complete, transfer, crc64nvme, job).await?;
    drop(permit);
    if arrival != Arrival::Verified {
        drop_upload(context, transfer.destination, job).await?;
    }
    job.checksum = Some((transfer.recording.version, crc64nvme));
    match arrival {
        Arrival::Void(answered) => Err(Outcome::Failed(answered).into()),
        arrival => Ok((arrival, crc64nvme)),
    }
}

/// Finds the upload that was begun earlier, by this process or one before, with those of its parts whose bytes the
/// file still has.
async fn take_over<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    job: &mut Job,
) -> Result<(), Stop> {
    let Transfer { destination, key, recording } = transfer;
    let version = recording.version;
    let is_for = |journal: &Journal| journal.is_for(&destination.target, key, version.size);
    if job.upload.as_ref().is_some_and(|known| known.version == version && is_for(&known.journal)) {
        return Ok(());
    }
    let known = match job.upload.take() {
        Some(Upload { journal, .. }) => Some(journal),
        None => load_journal(context, &job.path).await,
    };
    let Some(journal) = known else { return Ok(()) };
    if journal.upload_id.is_none() || !is_for(&journal) {
        job.upload = Some(Upload { version, journal });
        drop_upload(context, destination, job).await?;
        return Ok(());
    }
    let mut journal = journal;
    let mut same = Vec::new();
    for part in &journal.parts {
        let read = recording.range_checksum(journal.range(part.number)).await;
        if read.map_err(|error| job.unread(&error))? == part.crc64nvme {
            same.push(part.number);
        }
    }
    journal.keep(|part| same.contains(&part.number));
    let (name, parts) = (job.path.display(), journal.parts.len());
    tracing::info!(%name, parts, "resuming an upload in parts");
    job.upload = Some(Upload { version, journal });
    Ok(())
}

async fn load_journal<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    path: &Path,
) -> Option<Journal> {
    let name = path.display();
    journal::load(&context.spool, path).await.unwrap_or_else(|error| {
        tracing::warn!(%name, %error, "cannot read a journal; its recording is sent from the beginning");
        None
    })
}

/// Asks S3 for an upload. That it was asked is written before, as its answer may be lost.
async fn begin<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    part_size: u64,
    transfer: Transfer<'_>,
    job: &mut Job,
) -> Result<(), Stop> {
    let Transfer { destination, key, recording } = transfer;
    let bucket = context.bucket(destination).await?;
    let mut journal = Journal {
        path: job.path.to_str().unwrap_or_default().to_owned(),
        size: recording.version.size,
        bucket: destination.target.bucket.clone(),
        region: destination.target.region.clone(),
        key: key.to_owned(),
        part_size,
        settings: Some(settings(&destination.target)),
        upload_id: None,
        parts: Vec::new(),
    };
    save_journal(context, journal.clone()).await;
    let permit = context.concurrency.request_of_part().await;
    let answer = bucket.create_multipart(key).await;
    drop(permit);
    let answered = in_words("CreateMultipartUpload", &answer);
    let was_refused = matches!(answer, Answer::Refused(_));
    match after_create(answer) {
        Ok(upload_id) => {
            journal.upload_id = Some(upload_id);
            save_journal(context, journal.clone()).await;
            job.upload = Some(Upload { version: recording.version, journal });
            Ok(())
        }
        Err(next) => {
            if was_refused {
                remove_journal(context, &job.path).await;
            }
            if next == Next::RenewSession {
                context.sessions.expired(&bucket).await;
                return Err(Outcome::Failed(answered.words).into());
            }
            Err(stop(context, next, answered, recording, &bucket, job).await)
        }
    }
}

/// Sends the parts that S3 does not have, and returns what to ask S3 when all are sent.
async fn send_parts<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    job: &mut Job,
) -> Result<Question, Stop> {
    let Some(Upload { journal, .. }) = &mut job.upload else { return Ok(Question::Make) };
    let mut missing: VecDeque<i32> = journal.missing().collect();
    let mut counted = CountedBytes::new(&context.bytes_in_parts);
    for part in &journal.parts {
        counted.add(journal.range(part.number));
    }
    let (mut in_flight, mut refused) = (FuturesUnordered::new(), None);
    let in_motion = Arc::new(Semaphore::new(PARTS_AT_ONCE));
    // Parts that no journal on disk names, and those of them that the journal being written names.
    let (mut saving, mut unjournalled, mut being_journalled) = (Fuse::terminated(), 0, 0);
    loop {
        let may_send = refused.is_none()
            && in_flight.len() < PARTS_IN_FLIGHT
            && unjournalled < PARTS_AT_ONCE
            && !missing.is_empty();
        if unjournalled > 0 && saving.is_terminated() {
            being_journalled = unjournalled;
            let save: LocalBoxFuture<'_, ()> = Box::pin(save_journal(context, journal.clone()));
            saving = save.fuse();
        }
        tokio::select! {
            Ok(moves) = in_motion.clone().acquire_owned(), if may_send => {
                let Some(number) = missing.pop_front() else { continue };
                let upload_id = journal.upload_id.clone().unwrap_or_default();
                in_flight.push(send_part(context, transfer, upload_id, number, journal.range(number), moves));
            }
            Some(answer) = in_flight.next() => match answer {
                Ok(part) => {
                    counted.add(journal.range(part.number));
                    journal.enter(part);
                    unjournalled += 1;
                }
                Err(why) => refused = refused.or(Some(why)),
            },
            () = &mut saving, if !saving.is_terminated() => unjournalled -= being_journalled,
            else => break,
        }
    }
    drop(in_flight);
    match refused {
        None => Ok(Question::Make),
        Some(NotSent::NotRead(NotRead(error))) => Err(job.unread(&error)),
        Some(NotSent::Stop(outcome)) => Err(outcome.into()),
        Some(NotSent::Refused(Next::HeadOrAfresh, ..)) => Ok(Question::HeadOrAfresh),
        Some(NotSent::Refused(next, answered, bucket)) => {
            Err(stop(context, next, answered, transfer.recording, &bucket, job).await)
        }
    }
}

async fn send_part<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    upload_id: String,
    number: i32,
    range: Range<u64>,
    moves: OwnedSemaphorePermit,
) -> Result<Part, NotSent<S::Bucket>> {
    let Transfer { destination, key, recording } = transfer;
    // Memory first: a part that waits for it must keep no request of another recording from going.
    let mut memory = Some(context.concurrency.memory(SizeClass::Large).await.with(moves));
    let request = context.concurrency.request_of_part().await;
    let checksum = recording.range_checksum(range.clone()).await;
    let crc64nvme = checksum.map_err(|error| NotSent::NotRead(NotRead(error)))?;
    let mut renewed = false;
    loop {
        let bucket = context.bucket(destination).await.map_err(NotSent::Stop)?;
        let memory = match memory.take() {
            Some(memory) => memory,
            None => context.concurrency.memory(SizeClass::Large).await,
        };
        let written = memory.written();
        let (body, read_error) = stream(recording, range.clone(), context.bandwidth.as_ref(), memory);
        let call = bucket.upload_part(key, &upload_id, number, body, crc64nvme);
        let answer = request.call(range.end - range.start, &written, call).await;
        was_read(&answer, &read_error).map_err(NotSent::NotRead)?;
        let answered = in_words("UploadPart", &answer);
        match after_part(answer) {
            Ok(part) => return Ok(part),
            Err(Next::RenewSession) if !renewed => {
                renewed = true;
                context.sessions.expired(&bucket).await;
            }
            Err(next) => return Err(NotSent::Refused(next, answered, bucket)),
        }
    }
}

/// Aborts the upload of a recording that will not go on, if it has one, and logs where S3 keeps its parts.
pub async fn drop_upload<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    destination: &Rc<DestinationDocument>,
    job: &mut Job,
) -> Result<(), Outcome> {
    let journal = match job.upload.take() {
        Some(upload) => upload.journal,
        None => match load_journal(context, &job.path).await {
            Some(journal) => journal,
            None => return Ok(()),
        },
    };
    match abort(context, &journal, destination).await? {
        Dropped::Gone => {}
        Dropped::Left | Dropped::Unknown => {
            let Journal { bucket, key, upload_id, .. } = &journal;
            let remedy =
                "a lifecycle rule with AbortIncompleteMultipartUpload removes what such uploads leave";
            tracing::warn!(bucket, key, upload_id, remedy, "an upload in parts may be left in the bucket");
            context.uploads_left_open.set(context.uploads_left_open.get() + 1);
        }
    }
    remove_journal(context, &job.path).await;
    Ok(())
}

/// Aborts an upload. Of the destination's own bucket the answer is waited for; another one, to which the session
/// hardly gives a right, is asked once.
async fn abort<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    journal: &Journal,
    destination: &Rc<DestinationDocument>,
) -> Result<Dropped, Outcome> {
    let Some(upload_id) = &journal.upload_id else { return Ok(Dropped::Left) };
    let mut there = (**destination).clone();
    there.target.bucket.clone_from(&journal.bucket);
    there.target.region.clone_from(&journal.region);
    if there != **destination {
        let Some(bucket) = context.sessions.elsewhere(&there).await else { return Ok(Dropped::Left) };
        return Ok(after_abort(&bucket.abort_multipart(&journal.key, upload_id).await));
    }
    let bucket = context.bucket(destination).await?;
    let answer = bucket.abort_multipart(&journal.key, upload_id).await;
    match after_abort(&answer) {
        Dropped::Unknown => {
            context.sessions.discard(&bucket).await;
            Err(Outcome::Failed(in_words("AbortMultipartUpload", &answer).words))
        }
        known => Ok(known),
    }
}

/// Without its journal an upload goes on all the same, and only after a kill from the beginning: a full volume must
/// not keep the recordings in it from leaving.
async fn save_journal<B: Broker, S: Storage>(context: &TransferContext<B, S>, journal: Journal) {
    let name = journal.path.clone();
    if let Err(error) = journal::save(&context.spool, journal).await {
        tracing::warn!(name, %error, "cannot write the journal of an upload");
    }
}

/// Removes a recording's journal. One that stays names an upload that S3 no longer knows.
pub async fn remove_journal<B: Broker, S: Storage>(context: &TransferContext<B, S>, path: &Path) {
    if let Err(error) = journal::remove(&context.spool, path).await {
        let name = path.display();
        tracing::warn!(%name, %error, "cannot remove the journal of an upload");
    }
}
