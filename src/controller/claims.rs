//! All claims, in memory: the input of [`domain::ownership`](crate::domain::ownership).

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use tokio::task::coop::consume_budget;
use tokio::time::{sleep, timeout};

use super::secret_reads::read_all;
use crate::api::{Objection, RecordingDestination, RecordingDestinationStatus};
use crate::cluster::{DestinationKey, DestinationStore, NamespaceAccounts, secrets};
use crate::domain::ownership::{AccountBinding, Binding, Claim, ClaimIndex, NewExternalIDs};
use crate::domain::verdict::{SecretObservation, Verdict, has_same_target};
use crate::secret::{ExternalID, Fingerprint, Fingerprints};

/// Time for the Secrets of all claims, before destinations are validated without those that are missing.
const READ_ALL: Duration = Duration::from_secs(8);
/// Pauses before the missing ones are read again. After the last their destinations' validations read them.
const PAUSES: [u64; 6] = [2, 4, 8, 16, 32, 64];

/// The claims, with what they are compared by.
pub(super) struct Claims {
    namespaces: NamespaceAccounts,
    destinations: DestinationStore,
    fingerprints: Fingerprints,
    index: Mutex<ClaimIndex>,
    new_ids: Mutex<NewExternalIDs>,
    loaded: AtomicBool,
    /// Destinations to reconcile; each finds out without a call whether it is due.
    wake: UnboundedSender<DestinationKey>,
}

impl Claims {
    pub(super) fn new(
        rule: AccountBinding,
        namespaces: NamespaceAccounts,
        destinations: DestinationStore,
        wake: UnboundedSender<DestinationKey>,
    ) -> Self {
        let (fingerprints, new_ids, loaded) = Default::default();
        let index = ClaimIndex::new(rule).into();
        Claims { namespaces, destinations, fingerprints, index, new_ids, loaded, wake }
    }

    /// Whether the claims that were proved before this process began are known. Before that no claim can be called the
    /// first; all destinations are woken then.
    pub(super) fn are_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Learns the claims that were proved before this process began from the statuses, and then their External IDs.
    ///
    /// Until a Secret is read, its claim is on the bucket and prefix alone.
    pub(super) async fn load(&self, client: &Client) -> Infallible {
        self.namespaces.filled().await;
        self.destinations.filled().await;
        let mut missing = Vec::new();
        for key in self.destinations.keys() {
            let Some(destination) = self.destinations.get(&key) else { continue };
            self.hold(&mut self.index.lock().unwrap(), &destination);
            self.new_ids.lock().unwrap().expect(&destination);
            if holds_claim(&destination) {
                missing.push(key);
            }
            // Thousands of destinations take a second.
            consume_budget().await;
        }
        let claims = missing.len();
        let mut first = std::pin::pin!(self.learn(client, missing));
        let in_time = timeout(READ_ALL, &mut first).await;
        self.loaded.store(true, Ordering::Release);
        self.wake(self.destinations.keys());
        let mut missing = match in_time {
            Ok(missing) => missing,
            Err(_) => first.await,
        };
        tracing::info!(claims, missing = missing.len(), "read the Secrets of the claims of earlier proofs");
        for pause in PAUSES {
            let Some(example) = missing.first() else { break };
            let (namespace, name) = &**example;
            let others = missing.len() - 1;
            tracing::warn!(
                namespace,
                name,
                others,
                "reading Secrets of claims failed; trying again in {pause} s"
            );
            sleep(Duration::from_secs(pause)).await;
            missing = self.learn(client, missing).await;
        }
        std::future::pending().await
    }

    /// Reads the External IDs that were proved, and returns the destinations whose Secret could not be read now.
    async fn learn(&self, client: &Client, destinations: Vec<DestinationKey>) -> Vec<DestinationKey> {
        read_all(destinations, async |key| {
            let Some(destination) = self.destinations.get(&key) else { return true };
            let reference = &destination.spec.external_id_secret_ref;
            let proved = destination.proved_secret_version();
            match secrets::external_id(client, &key.0, reference).await {
                Ok((SecretObservation::Resolved { version, .. }, Some(id)))
                    if proved == Some(version.as_str()) =>
                {
                    self.learned(&destination, self.fingerprints.of(&id));
                    true
                }
                Ok((SecretObservation::Unreadable(500.. | 429), _)) | Err(_) => false,
                // The Secret is gone or was edited: its destination's validation says so.
                Ok(_) => true,
            }
        })
        .await
    }

    fn learned(&self, destination: &RecordingDestination, id: Fingerprint) {
        let mut index = self.index.lock().unwrap();
        let claim = index.get(uid(destination)).filter(|claim| claim.external_id.is_none()).cloned();
        if let Some(claim) = claim {
            index.put(Claim { external_id: Some(id), ..claim });
            self.wake_changed(&mut index);
        }
    }

    pub(super) fn fingerprint(&self, id: &ExternalID) -> Fingerprint {
        self.fingerprints.of(id)
    }

    /// Whether it is the External ID with which the destination's claim was proved.
    pub(super) fn is_known(&self, destination: &RecordingDestination, id: Fingerprint) -> bool {
        let index = self.index.lock().unwrap();
        let claim = index.get(uid(destination));
        claim.is_some_and(|claim| claim.proved.is_some() && claim.external_id == Some(id))
    }

