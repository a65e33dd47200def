//! What the log says of failures that last.

use std::io;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::outcome::Deliveries;
use crate::api::SpoolFault;
use crate::domain::delivery::{FailureLog, LogLine, refusal_of_most, remedy_to_read, remedy_to_write};
use crate::printable::printable;
use crate::uploader::spool::syscalls::own_ids;

/// Paths in a line.
const EXAMPLES: usize = 3;

/// Why the spool cannot be used.
#[derive(Debug)]
pub struct SpoolTrouble<'a> {
    pub fault: SpoolFault,
    pub directory: PathBuf,
    /// Of reading a directory, or of getting the lock.
    pub error: Option<&'a io::Error>,
    pub is_locked: bool,
}

/// One log for each kind of failure.
#[derive(Debug, Default)]
pub struct FailureLogs {
    spool: FailureLog,
    no_session: FailureLog,
    refused: FailureLog,
    unclear: FailureLog,
    not_removed: FailureLog,
}

impl FailureLogs {
    /// Writes the lines that are due.
    pub fn write(&mut self, trouble: Option<&SpoolTrouble<'_>>, deliveries: &Deliveries, now: Instant) {
        self.of_spool(trouble, now);
        self.of_session(deliveries, now);
        self.of_s3(deliveries, now);
        self.of_removal(deliveries, now);
    }

    fn of_spool(&mut self, trouble: Option<&SpoolTrouble<'_>>, now: Instant) {
        let Some(line) = self.spool.line(trouble.is_some(), now.into_std()) else { return };
        let seconds = line.seconds();
        let Some(SpoolTrouble { fault, directory, error, is_locked }) = trouble else {
            return tracing::info!(seconds, "the spool can be used again");
        };
        let directory = directory.display();
        let Some(error) = error.filter(|_| *fault == SpoolFault::Unusable) else {
            let reason = "SpoolInUse";
            return tracing::warn!(reason, %directory, seconds, "another uploader holds the spool's lock; waiting for it to end");
        };
        let (reason, ids, kind) = ("SpoolUnusable", own_ids(), error.kind());
        let remedy = if *is_locked { remedy_to_read(kind) } else { remedy_to_write(kind) };
        tracing::error!(
            reason, %directory, %error, uid = ids.uid, gid = ids.gid, seconds, remedy,
            "cannot use the spool, or a directory in it; nothing in there is sent"
        );
    }

    fn of_session(&mut self, deliveries: &Deliveries, now: Instant) {
        let none = deliveries.breaker.without_session();
        let Some(line) = self.no_session.line(none.is_some(), now.into_std()) else { return };
        let seconds = line.seconds();
        match none {
            Some(none) => {
                let error = &none.why;
                tracing::warn!(error, seconds, "no session; every recording is kept until there is one");
            }
            None => tracing::info!(seconds, "nothing waits for a session any more"),
        }
    }

    fn of_s3(&mut self, deliveries: &Deliveries, now: Instant) {
        let refusal = refusal_of_most(deliveries.ledger.refusals().map(|(_, refusal)| refusal));
        match (self.refused.line(refusal.is_some(), now.into_std()), &refusal) {
            (Some(line), Some(refusal)) => {
                let (call, status, code, files) =
                    (refusal.call, refusal.status, &refusal.code, deliveries.ledger.refusals().count());
                let policy = refusal.policy.map(|policy| policy.to_string());
                let names = names(deliveries.ledger.refusals().map(|(path, _)| path));
                let seconds = line.seconds();
                tracing::warn!(
                    %call, status, code, policy, files, names, seconds,
                    "S3 refuses recordings; they are kept and tried again, after others"
                );
            }
            (Some(line), None) => {
                tracing::info!(seconds = line.seconds(), "S3 refuses no recording any more")
            }
            (None, _) => {}
        }
        let error = deliveries.unclear_answer.as_deref().filter(|_| deliveries.breaker.is_unclear());
        let line = self.unclear.line(error.is_some(), now.into_std());
        let Some(seconds) = line.map(LogLine::seconds) else { return };
        match error {
            Some(error) => {
                tracing::warn!(error, seconds, "S3 fails; every recording is kept and tried again")
            }
            None => tracing::info!(seconds, "S3 takes recordings again"),
        }
    }

    fn of_removal(&mut self, deliveries: &Deliveries, now: Instant) {
        let files = deliveries.ledger.not_removed().count();
        let Some(line) = self.not_removed.line(files > 0, now.into_std()) else { return };
        let seconds = line.seconds();
        let Some((error, owner)) = deliveries.not_writable.as_ref().filter(|_| files > 0) else {
            return tracing::info!(seconds, "every uploaded recording is removed");
        };
        let (reason, remedy, ids) = ("SpoolNotWritable", remedy_to_write(error.kind()), own_ids());
        let (directory_uid, directory_gid) = (owner.map(|owner| owner.uid), owner.map(|owner| owner.gid));
        let names = names(deliveries.ledger.not_removed());
        tracing::error!(
            reason, files, names, %error, directory_uid, directory_gid, uid = ids.uid, gid = ids.gid, seconds, remedy,
            "cannot remove uploaded recordings from their directories"
        );
    }
}

/// The first of them, in one text.
fn names<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    let names: Vec<_> =
        paths.take(EXAMPLES).map(|path| printable(&path.to_string_lossy()).into_owned()).collect();
    names.join(", ")
}
