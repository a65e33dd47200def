//! One pod: asked for, looked up, injected.

use json_patch::Patch;
use serde_json::Value;

use super::destinations::Destinations;
use super::metrics::Admissions;
use crate::domain::injection::{Injection, Refusal, Settings};
use crate::serve::TlsDirectory;

/// What the webhook needs to answer.
pub(super) struct Webhook<D> {
    pub(super) destinations: D,
    /// Its ca.crt goes into the pods, so that sidecars trust the broker.
    pub(super) tls: TlsDirectory,
    pub(super) broker_url: String,
    pub(super) image: String,
    pub(super) image_pull_policy: String,
    pub(super) bandwidth_limit: Option<u64>,
    pub(super) admissions: Admissions,
}

/// What becomes of a pod.
#[derive(Debug, strum::IntoStaticStr)]
pub(super) enum Outcome {
    /// It gets its sidecar.
    Injected(Patch),
    /// It asks for none, or has it already.
    Unchanged,
    /// It must change first.
    Refused(Refusal),
    /// We could not answer, for this reason. The pod is refused all the same: without its sidecar it
    /// would record into the void.
    Failed(String),
}

impl<D: Destinations> Webhook<D> {
    /// Decides about a pod that is to be created in a namespace.
    pub(super) async fn admit(&self, namespace: &str, pod: &Value) -> Outcome {
        let injection = match Injection::read(pod) {
            Ok(Some(injection)) => injection,
            Ok(None) => return Outcome::Unchanged,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        let destination = &injection.request().destination;
        match self.destinations.exists(namespace, destination).await {
            Ok(true) => {}
            Ok(false) => {
                let (name, namespace) = (destination.clone(), namespace.to_owned());
                return Outcome::Refused(Refusal::UnknownDestination { name, namespace });
            }
            Err(error) => return Outcome::Failed(format!("the API server could not be asked: {error}")),
        }
        let broker_ca = match self.tls.authorities().await {
            Ok(pem) => pem,
            Err(error) => return Outcome::Failed(format!("the broker's CA cannot be read: {error}")),
        };
        let settings = Settings {
            image: self.image.clone(),
            image_pull_policy: self.image_pull_policy.clone(),
            bandwidth_limit: self.bandwidth_limit,
            broker_url: self.broker_url.clone(),
            broker_ca,
        };
        match injection.inject(&settings) {
            Ok(injected) if injected == *pod => Outcome::Unchanged,
            Ok(injected) => Outcome::Injected(json_patch::diff(pod, &injected)),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }
}
