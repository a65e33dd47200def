//! Sending a recording in parts, with a journal, so that only what was in flight is sent again.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::{Fuse, FusedFuture as _, FutureExt as _, LocalBoxFuture};
use futures::stream::FuturesUnordered;

use crate::uploader::transfer::deliver::{Outcome, Stop, Works};
use crate::uploader::queue::Job;
use crate::uploader::storage::{Broker, Bucket, Storage};
use crate::uploader::spool::recording::{Identity, Recording};
use crate::uploader::transfer::body::stream;
use crate::uploader::transfer::put::{Arrival, NotRead, Question, Sending, said, sent};
use crate::uploader::blocking;
use crate::uploader::transfer::examine;
use crate::uploader::spool::journal;
use crate::api::{Answer, Crc64Nvme, DestinationDocument, Part};
use crate::domain::delivery::{
    Dropped, Journal, Next, after_abort, after_complete, after_create, after_part,
};

/// Parts of one recording on their way, or waiting for a stream, at a time. After a kill these are sent again, and as
/// many that had arrived without the journal's telling so.
const PARTS_AT_ONCE: usize = 4;

/// An upload that this process has begun or taken over, and the state of the file that it is of.
#[derive(Clone, Debug)]
pub struct Upload {
    identity: Identity,
    journal: Journal,
}

/// Why a part did not go.
enum NotSent<T> {
    /// The file could not be read.
    NotRead(NotRead),
    /// Nothing may be sent now.
    Stop(Outcome),
    /// S3 did not take it.
    Refused(Next, String, Rc<T>),
}

/// Adds to a count of bytes, for as long as it lives.
struct Held<'a> {
    all: &'a Cell<u64>,
    own: u64,
}

impl<'a> Held<'a> {
    fn new(all: &'a Cell<u64>) -> Self {
        Held { all, own: 0 }
    }

    fn add(&mut self, range: Range<u64>) {
        self.own += range.end - range.start;
        self.all.update(|all| all + range.end - range.start);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.update(|all| all - self.own);
    }
}

impl<B: Broker, S: Storage> Works<B, S> {
    /// Sends a recording in parts of this size, those of them that S3 does not have yet.
    pub async fn put_in_parts(
        &self,
        part_size: u64,
        sending: Sending<'_>,
        job: &mut Job,
    ) -> Result<(Arrival, Crc64Nvme), Stop> {
        self.take_over(sending, job).await?;
        if job.upload.is_none() {
            self.begin(part_size, sending, job).await?;
        }
        let first = self.send_parts(sending, job).await?;
        // Parts that were read at different times must not be made one object that never was a file.
        let reading = sending.recording.clone();
        match blocking(move || reading.is_unchanged()).await {
            Ok(true) => {}
            Ok(false) => return Err(examine::changed(job)),
            Err(error) => return Err(examine::unread(&error, job)),
        }
        let Some(Upload { journal, .. }) = job.upload.clone() else {
            return Err(Outcome::Failed("the upload is gone".to_owned()).into());
        };
        let crc64nvme = match journal.crc64nvme() {
            Some(known) => known,
            // S3 may have made the object of parts that the journal does not know of.
            None => examine::checksum(sending.recording, job).await?,
        };
        let upload_id = journal.upload_id.as_deref().unwrap_or_default();
        let complete = async |bucket: &S::Bucket| {
            let answer = bucket.complete_multipart(sending.key, upload_id, &journal.parts, crc64nvme).await;
            Ok((after_complete(&answer, crc64nvme), said("CompleteMultipartUpload", &answer)))
        };
        let arrival = self.ask(first, complete, sending, crc64nvme, job).await?;
        if arrival != Arrival::Verified {
            self.drop_upload(sending.destination, job).await?;
        }
        job.checksum = Some((sending.recording.identity, crc64nvme));
        match arrival {
            Arrival::Void(said) => Err(Outcome::Failed(said).into()),
            arrival => Ok((arrival, crc64nvme)),
        }
    }

