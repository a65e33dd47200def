//! From a pod to its destination: whether the pod may use it, and what it may have.

use super::accounts::is_allowed;
use super::denial::Denial;
use super::identity::PodIdentity;
use crate::api::{ConditionType, DeliveryState, DestinationDocument, Endpoint, RecordingDestination};

/// Whether the pod may use the destination. `destination` is the one of the identity's namespace and name: a pod cannot
/// name one of another namespace.
pub fn may_use<T>(identity: &PodIdentity, destination: Option<T>) -> Result<T, Denial>
where
    T: AsRef<RecordingDestination>,
{
    let found = destination.ok_or(Denial::DestinationNotFound)?;
    if is_allowed(&found.as_ref().spec.service_account_names, &identity.service_account) {
        Ok(found)
    } else {
        Err(Denial::ServiceAccountNotAllowed)
    }
}

/// Whether credentials may be issued now: the present generation is proved and not suspended. The controller judges the
/// age of the proof and sets the condition.
pub fn may_have_credentials(destination: &RecordingDestination) -> Result<(), Denial> {
    // The spec is read beside the condition, so that suspension does not wait for the controller.
    if destination.spec.suspend {
        return Err(Denial::DestinationSuspended);
    }
    if destination.metadata.generation.is_none() || !destination.is_ready() {
        return Err(Denial::DestinationNotReady);
    }
    Ok(())
}

/// The destination document for a sidecar. `endpoint` is the operator's S3 override, `ca_bundle` the broker's CA
/// certificates, PEM.
pub fn document(
    destination: &RecordingDestination,
    endpoint: Option<&Endpoint>,
    ca_bundle: &str,
) -> DestinationDocument {
    let reason = paused_because(destination);
    DestinationDocument {
        state: if reason.is_some() { DeliveryState::Paused } else { DeliveryState::Active },
        reason,
        target: (&destination.spec).into(),
        endpoint: endpoint.cloned(),
        ca_bundle: ca_bundle.to_owned(),
    }
}

/// Why uploads are paused, in a sentence; `None` when they are not.
fn paused_because(destination: &RecordingDestination) -> Option<String> {
    let denial = may_have_credentials(destination).err()?;
    if denial == Denial::DestinationSuspended {
        return Some("The destination is suspended; set spec.suspend to false to resume.".to_owned());
    }
    let ready = destination.condition(ConditionType::Ready);
    Some(match ready.filter(|ready| ready.observed_generation == destination.metadata.generation) {
        Some(ready) => format!("{}: {}", ready.reason, ready.message),
        None => "The destination has not been validated since it was last edited.".to_owned(),
    })
}
