//! The admission of one pod: its request, its destination, its sidecar.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::destinations::Destinations;
use super::metrics::Admissions;
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::injection::{Injection, Refusal, Settings};
use crate::serve::TlsDirectory;

/// Lookups of one namespace at a time. Its pods wait for each other, and for those of no other namespace.
pub(super) const LOOKUPS: usize = 4;
/// Longest wait for a lookup; the API server waits ten seconds for the review.
const LOOKUP: Duration = Duration::from_secs(7);
/// Largest patch, in bytes, because it is held during the lookup. Most have some 5 KiB.
const LARGEST_PATCH: usize = 256 * 1024;

pub(super) struct Webhook<D> {
    pub(super) destinations: D,
    pub(super) lookups: ConcurrencyLimiter,
    /// Its ca.crt goes into the pods, by which sidecars trust the broker.
    pub(super) tls: TlsDirectory,
    /// The settings of every sidecar, but for that CA.
    pub(super) settings: Settings,
    pub(super) admissions: Admissions,
}

#[derive(Debug, strum::IntoStaticStr)]
pub(super) enum AdmissionOutcome {
    /// Holds the JSON patch.
    Injected(Vec<u8>),
    /// The pod asks for no sidecar, or has it already.
    Unchanged,
    /// The pod must change first.
    Refused(Refusal),
    /// The operator failed, for this reason. The pod is refused all the same, because without a sidecar its recordings
    /// would go nowhere.
    Failed(String),
}

impl<D: Destinations> Webhook<D> {
    /// What becomes of a pod, if the destination exists that it names.
    pub(super) async fn draft(&self, pod: &Value) -> (Option<String>, AdmissionOutcome) {
        let injection = match Injection::read(pod) {
            Ok(Some(injection)) => injection,
            Ok(None) => return (None, AdmissionOutcome::Unchanged),
            Err(refusal) => return (None, AdmissionOutcome::Refused(refusal)),
        };
        let broker_ca = match self.tls.authorities().await {
            Ok(pem) => pem,
            Err(error) => {
                return (None, AdmissionOutcome::Failed(format!("the broker's CA cannot be read: {error}")));
            }
        };
        let settings = Settings { broker_ca, ..self.settings.clone() };
        let outcome = match injection.inject(&settings) {
            Ok(injected) if injected == *pod => AdmissionOutcome::Unchanged,
            Ok(injected) => {
                let patch = json_patch::diff(pod, &injected);
                match serde_json::to_vec(&patch).expect("a patch serializes") {
                    patch if patch.len() > LARGEST_PATCH => {
                        AdmissionOutcome::Refused(Refusal::TooManyChanges)
                    }
                    patch => AdmissionOutcome::Injected(patch),
                }
            }
            Err(refusal) => AdmissionOutcome::Refused(refusal),
        };
        (Some(injection.request().destination.clone()), outcome)
    }

    /// Decides about a pod that is to be created. Nothing of the pod is held meanwhile but its patch.
    pub(super) async fn admit(
        &self,
        namespace: &str,
        destination: Option<String>,
        outcome: AdmissionOutcome,
    ) -> AdmissionOutcome {
        let Some(name) = destination else { return outcome };
        let exists = async {
            let _permit = self.lookups.acquire(namespace).await;
            self.destinations.exists(namespace, &name).await
        };
        match timeout(LOOKUP, exists).await {
            Ok(Ok(true)) => outcome,
            Ok(Ok(false)) => {
                let namespace = namespace.to_owned();
                AdmissionOutcome::Refused(Refusal::UnknownDestination { name, namespace })
            }
            Ok(Err(error)) => AdmissionOutcome::Failed(error),
            Err(_) => AdmissionOutcome::Failed(format!(
                "too many pods of namespace {namespace} at a time name destinations that are not known yet"
            )),
        }
    }
}