    /// Finds the upload that was begun earlier, by this process or one before, with those of its parts whose bytes the
    /// file still has.
    async fn take_over(&self, sending: Sending<'_>, job: &mut Job) -> Result<(), Stop> {
        let Sending { destination, key, recording } = sending;
        let identity = recording.identity;
        let is_for = |journal: &Journal| journal.is_for(&destination.target.bucket, key, identity.size);
        if job.upload.as_ref().is_some_and(|known| known.identity == identity && is_for(&known.journal)) {
            return Ok(());
        }
        let known = match job.upload.take() {
            Some(Upload { journal, .. }) => Some(journal),
            None => self.load_journal(&job.path).await,
        };
        let Some(journal) = known else { return Ok(()) };
        if journal.upload_id.is_none() || !is_for(&journal) {
            job.upload = Some(Upload { identity, journal });
            self.drop_upload(destination, job).await?;
            return Ok(());
        }
        let reading = recording.clone();
        let checked = blocking(move || {
            let mut journal = journal;
            let mut same = Vec::new();
            for part in &journal.parts {
                if reading.checksum(journal.range(part.number))? == part.crc64nvme {
                    same.push(part.number);
                }
            }
            journal.keep(|part| same.contains(&part.number));
            Ok(journal)
        });
        let journal = checked.await.map_err(|error| examine::unread(&error, job))?;
        let (name, parts) = (job.path.display(), journal.parts.len());
        tracing::info!(%name, parts, "An upload in parts goes on");
        job.upload = Some(Upload { identity, journal });
        Ok(())
    }

    async fn load_journal(&self, path: &Path) -> Option<Journal> {
        let (spool, relative) = (self.spool.clone(), path.to_owned());
        let loaded = blocking(move || journal::load(&spool, &relative)).await;
        let name = path.display();
        loaded.unwrap_or_else(|error| {
            tracing::warn!(%name, %error, "A journal could not be read: its recording is sent from the beginning");
            None
        })
    }

    /// Asks S3 for an upload. That it was asked is written before, as its answer may be lost.
    async fn begin(&self, part_size: u64, sending: Sending<'_>, job: &mut Job) -> Result<(), Stop> {
        let Sending { destination, key, recording } = sending;
        let bucket = self.bucket(destination).await?;
        let mut journal = Journal {
            path: job.path.to_str().unwrap_or_default().to_owned(),
            size: recording.identity.size,
            bucket: destination.target.bucket.clone(),
            region: destination.target.region.clone(),
            key: key.to_owned(),
            part_size,
            upload_id: None,
            parts: Vec::new(),
        };
        self.save_journal(journal.clone()).await;
        let answer = bucket.create_multipart(key).await;
        let words = said("CreateMultipartUpload", &answer);
        let was_refused = matches!(answer, Answer::Refused(_));
        match after_create(answer) {
            Ok(upload_id) => {
                journal.upload_id = Some(upload_id);
                self.save_journal(journal.clone()).await;
                job.upload = Some(Upload { identity: recording.identity, journal });
                Ok(())
            }
            Err(next) => {
                if was_refused {
                    self.remove_journal(&job.path).await;
                }
                if next == Next::RenewSession {
                    self.sessions.discard(&bucket).await;
                    return Err(Outcome::Failed(words).into());
                }
                Err(self.stop(next, words, recording, &bucket, job).await)
            }
        }
    }

    /// Sends what S3 does not have, and says what to ask S3 when all is sent.
    async fn send_parts(&self, sending: Sending<'_>, job: &mut Job) -> Result<Question, Stop> {
        let Some(Upload { journal, .. }) = &mut job.upload else { return Ok(Question::Make) };
        let mut missing: VecDeque<i32> = journal.missing().collect();
        let mut held = Held::new(&self.in_parts);
        for part in &journal.parts {
            held.add(journal.range(part.number));
        }
        let (mut on_their_way, mut refused) = (FuturesUnordered::new(), None);
        // Parts of which no journal tells, and those of them that the one being written does.
        let (mut saving, mut untold, mut being_told) = (Fuse::terminated(), 0, 0);
        loop {
            while refused.is_none()
                && on_their_way.len() < PARTS_AT_ONCE
                && untold < PARTS_AT_ONCE
                && let Some(number) = missing.pop_front()
            {
                let upload_id = journal.upload_id.clone().unwrap_or_default();
                on_their_way.push(self.send_part(sending, upload_id, number, journal.range(number)));
            }
            if untold > 0 && saving.is_terminated() {
                being_told = untold;
                let save: LocalBoxFuture<'_, ()> = Box::pin(self.save_journal(journal.clone()));
                saving = save.fuse();
            }
            tokio::select! {
                Some(answer) = on_their_way.next() => match answer {
                    Ok(part) => {
                        held.add(journal.range(part.number));
                        journal.enter(part);
                        untold += 1;
                    }
                    Err(why) => refused = refused.or(Some(why)),
                },
                () = &mut saving, if !saving.is_terminated() => untold -= being_told,
                else => break,
            }
        }
        drop(on_their_way);
        match refused {
            None => Ok(Question::Make),
            Some(NotSent::NotRead(NotRead(error))) => Err(examine::unread(&error, job)),
            Some(NotSent::Stop(outcome)) => Err(outcome.into()),
            Some(NotSent::Refused(Next::HeadOrAfresh, ..)) => Ok(Question::HeadOrAfresh),
            Some(NotSent::Refused(next, said, bucket)) => {
                Err(self.stop(next, said, sending.recording, &bucket, job).await)
            }
        }
    }

