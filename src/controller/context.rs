//! What every reconciliation works with, and the state that this process keeps between two of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use kube::Client;

use super::claims::Claims;
use super::metrics::{LimitedExternalIDs, ValidationDurations};
use crate::api::{Objection, RecordingDestination};
use crate::aws::Examiner;
use crate::cluster::{DestinationKey, DestinationStore, Events, NamespaceLimit};
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::verdict::{Due, Fleet, QuestionLimit, Recent, Rules, due, next_validation};

pub(super) struct Context {
    pub client: Client,
    pub events: Events,
    pub examiner: Examiner,
    pub rules: Rules,
    pub claims: Claims,
    pub namespace_limit: Arc<NamespaceLimit>,
    /// Validations under way, by namespace.
    pub validations: ConcurrencyLimiter,
    /// Reports that need no call to AWS, by namespace. They do not wait for the rate of such calls.
    pub reports: ConcurrencyLimiter,
    pub validation_durations: ValidationDurations,
    pub limited_ids: LimitedExternalIDs,
    pub destinations: DestinationStore,
    /// Turns to ask what uploaders' reports have brought into doubt.
    pub questions: Mutex<QuestionLimit>,
    /// Which proved destinations refuse the platform.
    pub fleet: Mutex<Fleet>,
    /// By UID of the destination. Boxed, because a table has room for up to twice as many.
    pub recent: Mutex<HashMap<String, Box<Recent>>>,
    /// Consecutive failures of calls to the API server.
    pub failures: Mutex<HashMap<DestinationKey, u32>>,
}

impl Context {
    pub(super) fn due(&self, destination: &RecordingDestination, recent: Option<&Recent>) -> Due {
        let standing = self.standing(destination);
        due(destination, recent, &self.rules, &standing, Timestamp::now())
    }

    fn standing(&self, destination: &RecordingDestination) -> Result<(), Objection> {
        self.namespace_limit.standing(destination)?;
        self.claims.standing(destination)
    }

    /// What this process knows of the last validation; before its first one, what the status shows.
    pub(super) fn recent(&self, seen: &RecordingDestination) -> Option<Recent> {
        let uid = seen.metadata.uid.clone()?;
        let mut all = self.recent.lock().unwrap();
        if let Some(recent) = all.get(&uid) {
            return Some(Recent::clone(recent));
        }
        let recent = Recent::from_status(seen, Timestamp::now())?;
        all.insert(uid, Box::new(recent.clone()));
        Some(recent)
    }

    /// Forgets a destination that is gone, and wakes those that its claim had refused.
    pub(super) fn forget(&self, uid: &str) {
        self.claims.end(uid);
        self.recent.lock().unwrap().remove(uid);
    }

    /// Keeps what is known, and returns when the next validation is due.
    pub(super) fn keep_recent(
        &self,
        destination: &RecordingDestination,
        recent: Option<Recent>,
        now: Timestamp,
    ) -> Timestamp {
        let (Some(uid), Some(recent)) = (destination.metadata.uid.clone(), recent) else { return now };
        let standing = self.standing(destination);
        let next = next_validation(destination, &recent, &self.rules, &standing, now);
        let mut all = self.recent.lock().unwrap();
        all.insert(uid, Box::new(recent));
        // Entries of deleted destinations are dropped once they are as many as the others.
        if all.len() > 2 * self.destinations.len() + 64 {
            let found = self.destinations.keys().into_iter().filter_map(|key| self.destinations.get(&key));
            let alive: HashSet<_> = found.filter_map(|destination| destination.metadata.uid).collect();
            all.retain(|uid, _| alive.contains(uid));
        }
        next
    }
}
