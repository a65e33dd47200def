//! Whether S3 holds a recording: asked until that is known, or cannot be known now.

use std::io;
use std::rc::Rc;

use tokio::time::Instant;

use crate::api::{Answer, Crc64Nvme};
use crate::domain::delivery::{Next, PUT_AGAIN_AFTER, after_head, after_head_or_afresh, after_read_back};
use crate::uploader::broker::Broker;
use crate::uploader::spool::recording::Recording;
use crate::uploader::storage::{Bucket, Storage};
use crate::uploader::transfer::body::ReadError;
use crate::uploader::transfer::context::{Transfer, TransferContext};
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::outcome::{Outcome, Stop};

/// What there is under the key now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The recording.
    Verified,
    /// Something else.
    Conflict,
    /// Nothing, and what was sent for it is lost. S3's answer.
    Void(String),
}

/// A request to S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Make the object.
    Make,
    /// What is there?
    Head,
    /// Is there anything?
    HeadOrAfresh,
    /// Which bytes are there?
    ReadBack,
}

/// Has an object made, and asks S3 what it holds, until that is known or cannot be known now.
pub async fn ask<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    first: Question,
    make: impl AsyncFn(&S::Bucket) -> Result<(Next, String), NotRead>,
    transfer: Transfer<'_>,
    crc64nvme: Crc64Nvme,
    job: &mut Job,
) -> Result<Arrival, Stop> {
    let Transfer { destination, key, recording } = transfer;
    let (size, version) = (recording.version.size, recording.version);
    let is_there = job.tried(version, key).is_there.filter(|since| since.elapsed() < PUT_AGAIN_AFTER);
    let mut question = if is_there.is_some() { Question::Head } else { first };
    let mut renewed = false;
    loop {
        let bucket = context.bucket(destination).await?;
        let (next, answered) = match question {
            Question::Make => {
                job.attempts += 1;
                make(&bucket).await.map_err(|NotRead(error)| job.unread(&error))?
            }
            Question::Head => {
                let answer = bucket.head(key).await;
                (after_head(&answer, crc64nvme, size), in_words("HeadObject", &answer))
            }
            Question::HeadOrAfresh => {
                let answer = bucket.head(key).await;
                (after_head_or_afresh(&answer, crc64nvme, size), in_words("HeadObject", &answer))
            }
            Question::ReadBack => {
                let answer = bucket.read_back(key).await;
                (after_read_back(&answer, crc64nvme), in_words("GetObject", &answer))
            }
        };
        match next {
            Next::Verified => return Ok(Arrival::Verified),
            Next::Conflict => return Ok(Arrival::Conflict),
            Next::Afresh => return Ok(Arrival::Void(answered)),
            Next::Head => {
                let tried = job.tried(version, key);
                (tried.may_have_landed, tried.is_there) = (true, Some(Instant::now()));
                question = Question::Head;
            }
            Next::Taken => {
                job.tried(version, key).is_there = Some(Instant::now());
                question = Question::Head;
            }
            Next::Unreadable if !renewed && context.sessions.doubt(&bucket).await => renewed = true,
            Next::Unreadable if !job.tried(version, key).may_have_landed => return Ok(Arrival::Conflict),
            Next::Unreadable => return Err(Outcome::Refused(unreadable(key, &answered)).into()),
            Next::HeadOrAfresh => question = Question::HeadOrAfresh,
            Next::ReadBack => question = Question::ReadBack,
            Next::RenewSession if !renewed => {
                renewed = true;
                context.sessions.discard(&bucket).await;
            }
            next => {
                // Not to know whether it landed is as if it had.
                job.tried(version, key).may_have_landed |= question == Question::Make && next == Next::Retry;
                return Err(stop(context, next, answered, recording, &bucket, job).await);
            }
        }
    }
}

fn unreadable(key: &str, answered: &str) -> String {
    format!(
        "{answered}: the object {key} is there, perhaps from an earlier try, and cannot be read; let the role read it, or \
         remove it"
    )
}

/// What follows when S3 has answered that there is nothing more to do now.
pub async fn stop<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    next: Next,
    answered: String,
    recording: &Recording,
    bucket: &Rc<S::Bucket>,
    job: &mut Job,
) -> Stop {
    match next {
        Next::Reexamine if !recording.is_unchanged().unwrap_or(false) => job.changed(),
        Next::PutAgain => {
            job.tried.iter_mut().for_each(|tried| tried.is_there = None);
            Outcome::Failed(answered).into()
        }
        Next::RenewSession | Next::Pause => {
            job.tried.iter_mut().for_each(|tried| tried.is_there = None);
            if next == Next::RenewSession {
                context.sessions.discard(bucket).await;
            } else {
                context.sessions.doubt(bucket).await;
            }
            Outcome::Refused(answered).into()
        }
        _ => Outcome::Failed(answered).into(),
    }
}

/// The file could not be read while it was sent.
#[derive(Debug)]
pub struct NotRead(pub io::Error);

/// Tells a call that broke because the file could not be read from one that broke on its way.
pub fn was_read<T>(answer: &Answer<T>, read_error: &ReadError) -> Result<(), NotRead> {
    match (answer, read_error.get()) {
        (Answer::Silent(_), Some(error)) => Err(NotRead(match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        })),
        _ => Ok(()),
    }
}

/// The answer, for the log.
pub fn in_words<T>(call: &str, answer: &Answer<T>) -> String {
    match answer {
        Answer::Granted(_) => format!("S3 granted {call}"),
        Answer::Refused(refusal) => format!("S3 answered {call} with {} {}", refusal.status, refusal.code),
        Answer::Silent(silence) => format!("{call}: {silence}"),
    }
}
