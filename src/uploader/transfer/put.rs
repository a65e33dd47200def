//! Putting a recording as a whole, and seeing that an object arrived.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::uploader::transfer::deliver::{Outcome, Stop, Works};
use crate::uploader::transfer::examine;
use crate::uploader::queue::Job;
use crate::uploader::storage::{Broker, Bucket, Storage};
use crate::uploader::spool::recording::Recording;
use crate::uploader::broker::session::NoSession;
use crate::uploader::transfer::body::{ReadError, stream};
use crate::api::{Answer, Crc64Nvme, DestinationDocument};
use crate::aws::Body;
use crate::domain::delivery::{Next, after_head, after_head_or_afresh, after_put, after_read_back};

/// What is sent.
#[derive(Clone, Copy)]
pub struct Sending<'a> {
    /// Where to.
    pub destination: &'a Rc<DestinationDocument>,
    /// Under which key.
    pub key: &'a str,
    /// The open file.
    pub recording: &'a Arc<Recording>,
}

/// What there is under the key now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The recording.
    Verified,
    /// Something else.
    Conflict,
    /// Nothing, and what was sent for it is lost. What S3 said.
    Void(String),
}

/// A question to S3.
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

impl<B: Broker, S: Storage> Works<B, S> {
    /// Puts a recording as a whole, from memory if it is small.
    pub async fn put(
        &self,
        sending: Sending<'_>,
        job: &mut Job,
    ) -> Result<(Arrival, Crc64Nvme), Stop> {
        let Sending { key, recording, .. } = sending;
        if let Some(small) = examine::read_whole(recording, job).await? {
            let crc64nvme = Crc64Nvme::of(&small);
            let put = async |bucket: &S::Bucket| {
                if let Some(pace) = &self.pace {
                    tokio::time::sleep(pace.wait(small.len(), Instant::now())).await;
                }
                let answer = bucket.put_if_absent(key, Body::Bytes(small.clone()), crc64nvme).await;
                Ok((after_put(&answer, crc64nvme), said("PutObject", &answer)))
            };
            return Ok((self.ask(Question::Make, put, sending, crc64nvme, job).await?, crc64nvme));
        }
        let _stream = self.streams.one().await;
        let crc64nvme = examine::checksum(recording, job).await?;
        let put = async |bucket: &S::Bucket| {
            let (body, read_error) = stream(recording, recording.range(), self.pace.as_ref());
            let answer = bucket.put_if_absent(key, body, crc64nvme).await;
            sent(&answer, &read_error)?;
            Ok((after_put(&answer, crc64nvme), said("PutObject", &answer)))
        };
        Ok((self.ask(Question::Make, put, sending, crc64nvme, job).await?, crc64nvme))
    }

    /// Has an object made, and asks S3 what it holds, until that is known or cannot be known now.
    pub async fn ask(
        &self,
        first: Question,
        make: impl AsyncFn(&S::Bucket) -> Result<(Next, String), NotRead>,
        sending: Sending<'_>,
        crc64nvme: Crc64Nvme,
        job: &mut Job,
    ) -> Result<Arrival, Stop> {
        let Sending { destination, key, recording } = sending;
        let (size, state) = (recording.identity.size, (recording.identity, key.to_owned()));
        let mut question = if job.answered.as_ref() == Some(&state) { Question::Head } else { first };
        let mut renewed = false;
        loop {
            let bucket = self.bucket(destination).await?;
            let (next, said) = match question {
                Question::Make => {
                    job.attempts += 1;
                    make(&bucket).await.map_err(|NotRead(error)| examine::unread(&error, job))?
                }
                Question::Head => {
                    let answer = bucket.head(key).await;
                    (after_head(&answer, crc64nvme, size), said("HeadObject", &answer))
                }
                Question::HeadOrAfresh => {
                    let answer = bucket.head(key).await;
                    (after_head_or_afresh(&answer, crc64nvme, size), said("HeadObject", &answer))
                }
                Question::ReadBack => {
                    let answer = bucket.read_back(key).await;
                    (after_read_back(&answer, crc64nvme), said("GetObject", &answer))
                }
            };
            match next {
                Next::Verified => return Ok(Arrival::Verified),
                Next::Conflict => return Ok(Arrival::Conflict),
                Next::Afresh => return Ok(Arrival::Void(said)),
                Next::Head => {
                    job.answered = Some(state.clone());
                    question = Question::Head;
                }
                Next::HeadOrAfresh => question = Question::HeadOrAfresh,
                Next::ReadBack => question = Question::ReadBack,
                Next::RenewSession if !renewed => {
                    renewed = true;
                    self.sessions.discard(&bucket).await;
                }
                next => return Err(self.stop(next, said, recording, &bucket, job).await),
            }
        }
    }

    /// The bucket, for as long as recordings go there.
    pub async fn bucket(
        &self,
        destination: &Rc<DestinationDocument>,
    ) -> Result<Rc<S::Bucket>, Outcome> {
        if !self.sends_to(destination) {
            return Err(Outcome::Interrupted);
        }
        self.sessions.bucket(destination).await.map_err(|NoSession(why)| Outcome::Refused(why))
    }

    /// What follows when S3 has said that there is nothing more to do now.
    pub async fn stop(
        &self,
        next: Next,
        said: String,
        recording: &Recording,
        bucket: &Rc<S::Bucket>,
        job: &mut Job,
    ) -> Stop {
        match next {
            Next::Reexamine if !recording.is_unchanged().unwrap_or(false) => examine::changed(job),
            Next::PutAgain => {
                job.answered = None;
                Outcome::Failed(said).into()
            }
            Next::RenewSession | Next::Pause => {
                job.answered = None;
                self.sessions.discard(bucket).await;
                Outcome::Refused(said).into()
            }
            _ => Outcome::Failed(said).into(),
        }
    }
}

/// The file could not be read while it was sent.
#[derive(Debug)]
pub struct NotRead(pub io::Error);

/// Tells a call that broke because the file could not be read from one that broke on its way.
pub fn sent<T>(answer: &Answer<T>, read_error: &ReadError) -> Result<(), NotRead> {
    match (answer, read_error.get()) {
        (Answer::Silent(_), Some(error)) => Err(NotRead(match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        })),
        _ => Ok(()),
    }
}

/// The answer in words, for the log.
pub fn said<T>(call: &str, answer: &Answer<T>) -> String {
    match answer {
        Answer::Granted(_) => format!("S3 granted {call}"),
        Answer::Refused(refusal) => format!("S3 answered {call} with {} {}", refusal.status, refusal.code),
        Answer::Silent(silence) => format!("{call}: {silence}"),
    }
}