    async fn send_part(
        &self,
        sending: Sending<'_>,
        upload_id: String,
        number: i32,
        range: Range<u64>,
    ) -> Result<Part, NotSent<S::Bucket>> {
        let Sending { destination, key, recording } = sending;
        let _stream = self.streams.one().await;
        let crc64nvme = part_checksum(recording, range.clone()).await.map_err(NotSent::NotRead)?;
        let mut renewed = false;
        loop {
            let bucket = self.bucket(destination).await.map_err(NotSent::Stop)?;
            let (body, read_error) = stream(recording, range.clone(), self.pace.as_ref());
            let answer = bucket.upload_part(key, &upload_id, number, body, crc64nvme).await;
            sent(&answer, &read_error).map_err(NotSent::NotRead)?;
            let words = said("UploadPart", &answer);
            match after_part(answer) {
                Ok(part) => return Ok(part),
                Err(Next::RenewSession) if !renewed => {
                    renewed = true;
                    self.sessions.discard(&bucket).await;
                }
                Err(next) => return Err(NotSent::Refused(next, words, bucket)),
            }
        }
    }

    /// Ends the upload of a recording that will not go on, if it has one, and says so where S3 keeps its parts.
    pub async fn drop_upload(
        &self,
        destination: &Rc<DestinationDocument>,
        job: &mut Job,
    ) -> Result<(), Outcome> {
        let journal = match job.upload.take() {
            Some(upload) => upload.journal,
            None => match self.load_journal(&job.path).await {
                Some(journal) => journal,
                None => return Ok(()),
            },
        };
        match self.abort(&journal, destination).await? {
            Dropped::Gone => {}
            Dropped::Left | Dropped::Unknown => {
                let Journal { bucket, key, upload_id, .. } = &journal;
                let remedy =
                    "a lifecycle rule with AbortIncompleteMultipartUpload removes what such uploads leave";
                tracing::warn!(
                    bucket,
                    key,
                    upload_id,
                    remedy,
                    "An upload in parts may be left in the bucket"
                );
                self.left_open.set(self.left_open.get() + 1);
            }
        }
        self.remove_journal(&job.path).await;
        Ok(())
    }

    /// Aborts an upload. Of the destination's own bucket the answer is waited for; another one, to which the session
    /// hardly gives a right, is asked once.
    async fn abort(
        &self,
        journal: &Journal,
        destination: &Rc<DestinationDocument>,
    ) -> Result<Dropped, Outcome> {
        let Some(upload_id) = &journal.upload_id else { return Ok(Dropped::Left) };
        let mut there = (**destination).clone();
        there.target.bucket.clone_from(&journal.bucket);
        there.target.region.clone_from(&journal.region);
        if there != **destination {
            let Some(bucket) = self.sessions.elsewhere(&there).await else { return Ok(Dropped::Left) };
            return Ok(after_abort(&bucket.abort_multipart(&journal.key, upload_id).await));
        }
        let bucket = self.bucket(destination).await?;
        let answer = bucket.abort_multipart(&journal.key, upload_id).await;
        match after_abort(&answer) {
            Dropped::Unknown => {
                self.sessions.discard(&bucket).await;
                Err(Outcome::Failed(said("AbortMultipartUpload", &answer)))
            }
            known => Ok(known),
        }
    }

    /// Without its journal an upload goes on all the same, and only after a kill from the beginning: a full volume must
    /// not keep the recordings in it from leaving.
    async fn save_journal(&self, journal: Journal) {
        let (spool, name) = (self.spool.clone(), journal.path.clone());
        if let Err(error) = blocking(move || journal::save(&spool, &journal)).await {
            tracing::warn!(name, %error, "The journal of an upload could not be written");
        }
    }

    /// Removes a recording's journal. One that stays tells the next process of an upload that S3 no longer knows.
    pub async fn remove_journal(&self, path: &Path) {
        let (spool, relative) = (self.spool.clone(), path.to_owned());
        if let Err(error) = blocking(move || journal::remove(&spool, &relative)).await {
            let name = path.display();
            tracing::warn!(%name, %error, "The journal of an upload could not be removed");
        }
    }
}

async fn part_checksum(recording: &Arc<Recording>, range: Range<u64>) -> Result<Crc64Nvme, NotRead> {
    let reading = recording.clone();
    blocking(move || reading.checksum(range)).await.map_err(NotRead)
}
