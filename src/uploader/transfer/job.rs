//! What is known of one recording while it is worked on.

use std::io;
use std::path::PathBuf;

use tokio::time::Instant;

use crate::api::Crc64Nvme;
use crate::domain::delivery::{
    CHANGES_BEFORE_QUARANTINE, Journal, Poison, Sighting, Standing, Unread, after_failed_read,
};
use crate::uploader::spool::recording::{FileVersion, Recording};
use crate::uploader::transfer::concurrency::SizeClass;
use crate::uploader::transfer::outcome::{Outcome, Stop};

/// A recording to work on. Taken from the ledger, and given back.
#[derive(Clone, Debug)]
pub struct Job {
    /// Relative to the spool.
    pub path: PathBuf,
    /// Whose permit the recording holds.
    pub size_class: SizeClass,
    /// The strongest evidence that the file is complete.
    pub sighting: Sighting,
    /// Failed attempts in a row.
    pub failures: u32,
    /// Those of them in which S3 did not take the recording.
    pub refusals: u32,
    /// What S3 answered to the last of these.
    pub cause: Option<String>,
    /// Errors of reading the file since S3 last answered about it.
    pub read_errors: u32,
    /// Uploads begun.
    pub attempts: u32,
    /// How often the file was different after it had been read.
    pub changes: u32,
    /// The version last seen, and since when it has been seen.
    pub steady: Option<(FileVersion, Instant)>,
    /// The checksum of one version, so that it is computed once.
    pub checksum: Option<(FileVersion, Crc64Nvme)>,
    /// The version of which a put to this key was answered: S3 is asked what it holds before the put is repeated.
    pub answered: Option<(FileVersion, String)>,
    pub upload: Option<Upload>,
    /// The version that S3 was seen to hold.
    pub verified: Option<FileVersion>,
}

/// An upload in parts that this process has begun or taken over, and the version of the file that it is of.
#[derive(Clone, Debug)]
pub struct Upload {
    pub version: FileVersion,
    pub journal: Journal,
}

impl Job {
    pub fn new(path: PathBuf, sighting: Sighting, size_class: SizeClass) -> Self {
        Job {
            path,
            size_class,
            sighting,
            failures: 0,
            refusals: 0,
            cause: None,
            read_errors: 0,
            attempts: 0,
            changes: 0,
            steady: None,
            checksum: None,
            answered: None,
            upload: None,
            verified: None,
        }
    }

    pub fn standing(&self) -> Standing {
        Standing::of(self.refusals)
    }

    /// The file changed: everything known of it is void, the evidence that it was complete first of all.
    pub fn changed(&mut self) -> Stop {
        self.changes += 1;
        self.checksum = None;
        self.verified = None;
        self.sighting = Sighting::Found;
        if self.changes >= CHANGES_BEFORE_QUARANTINE {
            return Stop::Poison(Poison::KeepsChanging);
        }
        Stop::With(Outcome::Changed)
    }

    /// The file could not be read. One that ended early has shrunk.
    pub fn unread(&mut self, error: &io::Error) -> Stop {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.changed();
        }
        self.read_errors += 1;
        match after_failed_read(error, self.read_errors) {
            Unread::Gone => Outcome::Gone.into(),
            Unread::Poison(poison) => Stop::Poison(poison),
            Unread::Retry => Outcome::Postponed(format!("it could not be read: {error}")).into(),
        }
    }

    /// The checksum of a recording, computed once for each version of the file.
    pub async fn checksum_of(&mut self, recording: &Recording) -> Result<Crc64Nvme, Stop> {
        if let Some((version, known)) = self.checksum
            && version == recording.version
        {
            return Ok(known);
        }
        let crc64nvme = self.unchanged(recording.checksum().await)?;
        self.checksum = Some((recording.version, crc64nvme));
        Ok(crc64nvme)
    }

    /// Unwraps what was read; `Ok(None)` says that the file changed meanwhile.
    pub fn unchanged<T>(&mut self, read: io::Result<Option<T>>) -> Result<T, Stop> {
        match read {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(self.changed()),
            Err(error) => Err(self.unread(&error)),
        }
    }
}
