//! How an attempt to deliver a recording ended.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::{Crc64Nvme, UploadRefusal};
use crate::domain::delivery::Poison;
use crate::uploader::broker::session::NoSession;
use crate::uploader::spool::syscalls::Owner;

#[derive(Debug)]
pub enum Outcome {
    /// Uploaded, verified and unlinked.
    Delivered {
        key: String,
        /// Bytes.
        size: u64,
        crc64nvme: Crc64Nvme,
    },
    /// The file is no longer there.
    Gone,
    /// The broker paused or changed the destination in between.
    Interrupted,
    /// The file is not complete; it is examined again after this time.
    Incomplete(Duration),
    /// The file changed while it was read, or what arrived was not what was read.
    Changed,
    /// Neither the recording nor S3 is at fault, but the recording could not be sent. Why.
    Postponed(String),
    /// S3 gave no clear answer. Why.
    Failed(String),
    /// S3 refuses the recording.
    Refused(Answered),
    /// There is no session to send any recording with.
    NoSession(NoSession),
    /// The file can never be uploaded, and is in quarantine under this path.
    Quarantined(Poison, PathBuf),
    /// S3 holds other content under the recording's key. From now on the recording has this name.
    Renamed(PathBuf),
    /// The file cannot be removed from its directory, whose owner is known or not.
    NotWritable(io::Error, Option<Owner>),
}

/// An answer of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// For the log.
    pub words: String,
    /// What it refuses one recording, if it does.
    pub refusal: Option<UploadRefusal>,
}

/// Why the next step is not taken.
#[derive(Debug)]
pub enum Stop {
    With(Outcome),
    /// The file can never be uploaded, and goes to quarantine.
    Poison(Poison),
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Stop::With(outcome)
    }
}
