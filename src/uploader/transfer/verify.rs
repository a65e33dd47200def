//! Whether S3 holds a recording: asked until that is known, or cannot be known now.

use std::io;
use std::rc::Rc;

use tokio::time::Instant;

use crate::api::{Answer, Crc64Nvme, RefusedCall, UploadRefusal};
use crate::domain::delivery::{Next, PUT_AGAIN_AFTER, after_head, after_head_or_afresh, after_read_back};
use crate::uploader::broker::Broker;
use crate::uploader::spool::recording::Recording;
use crate::uploader::storage::{Bucket, Storage};
use crate::uploader::transfer::body::ReadError;
use crate::uploader::transfer::context::{Transfer, TransferContext};
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::outcome::{Answered, Outcome, Stop};

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
    make: impl AsyncFn(&S::Bucket) -> Result<(Next, Answered), NotRead>,
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
            Next::Verified => {
                context.sessions.taken();
                return Ok(Arrival::Verified);
            }
            Next::Conflict => return Ok(Arrival::Conflict),
            Next::Afresh => return Ok(Arrival::Void(answered.words)),
            Next::Head => {
                let tried = job.tried(version, key);
                (tried.may_have_landed, tried.is_there) = (true, Some(Instant::now()));
                question = Question::Head;
            }
            Next::Taken => {
                job.tried(version, key).is_there = Some(Instant::now());
                question = Question::Head;
            }
            Next::Unreadable
                if !renewed && context.sessions.doubt(&bucket, answered.refusal.as_ref()).await =>
            {
                renewed = true;
            }
            Next::Unreadable if !job.tried(version, key).may_have_landed => return Ok(Arrival::Conflict),
            Next::Unreadable => return Err(Outcome::Refused(unreadable(key, answered)).into()),
            Next::HeadOrAfresh => question = Question::HeadOrAfresh,
            Next::ReadBack => question = Question::ReadBack,
            Next::RenewSession if !renewed => {
                renewed = true;
                context.sessions.expired(&bucket).await;
            }
            next => {
                // Not to know whether it landed is as if it had.
                job.tried(version, key).may_have_landed |= question == Question::Make && next == Next::Retry;
                return Err(stop(context, next, answered, recording, &bucket, job).await);
            }
        }
    }
}

fn unreadable(key: &str, answered: Answered) -> Answered {
    let words = format!(
        "{}: the object {key} is there, perhaps from an earlier try, and cannot be read; let the role read it, or remove it",
        answered.words
    );
    Answered { words, ..answered }
}

/// What follows when S3 has answered that there is nothing more to do now.
pub async fn stop<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    next: Next,
    answered: Answered,
    recording: &Recording,
    bucket: &Rc<S::Bucket>,
    job: &mut Job,
) -> Stop {
    match next {
        Next::Reexamine if !recording.is_unchanged().unwrap_or(false) => job.changed(),
        Next::PutAgain => {
            job.tried.iter_mut().for_each(|tried| tried.is_there = None);
            Outcome::Failed(answered.words).into()
        }
        Next::RenewSession | Next::Pause => {
            job.tried.iter_mut().for_each(|tried| tried.is_there = None);
            if next == Next::RenewSession {
                context.sessions.expired(bucket).await;
            } else {
                context.sessions.doubt(bucket, answered.refusal.as_ref()).await;
            }
            Outcome::Refused(answered).into()
        }
        _ => Outcome::Failed(answered.words).into(),
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

/// The answer, for the log and for a report.
pub fn in_words<T>(call: &str, answer: &Answer<T>) -> Answered {
    match answer {
        Answer::Granted(_) => Answered { words: format!("S3 granted {call}"), refusal: None },
        Answer::Silent(silence) => Answered { words: format!("{call}: {silence}"), refusal: None },
        Answer::Refused(refusal) => {
            let words = format!("S3 answered {call} with {} {}", refusal.status, refusal.code);
            let refusal = UploadRefusal {
                call: call.parse().unwrap_or(RefusedCall::Other),
                status: refusal.status,
                code: refusal.code.clone(),
                policy: refusal.policy,
                files: 1,
            };
            Answered { words, refusal: Some(refusal) }
        }
    }
}
