//! Putting a recording, and seeing that it arrived.
//!
//! One put for now. Multipart uploads and their journal come here.

use std::rc::Rc;

use super::deliver::{Outcome, Stop};
use super::ledger::Job;
use super::ports::{Broker, Bucket, Storage};
use super::recording::Recording;
use super::session::{NoSession, Sessions};
use super::{blocking, examine};
use crate::api::{Answer, Crc64Nvme, DestinationDocument};
use crate::domain::delivery::{Next, after_head, after_put, after_read_back};

/// Largest object of one put: 5 GiB. Amazon S3 API reference, PutObject.
const LARGEST_PUT: u64 = 5 << 30;

/// What is sent.
#[derive(Clone, Copy)]
pub struct Sending<'a> {
    /// Where to.
    pub key: &'a str,
    /// The open file.
    pub recording: &'a std::sync::Arc<Recording>,
    /// Of all of it.
    pub crc64nvme: Crc64Nvme,
}

/// What there is under the key now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The recording.
    Verified,
    /// Something else.
    Conflict,
}

/// A question to S3.
#[derive(Clone, Copy)]
enum Question {
    Put,
    Head,
    ReadBack,
}

/// Puts a recording and asks S3 what it holds, until that is known or cannot be known now.
pub async fn upload<B: Broker, S: Storage>(
    sessions: &Sessions<B, S>,
    destination: &Rc<DestinationDocument>,
    sending: Sending<'_>,
    job: &mut Job,
) -> Result<Arrival, Stop> {
    let state = (sending.recording.identity, sending.key.to_owned());
    let mut question = if job.answered.as_ref() == Some(&state) { Question::Head } else { Question::Put };
    let mut renewed = false;
    loop {
        let bucket = sessions.bucket(destination).await.map_err(|NoSession(why)| Outcome::Refused(why))?;
        let (next, said) = match question {
            Question::Put => {
                job.attempts += 1;
                put(&*bucket, sending).await?
            }
            Question::Head => {
                let answer = bucket.head(sending.key).await;
                let next = after_head(&answer, sending.crc64nvme, sending.recording.identity.size);
                (next, said("HeadObject", &answer))
            }
            Question::ReadBack => {
                let answer = bucket.read_back(sending.key).await;
                (after_read_back(&answer, sending.crc64nvme), said("GetObject", &answer))
            }
        };
        match next {
            Next::Verified => return Ok(Arrival::Verified),
            Next::Conflict => return Ok(Arrival::Conflict),
            Next::Head => {
                job.answered = Some(state.clone());
                question = Question::Head;
            }
            Next::ReadBack => question = Question::ReadBack,
            Next::RenewSession if !renewed => {
                renewed = true;
                sessions.discard(&bucket).await;
            }
            Next::Reexamine => {
                let unchanged = sending.recording.is_unchanged().unwrap_or(false);
                return Err(if unchanged { Outcome::Failed(said).into() } else { examine::changed(job) });
            }
            Next::Retry => return Err(Outcome::Failed(said).into()),
            Next::PutAgain => {
                job.answered = None;
                return Err(Outcome::Failed(said).into());
            }
            Next::RenewSession | Next::Pause => {
                job.answered = None;
                sessions.discard(&bucket).await;
                return Err(Outcome::Refused(said).into());
            }
        }
    }
}

async fn put(bucket: &impl Bucket, sending: Sending<'_>) -> Result<(Next, String), Outcome> {
    let size = sending.recording.identity.size;
    if size > LARGEST_PUT {
        return Err(Outcome::Postponed("it is larger than the 5 GiB of one put".to_owned()));
    }
    let recording = sending.recording.clone();
    let file = blocking(move || recording.reopen()).await;
    let file = file.map_err(|error| Outcome::Postponed(format!("it could not be opened again: {error}")))?;
    let answer = bucket.put_if_absent(sending.key, file, size, sending.crc64nvme).await;
    Ok((after_put(&answer, sending.crc64nvme), said("PutObject", &answer)))
}

/// The answer in words, for the log.
fn said<T>(call: &str, answer: &Answer<T>) -> String {
    match answer {
        Answer::Granted(_) => format!("S3 granted {call}"),
        Answer::Refused(refusal) => format!("S3 answered {call} with {} {}", refusal.status, refusal.code),
        Answer::Silent(silence) => format!("{call}: {silence}"),
    }
}
