//! The user of the sidecar: the recorder's, because another user cannot unlink what the recorder wrote.

use k8s_openapi::api::core::v1::PodSpec;

use super::refusal::Refusal;
use super::spool::Spool;

/// User and group when neither container nor pod names one.
const NOBODY: i64 = 65532;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub uid: i64,
    pub gid: i64,
}

/// User and group of the container that writes to the spool, else the pod's, else 65532. Of several
/// such containers, the first.
pub(super) fn of_recorder(spec: &PodSpec, spool: &Spool) -> Result<User, Refusal> {
    let recorder = spool.recorder(spec);
    let its = recorder.and_then(|container| container.security_context.as_ref());
    let pods = spec.security_context.as_ref();

    let uid = its.and_then(|context| context.run_as_user);
    if let (Some(0), Some(recorder)) = (uid, recorder) {
        return Err(Refusal::Root(format!("securityContext.runAsUser of container {}", recorder.name)));
    }
    let uid = uid.or(pods.and_then(|context| context.run_as_user)).unwrap_or(NOBODY);
    if uid == 0 {
        return Err(Refusal::Root("spec.securityContext.runAsUser".to_owned()));
    }
    let gid = its.and_then(|context| context.run_as_group);
    let gid = gid.or(pods.and_then(|context| context.run_as_group)).unwrap_or(NOBODY);
    Ok(User { uid, gid })
}
