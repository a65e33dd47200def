//! What is in the ledger, counted.

use std::path::Path;
use std::time::SystemTime;

use super::{Ledger, Work};
use crate::api::UploadRefusal;

/// What is pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Recordings not yet verified.
    pub files: usize,
    /// Bytes of these recordings.
    pub bytes: u64,
    /// Since when the oldest has been there.
    pub oldest: Option<SystemTime>,
    /// Recordings verified and not unlinked.
    pub not_unlinked: usize,
}

impl Ledger {
    /// What is pending. Reads every entry.
    pub fn pending(&self) -> Pending {
        let mut pending = Pending::default();
        for entry in self.entries.values() {
            if entry.not_removed {
                pending.not_unlinked += 1;
                continue;
            }
            pending.files += 1;
            pending.bytes += entry.size;
            pending.oldest = Some(pending.oldest.map_or(entry.since, |oldest| oldest.min(entry.since)));
        }
        pending
    }

    /// Paths of recordings not yet verified.
    pub fn unverified(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().filter(|(_, entry)| !entry.verified).map(|(path, _)| &**path)
    }

    /// What S3 answered to the last tries of recordings that it did not take: the one answer, or one of several.
    pub fn cause(&self) -> Option<String> {
        let mut causes = self.entries.values().filter_map(|entry| match &entry.work {
            Work::Begun(job) if !entry.verified => job.cause.as_deref(),
            _ => None,
        });
        let first = causes.next()?;
        let is_one = causes.all(|cause| cause == first);
        Some(if is_one { first.to_owned() } else { format!("{first}, among others") })
    }

    /// Whether S3 held the recording when it was worked on last.
    pub fn is_not_removed(&self, path: &Path) -> bool {
        self.entries.get(path).is_some_and(|entry| entry.not_removed)
    }

    /// Paths of recordings that S3 holds and that are still there.
    pub fn not_removed(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().filter(|(_, entry)| entry.not_removed).map(|(path, _)| &**path)
    }

    /// The refusals that recordings wait for, with their paths, also while they are tried again.
    pub fn refusals(&self) -> impl Iterator<Item = (&Path, &UploadRefusal)> {
        self.entries.iter().filter_map(|(path, entry)| Some((&**path, &**entry.refusal.as_ref()?)))
    }

    /// Recordings go elsewhere from now on: what was refused before says nothing of that.
    pub fn forget_refusals(&mut self) {
        for entry in self.entries.values_mut() {
            entry.refusal = None;
            if let Work::Begun(job) = &mut entry.work {
                job.refusal = None;
            }
        }
    }
}
