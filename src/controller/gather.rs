//! What is seen of a destination: its Secret, its role, its bucket.

use futures::future::{join, join_all};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::probe::probe_bucket;
use super::reconcile::Context;
use crate::api::{Answer, BucketTarget, RecordingDestination, Silence};
use crate::aws::AssumeRole;
use crate::cluster::secrets;
use crate::domain::trust::{
    DENY_EVERYTHING, Purpose, is_principal, negative_probes, session_name, session_policy,
};
use crate::domain::verdict::{
    Enforcement, Evidence, NegativeAnswer, Platform, Recent, RoleEvidence, SecretObservation, Work,
    bucket_is_due,
};
use crate::secret::{ExternalID, Fingerprint, SessionCredentials};

/// What one look came to.
pub(super) struct Gathered {
    /// `None` when the Secret alone was looked at and has not changed.
    pub evidence: Option<Evidence>,
    /// Of the External ID that was sent.
    pub external_id: Option<Fingerprint>,
}

impl Gathered {
    /// Known without looking.
    pub(super) fn told(evidence: Evidence) -> Self {
        Gathered { evidence: Some(evidence), external_id: None }
    }
}

impl Context {
    /// Looks as far as `work` says, or further where the Secret was edited.
    pub(super) async fn gather(
        &self,
        destination: &RecordingDestination,
        recent: Option<&Recent>,
        work: Work,
    ) -> kube::Result<Gathered> {
        let namespace = destination.namespace().unwrap_or_default();
        let reference = &destination.spec.external_id_secret_ref;
        let (mut secret, id) = secrets::external_id(&self.client, &namespace, reference).await?;
        let external_id = id.as_ref().map(|id| self.claims.fingerprint(id));
        if let (SecretObservation::Resolved { known, .. }, Some(id)) = (&mut secret, external_id) {
            *known = self.claims.is_known(destination, id);
        }
        let work = work.given(&secret, destination.status.as_ref(), recent);
        let role = match id {
            Some(_) if work == Work::Secret => return Ok(Gathered { evidence: None, external_id }),
            Some(id) => Some(Box::new(self.ask_role(destination, &secret, &id, recent, work).await)),
            None => None,
        };
        Ok(Gathered { evidence: Some(Evidence::Validated { secret, role }), external_id })
    }

    async fn ask_role(
        &self,
        destination: &RecordingDestination,
        secret: &SecretObservation,
        id: &ExternalID,
        recent: Option<&Recent>,
        work: Work,
    ) -> RoleEvidence {
        let namespace = destination.namespace().unwrap_or_default();
        let name = session_name(&namespace, &destination.name_any());
        let target = BucketTarget::from(&destination.spec);
        let policy = session_policy(&target, &self.rules.partition, Purpose::Probe);
        let right = AssumeRole {
            tenant: &namespace,
            role_arn: &destination.spec.role_arn,
            external_id: Some(id),
            session_name: &name,
            duration_seconds: destination.spec.session_duration_seconds,
            policy: &policy,
        };
        let (assumed, session) = split(self.sts.assume_role(right.clone()).await);
        let mut evidence = RoleEvidence {
            assumed,
            platform: Platform::NotKnown,
            control: None,
            enforcement: None,
            bucket: None,
        };
        let Some(session) = session else {
            evidence.platform = self.whose_key().await;
            // Shown no External ID, as it is not the tenant's.
            if let (Answer::Refused(_), Some(control)) = (&evidence.assumed, &self.control_role_arn) {
                evidence.control = Some(self.try_wrong_caller(&right, control, None).await);
            }
            return evidence;
        };
        let access_key_id = &session.access_key_id;
        tracing::info!(access_key_id, namespace, name = destination.name_any(), "role assumed");
        if work == Work::Everything {
            let enforcement = self.try_wrong_callers(&right, id).await;
            let now = Timestamp::now();
            if bucket_is_due(destination, secret, &enforcement, recent, &self.rules, now) {
                evidence.bucket = Some(probe_bucket(&self.connection, target, &session).await);
            }
            evidence.enforcement = Some(enforcement);
        }
        evidence
    }

    /// The wrong callers, all at once, then the right one again.
    async fn try_wrong_callers(&self, right: &AssumeRole<'_>, id: &ExternalID) -> Enforcement {
        let probes = negative_probes(id, rand::random());
        let negatives = join_all(probes.iter().map(async |probe| {
            let answer = match &probe.external_id {
                None => None,
                Some(wrong) => Some(self.try_wrong_caller(right, right.role_arn, wrong.as_ref()).await),
            };
            NegativeAnswer { name: probe.caller.into(), answer }
        }));
        let control = join_all(self.control_role_arn.iter().flat_map(|control| {
            let kinds = probes.iter().filter(|probe| probe.caller.is_unlike_the_right_one());
            kinds.map(|probe| {
                let wrong = probe.external_id.as_ref().and_then(Option::as_ref);
                self.try_wrong_caller(right, control, wrong)
            })
        }));
        let (negatives, control) = join(negatives, control).await;
        let assumed_again = split(self.sts.assume_role(right.clone()).await).0;
        Enforcement { negatives, control, assumed_again }
    }

    /// Like the right call, but with a wrong External ID, or none, and a session that may do nothing.
    async fn try_wrong_caller(
        &self,
        right: &AssumeRole<'_>,
        role_arn: &str,
        wrong: Option<&ExternalID>,
    ) -> Answer {
        let call = AssumeRole { role_arn, external_id: wrong, policy: DENY_EVERYTHING, ..right.clone() };
        split(self.sts.assume_role(call).await).0
    }

    /// Asked when a role did not let us in: a wrong key of ours must not be blamed on a tenant.
    async fn whose_key(&self) -> Platform {
        match self.sts.caller_identity().await {
            Answer::Granted(arn) if is_principal(&arn, &self.platform_principal_arn) => {
                Platform::AsConfigured
            }
            Answer::Granted(arn) => Platform::SomebodyElse(arn),
            Answer::Refused(refusal) if refusal.status == 403 => Platform::Refused,
            Answer::Silent(Silence::Unsendable) => Platform::Unreadable,
            Answer::Refused(_) | Answer::Silent(_) => Platform::NotKnown,
        }
    }

    /// At start: a platform key that is not right is said once, loudly, before any tenant is looked at.
    pub(super) async fn report_platform_identity(&self) {
        let principal = &self.platform_principal_arn;
        match self.whose_key().await {
            Platform::AsConfigured => {
                tracing::info!(principal, "the platform's access key is the configured principal's")
            }
            Platform::SomebodyElse(arn) => {
                tracing::error!(principal, arn, "the platform's access key is somebody else's")
            }
            Platform::Refused => tracing::error!(principal, "AWS does not accept the platform's access key"),
            Platform::Unreadable => tracing::error!(principal, "the platform's access key could not be read"),
            Platform::NotKnown => {
                tracing::warn!(principal, "whose access key the platform holds could not be checked")
            }
        }
    }
}

/// The session apart from the answer, so that evidence never holds a credential.
fn split(answer: Answer<SessionCredentials>) -> (Answer, Option<SessionCredentials>) {
    match answer {
        Answer::Granted(session) => (Answer::Granted(()), Some(session)),
        Answer::Refused(refusal) => (Answer::Refused(refusal), None),
        Answer::Silent(silence) => (Answer::Silent(silence), None),
    }
}
