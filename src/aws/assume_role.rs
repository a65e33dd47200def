//! AssumeRole, assembled: the call that a destination's role must grant, and the same call by a wrong caller.

use std::borrow::Cow;

use crate::api::{BucketTarget, RecordingDestination};
use crate::domain::trust::{DENY_EVERYTHING, Purpose, Writes, session_name, session_policy};
use crate::secret::ExternalID;

#[derive(Clone, Debug)]
pub struct AssumeRole<'a> {
    /// The namespace whose share of the rate the call takes.
    pub(super) tenant: &'a str,
    pub(super) role_arn: &'a str,
    pub(super) external_id: Option<&'a ExternalID>,
    /// Has 2 to 64 characters.
    pub(super) session_name: String,
    pub(super) duration_seconds: i32,
    /// The session policy, JSON of at most 2,048 characters.
    pub(super) policy: Cow<'a, str>,
}

impl<'a> AssumeRole<'a> {
    /// The call by which the platform gets a session of the destination's role. `partition` is the role's.
    pub fn of(
        destination: &'a RecordingDestination,
        external_id: &'a ExternalID,
        partition: &str,
        purpose: Purpose,
        writes: Writes,
    ) -> Self {
        let (spec, metadata) = (&destination.spec, &destination.metadata);
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        AssumeRole {
            tenant: namespace,
            role_arn: &spec.role_arn,
            external_id: Some(external_id),
            session_name: session_name(namespace, metadata.name.as_deref().unwrap_or_default()),
            duration_seconds: spec.session_duration_seconds,
            policy: session_policy(&BucketTarget::from(spec), partition, purpose, writes).into(),
        }
    }

    /// The same call of a role by a wrong caller: with another External ID, or none, and for a session that may do
    /// nothing.
    pub fn by_wrong_caller<'b>(
        &'b self,
        role_arn: &'b str,
        external_id: Option<&'b ExternalID>,
    ) -> AssumeRole<'b> {
        AssumeRole { role_arn, external_id, policy: DENY_EVERYTHING.into(), ..self.clone() }
    }
}
