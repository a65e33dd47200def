//! Whether a file is a complete recording.

use tokio::time::Instant;

use crate::domain::delivery::{Completeness, Sighting, completeness, quiet};
use crate::uploader::spool::recording::{Recording, Unopened};
use crate::uploader::spool::{Opened, Spool};
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::outcome::{Outcome, Stop};

/// Opens a recording that is complete.
pub async fn open(spool: &Spool, job: &mut Job, pod_ends: bool) -> Result<Recording, Stop> {
    let opened = spool.open(&job.path, job.sighting == Sighting::Renamed).await;
    let Opened { recording, lease, now_there } = opened.map_err(|unopened| match unopened {
        Unopened::Poison(poison) => Stop::Poison(poison),
        Unopened::Error(error) => job.unread(&error),
    })?;
    let now = Instant::now();
    let since = match job.steady {
        Some((version, since)) if version == recording.version => since,
        _ => now,
    };
    job.steady = Some((recording.version, since));
    let quiet = quiet(lease, recording.modified, now_there, now - since);
    match completeness(job.sighting, quiet, lease, pod_ends) {
        Completeness::Complete => Ok(recording),
        Completeness::NotBefore(wait) => Err(Outcome::Incomplete(wait).into()),
    }
}
