//! The summary that `recording-uploader --once` prints at its end.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Leftover, STATE_DIRECTORY};
use crate::api::{agreeing, counted};

/// What became of a directory's recordings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Where they were.
    pub directory: PathBuf,
    /// Uploaded, verified and unlinked.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Requests that failed and were repeated.
    pub retries: u64,
    /// Since the first walk of the directory.
    pub elapsed: Duration,
    /// What is still there.
    pub left: Leftover,
}

impl Summary {
    /// Whether everything arrived and left the directory.
    pub fn is_complete(&self) -> bool {
        let Leftover { pending, not_unlinked, quarantined, unread, .. } = &self.left;
        (pending, not_unlinked, quarantined, unread) == (&0, &0, &0, &None)
    }
}

/// One line for what was done, and one for each kind of thing that was not.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { directory, files, bytes, retries, elapsed, left } = self;
        let (directory, seconds) = (directory.display(), elapsed.as_secs_f64());
        let megabytes = *bytes as f64 / 1e6;
        let recordings = counted(*files, "recording");
        write!(f, "{recordings} ({megabytes:.1} MB) uploaded and verified in {seconds:.1} s")?;
        if *files > 0 && seconds > 0.0 {
            write!(f, ", {:.1} MB/s", megabytes / seconds)?;
        }
        let were = agreeing(*retries, "was", "were");
        write!(f, "; {} failed and {were} repeated", counted(*retries, "request"))?;
        if left.pending > 0 {
            let megabytes = left.pending_bytes as f64 / 1e6;
            let are = agreeing(left.pending, "is", "are");
            write!(
                f,
                "\n{} ({megabytes:.1} MB) {are} left in {directory}",
                counted(left.pending, "recording")
            )?;
            if let Some(cause) = &left.cause {
                write!(f, " ({cause})")?;
            }
            write!(f, ": run it again to go on")?;
            if !left.examples.is_empty() {
                write!(f, ". Among them: {}", left.examples.join(", "))?;
            }
        }
        if let Some(unread) = &left.unread {
            write!(
                f,
                "\nThe directory \"{unread}\" in {directory} could not be read: nothing in it was sent or counted"
            )?;
        }
        if left.not_unlinked > 0 {
            let (recordings, are) =
                (counted(left.not_unlinked, "recording"), agreeing(left.not_unlinked, "is", "are"));
            write!(
                f,
                "\n{recordings} {are} uploaded and verified but could not be removed: make {directory} writable"
            )?;
        }
        if left.quarantined > 0 {
            let (files, were) =
                (counted(left.quarantined, "file"), agreeing(left.quarantined, "was", "were"));
            write!(
                f,
                "\n{files} {were} moved to {directory}/{STATE_DIRECTORY}/quarantine: the lines above say why"
            )?;
        }
        if left.in_progress > 0 {
            let (files, were) =
                (counted(left.in_progress, "file"), agreeing(left.in_progress, "was", "were"));
            write!(
                f,
                "\n{files} {were} left alone: names that end in .part or .tmp or begin with a dot are in progress"
            )?;
        }
        if left.left_open > 0 {
            let uploads = counted(left.left_open, "unfinished upload");
            write!(f, "\n{uploads} may be left in the bucket, which the lines above name")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(left: Leftover) -> Summary {
        Summary {
            directory: "calls".into(),
            files: 20,
            bytes: 500_000_000,
            retries: 1,
            elapsed: Duration::from_millis(1250),
            left,
        }
    }

    #[test]
    fn a_directory_that_was_sent_takes_one_line() {
        let summary = summary(Leftover { in_progress: 0, ..Leftover::default() });
        assert!(summary.is_complete());
        assert_eq!(
            summary.to_string(),
            "20 recordings (500.0 MB) uploaded and verified in 1.2 s, 400.0 MB/s; 1 request failed and was repeated"
        );
    }

    #[test]
    fn whatever_is_left_is_told_with_its_cause_and_what_to_do() {
        let left = Leftover {
            pending: 2,
            pending_bytes: 1_500_000,
            examples: vec!["a.wav".into(), "b.wav".into()],
            cause: Some("S3 answered PutObject with 403 AccessDenied".into()),
            not_unlinked: 1,
            in_progress: 3,
            unread: Some("deeper".into()),
            quarantined: 4,
            left_open: 5,
            volume: None,
        };
        let summary = Summary { files: 0, bytes: 0, ..summary(left) };
        assert!(!summary.is_complete());
        assert_eq!(
            summary.to_string().lines().collect::<Vec<_>>(),
            [
                "0 recordings (0.0 MB) uploaded and verified in 1.2 s; 1 request failed and was repeated",
                "2 recordings (1.5 MB) are left in calls (S3 answered PutObject with 403 AccessDenied): run it again to \
                 go on. Among them: a.wav, b.wav",
                "The directory \"deeper\" in calls could not be read: nothing in it was sent or counted",
                "1 recording is uploaded and verified but could not be removed: make calls writable",
                "4 files were moved to calls/.recording-uploader/quarantine: the lines above say why",
                "3 files were left alone: names that end in .part or .tmp or begin with a dot are in progress",
                "5 unfinished uploads may be left in the bucket, which the lines above name",
            ]
        );
    }

    #[test]
    fn only_what_is_left_or_in_quarantine_makes_it_incomplete() {
        for (left, expected) in [
            (Leftover::default(), true),
            (Leftover { in_progress: 1, ..Leftover::default() }, true),
            (Leftover { pending: 1, ..Leftover::default() }, false),
            (Leftover { not_unlinked: 1, ..Leftover::default() }, false),
            (Leftover { quarantined: 1, ..Leftover::default() }, false),
            (Leftover { unread: Some("d".into()), ..Leftover::default() }, false),
            (Leftover { left_open: 1, ..Leftover::default() }, true),
        ] {
            assert_eq!(summary(left.clone()).is_complete(), expected, "{left:?}");
        }
    }
}
