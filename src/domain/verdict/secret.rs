//! The Secret → the `SecretResolved` finding.

use super::evidence::{LARGEST_SECRET, SecretObservation};
use super::findings::{CheckOutcome, Conclusion};
use crate::api::{Reason, RecordingDestination};

/// Keys of a Secret that a message names.
const SHOWN_KEYS: usize = 10;

pub(super) fn read(destination: &RecordingDestination, observation: &SecretObservation) -> CheckOutcome {
    let reference = &destination.spec.external_id_secret_ref;
    let (name, key) = (&reference.name, &reference.key);
    let namespace = destination.metadata.namespace.as_deref().unwrap_or_default();
    // The shell reads the value unseen, so that it is in no history, and without a newline, as nothing trims it.
    let create = format!(
        "read -rs ID && printf %s \"$ID\" | kubectl create secret generic {name} --namespace {namespace} \
         --type=recordings.revenue.io/external-id --from-file={key}=/dev/stdin"
    );
    let failed = |reason, message: String, remedy: String| {
        CheckOutcome::new(Conclusion::Refuted, reason, message, remedy)
    };
    match observation {
        SecretObservation::Resolved { .. } => CheckOutcome::new(
            Conclusion::Proved,
            Reason::Validated,
            format!("Secret {name} holds a well-formed External ID under {key}"),
            "",
        ),
        SecretObservation::NotFound => failed(
            Reason::SecretNotFound,
            format!("Secret {name} does not exist in namespace {namespace}"),
            format!("Create it, and type the External ID, which the shell does not show:\n{create}"),
        ),
        SecretObservation::TypeMismatch => failed(
            Reason::SecretTypeMismatch,
            format!("Secret {name} is not of type recordings.revenue.io/external-id; its value was not used"),
            format!(
                "A Secret's type cannot be changed; re-create it:\nkubectl delete secret {name} --namespace {namespace}\n{create}"
            ),
        ),
        SecretObservation::KeyMissing(keys) => failed(
            Reason::SecretKeyMissing,
            format!("Secret {name} has no key {key}; it has {}", in_words(keys)),
            format!("Put the External ID under {key}, or name the right key in spec.externalIDSecretRef.key"),
        ),
        SecretObservation::TooLarge => failed(
            Reason::ExternalIDMalformed,
            format!(
                "Secret {name} has more than {} KiB with its metadata, the most that is read; its value was not used",
                LARGEST_SECRET / 1024
            ),
            format!(
                "Keep the External ID in a Secret of its own:\nkubectl delete secret {name} --namespace {namespace}\n{create}"
            ),
        ),
        SecretObservation::Unreadable(status) => CheckOutcome::new(
            Conclusion::Inconclusive,
            Reason::ProbeInconclusive,
            format!("the API server did not let the operator read Secret {name} (HTTP {status})"),
            format!(
                "Platform: see what this says, and mend it:\nkubectl get secret {name} --namespace {namespace} \
                 --as=system:serviceaccount:<operator's namespace>:<release>-controller"
            ),
        ),
        SecretObservation::Limited(next) => CheckOutcome::new(
            Conclusion::Inconclusive,
            Reason::ExternalIDsLimited,
            format!(
                "Secret {name} holds a new External ID, and namespace {namespace} has tried as many new ones as it may in an hour; \
                 the next is tried at {next}"
            ),
            "Nothing to do but wait; External IDs that were proved are not counted. Spread the creation of many destinations \
             over several hours or namespaces",
        ),
        SecretObservation::Malformed(rule) => failed(
            Reason::ExternalIDMalformed,
            format!("the value of {key} in Secret {name} is not an External ID: {rule}"),
            "Put the value exactly as it stands in the role's trust policy; it is not trimmed".to_owned(),
        ),
    }
}

/// The keys of a Secret, as far as a message has room for them.
fn in_words(keys: &[String]) -> String {
    let mut names: Vec<&str> = keys.iter().map(String::as_str).collect();
    names.sort_unstable();
    match names.len() {
        0 => "none".to_owned(),
        many if many > SHOWN_KEYS => {
            format!("{} and {} more", names[..SHOWN_KEYS].join(", "), many - SHOWN_KEYS)
        }
        _ => names.join(", "),
    }
}
