//! What each process keeps of a destination. The targets for memory hold with 10,000 of them.

use crate::api::{
    ConditionType, Encryption, ExternalIDSecretRef, ObjectACL, RecordingDestination,
    RecordingDestinationSpec, RoleARN, Validation,
};
use crate::domain::grant;

/// For a process that only needs to know which destinations there are.
pub fn existence(destination: &mut RecordingDestination) {
    (destination.spec, destination.status) = (empty_spec(), None);
    destination.metadata.annotations = None;
}

/// For the broker: the spec, what it writes into the status, and Ready.
pub fn grants(destination: &mut RecordingDestination) {
    let ready: &str = ConditionType::Ready.into();
    destination.metadata.annotations = None;
    if let Some(status) = &mut destination.status {
        status.conditions.retain(|condition| condition.type_ == ready);
        status.checks = Vec::new();
    }
    let accounts = std::mem::take(&mut destination.spec.service_account_names);
    destination.spec.service_account_names = grant::compact_accounts(accounts);
    without_proofs(destination);
}

/// For the controller, which writes the whole status: nothing that it decides depends on the service accounts.
pub fn verdicts(destination: &mut RecordingDestination) {
    destination.spec.service_account_names = Vec::new();
}

/// The broker does not read the message of a condition that holds.
fn without_proofs(destination: &mut RecordingDestination) {
    let Some(status) = &mut destination.status else { return };
    for condition in status.conditions.iter_mut().filter(|condition| condition.status == "True") {
        condition.message = String::new();
    }
    status.conditions.shrink_to_fit();
}

/// For a destination beyond the limit of its namespace: of its spec only what decides which of the reasons not to validate it
/// comes first.
pub(super) fn beyond_limit(destination: &mut RecordingDestination) {
    let whole = std::mem::replace(&mut destination.spec, empty_spec());
    destination.spec.suspend = whole.suspend;
    if let Ok(RoleARN { partition, account, .. }) = whole.role_arn.parse() {
        destination.spec.role_arn = format!("arn:{partition}:iam::{account}:role/any");
    }
}

/// Whether the destination was beyond the limit, so that its spec is not kept. The API server admits no bucket without a name.
pub fn is_cut(destination: &RecordingDestination) -> bool {
    destination.spec.bucket.is_empty()
}

/// Whether the destination is Ready or has a claim.
pub(super) fn is_proved(destination: &RecordingDestination) -> bool {
    let has_claim = destination.status.as_ref().is_some_and(|status| status.established_time.is_some());
    has_claim || destination.condition(ConditionType::Ready).is_some_and(|ready| ready.status == "True")
}

/// A spec for a destination of which the spec is not kept.
pub(super) fn empty_spec() -> RecordingDestinationSpec {
    RecordingDestinationSpec {
        bucket: String::new(),
        region: String::new(),
        role_arn: String::new(),
        external_id_secret_ref: ExternalIDSecretRef { name: String::new(), key: String::new() },
        prefix: None,
        expected_bucket_owner: None,
        object_acl: ObjectACL::default(),
        storage_class: None,
        encryption: Encryption::default(),
        session_duration_seconds: 0,
        validation: Validation::default(),
        service_account_names: Vec::new(),
        suspend: false,
    }
}
