//! From a token to the pod that it is bound to.

use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};

use super::denial::Denial;
use super::pod::BoundPod;
use crate::api::TOKEN_AUDIENCE;

/// The pod that the API server says a token is bound to. The pod itself has not been read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodClaim {
    /// Namespace of the service account, and therefore of the pod.
    pub namespace: String,
    pub pod: String,
    /// UID of the pod: unlike a name, it is never used again.
    pub uid: String,
    pub service_account: String,
}

/// A pod that matches its token, and the destination it was injected for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    /// Namespace of the pod, and of its destination.
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub service_account: String,
    /// Name of the destination, from the pod's annotation.
    pub destination: String,
    /// The kind of volume that the spool is on, such as `emptyDir`; empty where the pod's volumes could not be read.
    pub spool: String,
}

/// Reads the review of a token, which must be valid, for the broker's audience, of a service account, and bound to a pod
/// by name and UID.
pub fn claimed_pod(review: &TokenReviewStatus) -> Result<PodClaim, Denial> {
    if review.authenticated != Some(true) || review.error.as_deref().is_some_and(|error| !error.is_empty()) {
        return Err(Denial::NotAuthenticated);
    }
    // An API server without audience support leaves them out, which proves nothing.
    if !review.audiences.iter().flatten().any(|audience| audience == TOKEN_AUDIENCE) {
        return Err(Denial::WrongAudience);
    }
    let user = review.user.as_ref().ok_or(Denial::NotAuthenticated)?;
    let (namespace, service_account) = user
        .username
        .as_deref()
        .and_then(|name| name.strip_prefix("system:serviceaccount:"))
        .and_then(|name| name.split_once(':'))
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains(':'))
        .ok_or(Denial::NotAServiceAccount)?;
    Ok(PodClaim {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod: bound(user, "authentication.kubernetes.io/pod-name")?,
        uid: bound(user, "authentication.kubernetes.io/pod-uid")?,
    })
}

/// The only value of that name to which the token is bound.
fn bound(user: &UserInfo, key: &str) -> Result<String, Denial> {
    match user.extra.as_ref().and_then(|extra| extra.get(key)).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Ok(value.clone()),
        _ => Err(Denial::NotBoundToAPod),
    }
}

/// Whether the pod of that UID, which was asked for by its name, is gone or has ended.
pub fn has_ended(pod: Option<&BoundPod>, uid: &str) -> bool {
    pod.is_none_or(|pod| pod.metadata.uid.as_deref() != Some(uid) || pod.is_terminal())
}

/// Compares the claim with the pod of that namespace and name, if there is one. A terminating pod keeps its rights,
/// because it still has recordings to deliver.
///
/// Of the sidecar only the command is checked. The ValidatingAdmissionPolicy keeps the rest unaltered; the pod is the
/// boundary.
pub fn identify(claim: PodClaim, pod: Option<&BoundPod>) -> Result<PodIdentity, Denial> {
    let pod = pod.ok_or(Denial::PodGone)?;
    if pod.metadata.uid.as_ref() != Some(&claim.uid) {
        return Err(Denial::PodReplaced);
    }
    if pod.is_terminal() {
        return Err(Denial::PodFinished);
    }
    let spec = pod.spec.as_ref().ok_or(Denial::NoSidecar)?;
    if spec.service_account_name.as_ref() != Some(&claim.service_account) {
        return Err(Denial::ServiceAccountMismatch);
    }
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.inject.as_ref());
    if label.is_none_or(|value| value != "true") {
        return Err(Denial::NotInjected);
    }
    if !spec.has_sidecar {
        return Err(Denial::NoSidecar);
    }
    let destination = pod.metadata.annotations.as_ref().and_then(|all| all.destination.as_ref());
    match destination {
        Some(name) if !name.is_empty() => Ok(PodIdentity {
            namespace: claim.namespace,
            pod: claim.pod,
            uid: claim.uid,
            service_account: claim.service_account,
            destination: name.clone(),
            spool: pod.spool.clone(),
        }),
        _ => Err(Denial::NoDestinationNamed),
    }
}
