//! What is known of one recording while it is worked on.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::{Crc64Nvme, UploadRefusal};
use crate::domain::delivery::{Journal, Sighting, Standing, Unread, after_failed_read};
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
    /// The refusal that it waits for, until it arrives.
    pub refusal: Option<Rc<UploadRefusal>>,
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
    /// Whether an earlier process may have sent it.
    pub inherited: bool,
    pub tried: Option<Tried>,
    pub upload: Option<Upload>,
    /// The version that S3 was seen to hold.
    pub verified: Option<FileVersion>,
}

/// What is known of the puts of one version to one key.
#[derive(Clone, Debug)]
pub struct Tried {
    pub version: FileVersion,
    pub key: String,
    /// Whether one of them may have made the object.
    pub may_have_landed: bool,
    /// S3 is asked what it holds before the put is repeated: since when, as it may not show that the key is free.
    pub is_there: Option<Instant>,
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
            refusal: None,
            read_errors: 0,
            attempts: 0,
            changes: 0,
            steady: None,
            checksum: None,
            inherited: false,
            tried: None,
            upload: None,
            verified: None,
        }
    }

    pub fn standing(&self) -> Standing {
        Standing::of(self.refusals)
    }

    /// For how long this version has been seen, until now.
    pub fn steady_for(&mut self, version: FileVersion) -> Duration {
        let now = Instant::now();
        let since = match self.steady {
            Some((known, since)) if known == version => since,
            _ => now,
        };
        self.steady = Some((version, since));
        now - since
    }

    /// What is known of the puts of this version to this key.
    pub fn tried(&mut self, version: FileVersion, key: &str) -> &mut Tried {
        let is_same = |tried: &Tried| tried.version == version && tried.key == key;
        let known = self.tried.take().filter(is_same);
        self.tried.insert(known.unwrap_or_else(|| Tried {
            version,
            key: key.to_owned(),
            may_have_landed: self.inherited,
            is_there: None,
        }))
    }

    /// The file changed: everything known of it is void, the evidence that it was complete first of all.
    pub fn changed(&mut self) -> Stop {
        self.changes += 1;
        self.checksum = None;
        self.verified = None;
        // Another version was never sent.
        self.inherited = false;
        self.sighting = Sighting::Found;
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
