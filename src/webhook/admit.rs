//! The admission of one pod: its request, its destination, its sidecar.

use json_patch::Patch;
use serde_json::Value;

use super::destinations::Destinations;
use super::metrics::Admissions;
use crate::domain::injection::{Injection, Refusal, Settings};
use crate::serve::TlsDirectory;

pub(super) struct Webhook<D> {
    pub(super) destinations: D,
    /// Its ca.crt goes into the pods, by which sidecars trust the broker.
    pub(super) tls: TlsDirectory,
    pub(super) broker_url: String,
    pub(super) image: String,
    pub(super) image_pull_policy: String,
    pub(super) bandwidth_limit: Option<u64>,
    pub(super) admissions: Admissions,
}

#[derive(Debug, strum::IntoStaticStr)]
pub(super) enum AdmissionOutcome {
    Injected(Patch),
    /// The pod asks for no sidecar, or has it already.
    Unchanged,
    /// The pod must change first.
    Refused(Refusal),
    /// The operator failed, for this reason. The pod is refused all the same, because without a sidecar its recordings
    /// would go nowhere.
    Failed(String),
}

impl<D: Destinations> Webhook<D> {
    /// Decides about a pod that is to be created.
    pub(super) async fn admit(&self, namespace: &str, pod: &Value) -> AdmissionOutcome {
        let injection = match Injection::read(pod) {
            Ok(Some(injection)) => injection,
            Ok(None) => return AdmissionOutcome::Unchanged,
            Err(refusal) => return AdmissionOutcome::Refused(refusal),
        };
        let destination = &injection.request().destination;
        match self.destinations.exists(namespace, destination).await {
            Ok(true) => {}
            Ok(false) => {
                let (name, namespace) = (destination.clone(), namespace.to_owned());
                return AdmissionOutcome::Refused(Refusal::UnknownDestination { name, namespace });
            }
            Err(error) => {
                return AdmissionOutcome::Failed(error);
            }
        }
        let broker_ca = match self.tls.authorities().await {
            Ok(pem) => pem,
            Err(error) => {
                return AdmissionOutcome::Failed(format!("the broker's CA cannot be read: {error}"));
            }
        };
        let settings = Settings {
            image: self.image.clone(),
            image_pull_policy: self.image_pull_policy.clone(),
            bandwidth_limit: self.bandwidth_limit,
            broker_url: self.broker_url.clone(),
            broker_ca,
        };
        match injection.inject(&settings) {
            Ok(injected) if injected == *pod => AdmissionOutcome::Unchanged,
            Ok(injected) => AdmissionOutcome::Injected(json_patch::diff(pod, &injected)),
            Err(refusal) => AdmissionOutcome::Refused(refusal),
        }
    }
}
