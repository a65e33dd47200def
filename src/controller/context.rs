//! What every reconciliation works with, and what this process remembers between two of them.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::Timestamp;
use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};

use super::claims::Claims;
use super::metrics::Looks;
use crate::api::RecordingDestination;
use crate::aws::Examiner;
use crate::cluster::Events;
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::verdict::{Due, Recent, Rules, due, next_look};

/// What the steps work with.
pub(super) struct Context {
    pub client: Client,
    pub events: Events,
    pub examiner: Examiner,
    pub rules: Rules,
    pub claims: Claims,
    /// By namespace.
    pub limiter: ConcurrencyLimiter,
    pub looks: Looks,
    pub destinations: Store<RecordingDestination>,
    /// By UID.
    pub recent: Mutex<HashMap<String, Recent>>,
    /// How often in a row the API server did not do as asked.
    pub failures: Mutex<HashMap<ObjectRef<RecordingDestination>, u32>>,
}

impl Context {
    pub(super) fn due(&self, destination: &RecordingDestination, recent: Option<&Recent>) -> Due {
        let standing = self.claims.standing(destination);
        due(destination, recent, &self.rules, &standing, Timestamp::now())
    }

    /// What this process remembers; at first sight, what the status lets it know.
    pub(super) fn recall(&self, seen: &RecordingDestination) -> Option<Recent> {
        let uid = seen.metadata.uid.clone()?;
        let mut all = self.recent.lock().unwrap();
        if let Some(recent) = all.get(&uid) {
            return Some(recent.clone());
        }
        let recent = Recent::at_first_sight(seen, Timestamp::now())?;
        all.insert(uid, recent.clone());
        Some(recent)
    }

    /// Remembers, and says when the next look is.
    pub(super) fn remember(
        &self,
        destination: &RecordingDestination,
        recent: Option<Recent>,
        now: Timestamp,
    ) -> Timestamp {
        let (Some(uid), Some(recent)) = (destination.metadata.uid.clone(), recent) else { return now };
        let standing = self.claims.standing(destination);
        let next = next_look(destination, &recent, &self.rules, &standing, now);
        let mut all = self.recent.lock().unwrap();
        all.insert(uid, recent);
        // Deletions are not announced; what is gone is forgotten when it has grown to as much again.
        if all.len() > 2 * self.destinations.len() + 64 {
            let alive: Vec<_> =
                self.destinations.state().iter().filter_map(|d| d.metadata.uid.clone()).collect();
            all.retain(|uid, _| alive.contains(uid));
        }
        next
    }
}