    /// Counts an External ID that is about to be tried, unless a destination of the namespace has proved it. `Err`: not now;
    /// when it may be.
    pub(super) fn admit_new_id(
        &self,
        destination: &RecordingDestination,
        id: Fingerprint,
    ) -> Result<(), Timestamp> {
        let namespace = destination.metadata.namespace.as_deref().unwrap_or_default();
        if self.index.lock().unwrap().has_proved(namespace, id) {
            return Ok(());
        }
        self.new_ids.lock().unwrap().admit(destination, id, Timestamp::now())
    }

    /// How the destination's claim stands, given the status that it has.
    pub(super) fn standing(&self, destination: &RecordingDestination) -> Result<(), Objection> {
        let unwritten = RecordingDestinationStatus::default();
        let status = destination.status.as_ref().unwrap_or(&unwritten);
        let mut index = self.index.lock().unwrap();
        self.hold(&mut index, destination);
        let mine = claim_of(&index, destination, status, None);
        let standing = index.standing(&mine, |claim| self.is_alive(claim));
        self.wake_changed(&mut index);
        standing
    }

    /// Judges a destination and records its claim under one lock, so that of two racing claims one is the first. `id` is
    /// the External ID that was sent, if one was.
    pub(super) fn judge(
        &self,
        destination: &RecordingDestination,
        id: Option<Fingerprint>,
        judge: impl FnOnce(&mut dyn FnMut(&RecordingDestinationStatus) -> Result<(), Objection>) -> Verdict,
    ) -> Verdict {
        let mut index = self.index.lock().unwrap();
        self.hold(&mut index, destination);
        let before = destination.status.as_ref().and_then(|status| status.established_time.clone());
        let mut verdict = judge(&mut |status| {
            let mut mine = claim_of(&index, destination, status, id);
            // Proved by this validation, so it comes after all that were proved before.
            if status.established_time != before {
                mine.proved = None;
            }
            index.standing(&mine, |claim| self.is_alive(claim))
        });
        let mut claim = claim_of(&index, destination, &verdict.status, id);
        if let Some(now) = claim.proved.filter(|_| verdict.status.established_time != before) {
            let date = index.proof_date(now, &claim);
            verdict.status.established_time = Some(Time(date));
            claim.proved = Some(date);
        }
        index.put(claim);
        // Claims that ended unseen, as during a new list, are dropped once they are as many as the others.
        if index.len() > 2 * self.destinations.len() + 64 {
            index.retain(|claim| self.is_alive(claim));
        }
        self.wake_changed(&mut index);
        verdict
    }

    /// Ends the claim of a destination that is gone, and wakes those that lost to it.
    pub(super) fn end(&self, uid: &str) {
        let mut index = self.index.lock().unwrap();
        self.new_ids.lock().unwrap().end(uid, index.get(uid), Timestamp::now());
        index.remove(uid);
        self.wake_changed(&mut index);
    }

    /// Wakes the destinations of a namespace whose binding has changed, and those that lost to them or lose now.
    pub(super) fn bind(&self, namespace: &str) {
        let mut index = self.index.lock().unwrap();
        index.bind(namespace, self.binding_of(namespace));
        self.wake_changed(&mut index);
        drop(index);
        self.wake(self.destinations.keys().into_iter().filter(|key| key.0 == namespace));
    }

    /// Takes over the claim that the status shows, where this process does not hold one, and the namespace's binding.
    fn hold(&self, index: &mut ClaimIndex, destination: &RecordingDestination) {
        let namespace = destination.metadata.namespace.as_deref().unwrap_or_default();
        index.bind(namespace, self.binding_of(namespace));
        if index.get(uid(destination)).is_none() && holds_claim(destination) {
            let status = destination.status.clone().unwrap_or_default();
            index.put(Claim::as_left(destination, &status, None));
        }
    }

    fn binding_of(&self, namespace: &str) -> Binding {
        Binding::read(self.namespaces.of(namespace).as_deref())
    }

    fn wake_changed(&self, index: &mut ClaimIndex) {
        let changed = index.take_woken().into_iter();
        self.wake(changed.map(|woken| Arc::new((woken.namespace, woken.name))));
    }

    fn wake(&self, destinations: impl IntoIterator<Item = DestinationKey>) {
        // It fails when the process ends.
        destinations.into_iter().for_each(|destination| _ = self.wake.unbounded_send(destination));
    }

    /// Whether the claim's destination still exists.
    fn is_alive(&self, claim: &Claim) -> bool {
        self.destinations.has(&(claim.namespace.clone(), claim.name.clone()), &claim.uid)
    }
}

/// Whether the status shows a claim of the spec as it is now. After an edit of the bucket, prefix or role it is proved again.
fn holds_claim(destination: &RecordingDestination) -> bool {
    let is_established = destination.status.as_ref().is_some_and(|status| status.established_time.is_some());
    is_established && has_same_target(destination, None)
}

fn claim_of(
    index: &ClaimIndex,
    destination: &RecordingDestination,
    status: &RecordingDestinationStatus,
    id: Option<Fingerprint>,
) -> Claim {
    let before = index.get(uid(destination));
    let id = id.or_else(|| before.and_then(|claim| claim.external_id));
    Claim::of(destination, status, id).following(before)
}

fn uid(destination: &RecordingDestination) -> &str {
    destination.metadata.uid.as_deref().unwrap_or_default()
}
