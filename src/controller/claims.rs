//! All claims, in memory: the input of [`domain::ownership`](crate::domain::ownership).

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt as _};
use tokio::sync::OnceCell;

use crate::api::{Objection, RecordingDestination, RecordingDestinationStatus};
use crate::cluster::{NamespaceAccounts, secrets};
use crate::domain::ownership::{AccountBinding, Binding, Claim, proof_date, standing};
use crate::domain::verdict::{SecretObservation, Verdict};
use crate::secret::{ExternalID, Fingerprint, Fingerprints};

/// Secrets read at the same time when the process starts.
const READERS: usize = 16;
/// Attempts to read one Secret, and the pause between two.
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// The claims, with what they are compared by.
pub(super) struct Claims {
    rule: AccountBinding,
    namespaces: NamespaceAccounts,
    destinations: Store<RecordingDestination>,
    fingerprints: Fingerprints,
    by_uid: Mutex<HashMap<String, Claim>>,
    loaded: OnceCell<()>,
    /// Reconciles all destinations, each of which finds out without a call whether it is due.
    wake: mpsc::Sender<()>,
}

impl Claims {
    pub(super) fn new(
        rule: AccountBinding,
        namespaces: NamespaceAccounts,
        destinations: Store<RecordingDestination>,
        wake: mpsc::Sender<()>,
    ) -> Self {
        let (fingerprints, by_uid, loaded) = Default::default();
        Claims { rule, namespaces, destinations, fingerprints, by_uid, loaded, wake }
    }

    /// Loads, once, the claims that were proved before this process began. Before that no claim can be called the first.
    pub(super) async fn load(&self, client: &Client) {
        let all = async {
            self.namespaces.filled().await;
            if self.destinations.wait_until_ready().await.is_err() {
                std::future::pending::<()>().await;
            }
            // A destination that was edited since is proved again: the status says nothing of its new spec.
            let established = self.destinations.state().into_iter().filter(|destination| {
                destination.status.as_ref().is_some_and(|status| {
                    status.established_time.is_some()
                        && Some(status.observed_generation) == destination.metadata.generation
                })
            });
            let reads = futures::stream::iter(established).map(async |destination| {
                let external_id = self.read_proved(client, &destination).await;
                let status = destination.status.clone().unwrap_or_default();
                let claim = Claim::as_left(&destination, &status, external_id);
                self.by_uid.lock().unwrap().insert(claim.uid.clone(), claim);
            });
            reads.buffer_unordered(READERS).collect::<()>().await;
        };
        self.loaded.get_or_init(|| all).await;
    }

    /// The External ID that was proved, if the Secret still holds it.
    async fn read_proved(&self, client: &Client, destination: &RecordingDestination) -> Option<Fingerprint> {
        let namespace = destination.namespace().unwrap_or_default();
        let reference = &destination.spec.external_id_secret_ref;
        let proved =
            destination.status.as_ref().and_then(|status| status.external_id_secret_version.as_ref());
        for attempt in 1..=ATTEMPTS {
            match secrets::external_id(client, &namespace, reference).await {
                Ok((SecretObservation::Resolved { version, .. }, Some(id))) if proved == Some(&version) => {
                    return Some(self.fingerprints.of(&id));
                }
                Ok((SecretObservation::Unreadable(500.. | 429), _)) | Err(_) => {
                    let name = destination.name_any();
                    tracing::warn!(namespace, name, attempt, "reading the Secret of a claim failed");
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(_) => return None,
            }
        }
        // One Secret must not delay all tenants; its destination reports the failure at its next validation.
        None
    }

    pub(super) fn fingerprint(&self, id: &ExternalID) -> Fingerprint {
        self.fingerprints.of(id)
    }

    /// Whether it is the External ID with which the destination's claim was proved.
    pub(super) fn is_known(&self, destination: &RecordingDestination, id: Fingerprint) -> bool {
        let uid = destination.metadata.uid.as_deref().unwrap_or_default();
        let claims = self.by_uid.lock().unwrap();
        claims.get(uid).is_some_and(|claim| claim.proved.is_some() && claim.external_id == Some(id))
    }

    /// How the destination's claim stands, given the status that it has.
    pub(super) fn standing(&self, destination: &RecordingDestination) -> Result<(), Objection> {
        let status = destination.status.clone().unwrap_or_default();
        let claims = self.by_uid.lock().unwrap();
        self.standing_among(&claims, &self.claim_of(&claims, destination, &status, None))
    }

    /// Judges a destination and records its claim under one lock, so that of two racing claims one is the first. `id` is
    /// the External ID that was sent, if one was.
    pub(super) fn judge(
        &self,
        destination: &RecordingDestination,
        id: Option<Fingerprint>,
        judge: impl FnOnce(&dyn Fn(&RecordingDestinationStatus) -> Result<(), Objection>) -> Verdict,
    ) -> Verdict {
        let mut claims = self.by_uid.lock().unwrap();
        let before = destination.status.as_ref().and_then(|status| status.established_time.clone());
        let mut verdict = judge(&|status| {
            let mut mine = self.claim_of(&claims, destination, status, id);
            // Proved by this validation, so it comes after all that were proved before.
            if status.established_time != before {
                mine.proved = None;
            }
            self.standing_among(&claims, &mine)
        });
        let mut claim = self.claim_of(&claims, destination, &verdict.status, id);
        if let Some(now) = claim.proved.filter(|_| verdict.status.established_time != before) {
            let date = proof_date(now, self.contenders(&claims, &claim));
            verdict.status.established_time = Some(Time(date));
            claim.proved = Some(date);
        }
        let new = claim.proved.is_some() && claims.get(&claim.uid) != Some(&claim);
        let contested = new && self.contenders(&claims, &claim).next().is_some();
        claims.insert(claim.uid.clone(), claim);
        // Claims of deleted destinations are dropped once they are as many as the others.
        if claims.len() > 2 * self.destinations.len() + 64 {
            claims.retain(|_, claim| self.is_alive(claim));
        }
        drop(claims);
        if contested {
            self.wake_all();
        }
        verdict
    }

    fn wake_all(&self) {
        // A full channel means that a wake-up is pending already.
        _ = self.wake.clone().try_send(());
    }

    fn claim_of(
        &self,
        claims: &HashMap<String, Claim>,
        destination: &RecordingDestination,
        status: &RecordingDestinationStatus,
        id: Option<Fingerprint>,
    ) -> Claim {
        let uid = destination.metadata.uid.as_deref().unwrap_or_default();
        let before = claims.get(uid);
        let id = id.or_else(|| before.and_then(|claim| claim.external_id));
        Claim::of(destination, status, id).following(before)
    }

    fn standing_among(&self, claims: &HashMap<String, Claim>, mine: &Claim) -> Result<(), Objection> {
        let binding_of = |namespace: &str| Binding::read(self.namespaces.of(namespace).as_deref());
        standing(mine, self.contenders(claims, mine), &binding_of, self.rule)
    }

    fn contenders<'a>(
        &'a self,
        claims: &'a HashMap<String, Claim>,
        mine: &'a Claim,
    ) -> impl Iterator<Item = &'a Claim> {
        claims.values().filter(|other| mine.is_contested_by(other)).filter(|other| self.is_alive(other))
    }

    /// Whether the claim's destination still exists; the controller is not notified of deletions.
    fn is_alive(&self, claim: &Claim) -> bool {
        let reference = ObjectRef::new(&claim.name).within(&claim.namespace);
        self.destinations
            .get(&reference)
            .is_some_and(|found| found.metadata.uid.as_deref() == Some(&claim.uid))
    }
}
