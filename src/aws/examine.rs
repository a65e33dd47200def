//! Tries a role and its bucket as the platform's principal, for the controller and for `kubectl recordings check`.

use futures::future::{join, join_all};
use kube::ResourceExt as _;

use super::assume_role::AssumeRole;
use super::connection::Connection;
use super::probe::probe_bucket;
use super::sts::Sts;
use crate::api::{Answer, BucketTarget, RecordingDestination, Silence};
use crate::domain::trust::{
    Purpose, Writes, is_principal, is_unlike_the_right_one, negative_probes, role_policy, trust_policy,
};
use crate::domain::verdict::{
    BucketEvidence, Enforcement, NegativeAnswer, Platform, Probe, RoleEvidence, Texts,
};
use crate::secret::{ExternalID, SessionCredentials};

/// Calls roles and buckets; `domain` decides what the answers mean.
#[derive(Clone, Debug)]
pub struct Examiner {
    connection: Connection,
    sts: Sts,
    platform_principal_arn: String,
    control_role_arn: Option<String>,
    writes: Writes,
}

impl Examiner {
    /// `sts` must sign with a key of the principal. `control_role_arn` is a role of the platform that accepts any External
    /// ID. `writes` is that of the uploaders, so that the probe meets what they will meet.
    pub fn new(
        connection: Connection,
        sts: Sts,
        platform_principal_arn: String,
        control_role_arn: Option<String>,
        writes: Writes,
    ) -> Self {
        Examiner { connection, sts, platform_principal_arn, control_role_arn, writes }
    }

    /// The principal that customers' roles trust.
    pub fn platform_principal_arn(&self) -> &str {
        &self.platform_principal_arn
    }

    /// The partition of the platform's principal, in which every role must be.
    pub fn partition(&self) -> &str {
        self.platform_principal_arn.split(':').nth(1).unwrap_or("aws")
    }

    /// The texts of the remedies for a destination.
    pub fn texts(&self, destination: &RecordingDestination) -> Texts {
        Texts {
            platform_principal: self.platform_principal_arn.clone(),
            trust_policy: trust_policy(&self.platform_principal_arn).to_string(),
            role_policy: role_policy(&BucketTarget::from(&destination.spec), self.partition()).to_string(),
        }
    }

    /// Assumes the role; with `probe_due` also tries wrong callers, and the bucket as far as that function says.
    pub async fn try_role(
        &self,
        destination: &RecordingDestination,
        id: &ExternalID,
        probe_due: Option<impl FnOnce(&Enforcement) -> Option<Probe>>,
    ) -> RoleEvidence {
        let right = AssumeRole::of(destination, id, self.partition(), Purpose::Probe, self.writes);
        let (mut evidence, session) = self.assume(destination, &right).await;
        if let (Some(session), Some(probe_due)) = (session, probe_due) {
            let enforcement = self.try_wrong_callers(&right, id).await;
            if let Some(probe) = probe_due(&enforcement) {
                evidence.bucket = Some(self.probe(destination, &session, probe).await);
            }
            evidence.enforcement = Some(enforcement);
        }
        evidence
    }

    /// Assumes the role and probes the bucket, with no wrong callers.
    pub async fn try_bucket(&self, destination: &RecordingDestination, id: &ExternalID) -> RoleEvidence {
        let right = AssumeRole::of(destination, id, self.partition(), Purpose::Probe, self.writes);
        let (mut evidence, session) = self.assume(destination, &right).await;
        if let Some(session) = session {
            evidence.bucket = Some(self.probe(destination, &session, Probe::Whole).await);
        }
        evidence
    }

    async fn assume(
        &self,
        destination: &RecordingDestination,
        right: &AssumeRole<'_>,
    ) -> (RoleEvidence, Option<SessionCredentials>) {
        let (assumed, session) = split(self.sts.assume_role(right.clone()).await);
        let mut evidence = RoleEvidence {
            assumed,
            platform: Platform::NotKnown,
            control: None,
            enforcement: None,
            bucket: None,
        };
        if let Some(session) = &session {
            let (namespace, name) = (destination.namespace().unwrap_or_default(), destination.name_any());
            tracing::info!(access_key_id = session.access_key_id, namespace, name, "role assumed");
        } else {
            evidence.platform = self.check_platform_key().await;
            // The control role is not the tenant's, so it is sent no External ID.
            if let (Answer::Refused(_), Some(control)) = (&evidence.assumed, &self.control_role_arn) {
                evidence.control = Some(self.try_wrong_caller(right, control, None).await);
            }
        }
        (evidence, session)
    }

    async fn probe(
        &self,
        destination: &RecordingDestination,
        session: &SessionCredentials,
        probe: Probe,
    ) -> BucketEvidence {
        probe_bucket(&self.connection, BucketTarget::from(&destination.spec), session, probe).await
    }

    /// Tries the wrong callers concurrently, then the right one again.
    async fn try_wrong_callers(&self, right: &AssumeRole<'_>, id: &ExternalID) -> Enforcement {
        let probes = negative_probes(id, rand::random());
        let negatives = join_all(probes.iter().map(async |probe| {
            let answer = match &probe.external_id {
                None => None,
                Some(wrong) => Some(self.try_wrong_caller(right, right.role_arn, wrong.as_ref()).await),
            };
            NegativeAnswer { caller: probe.caller, answer }
        }));
        let control = join_all(self.control_role_arn.iter().flat_map(|control| {
            let kinds = probes.iter().filter(|probe| is_unlike_the_right_one(probe.caller));
            kinds.map(|probe| {
                let wrong = probe.external_id.as_ref().and_then(Option::as_ref);
                self.try_wrong_caller(right, control, wrong)
            })
        }));
        let (negatives, control) = join(negatives, control).await;
        let assumed_again = split(self.sts.assume_role(right.clone()).await).0;
        Enforcement { negatives, control, assumed_again }
    }

    async fn try_wrong_caller(
        &self,
        right: &AssumeRole<'_>,
        role_arn: &str,
        wrong: Option<&ExternalID>,
    ) -> Answer {
        split(self.sts.assume_role(right.by_wrong_caller(role_arn, wrong)).await).0
    }

    /// Checks the platform's key, after a role refused it: a wrong key must not be blamed on a tenant.
    pub async fn check_platform_key(&self) -> Platform {
        match self.sts.caller_identity().await {
            Answer::Granted(arn) if is_principal(&arn, &self.platform_principal_arn) => {
                Platform::AsConfigured
            }
            Answer::Granted(arn) => Platform::AnotherPrincipal(arn),
            Answer::Refused(refusal) if refusal.status == 403 => Platform::Refused,
            Answer::Silent(Silence::Unsendable) => Platform::Unreadable,
            Answer::Refused(_) | Answer::Silent(_) => Platform::NotKnown,
        }
    }
}

/// Separates the session from the answer, so that evidence never holds a credential.
fn split(answer: Answer<SessionCredentials>) -> (Answer, Option<SessionCredentials>) {
    match answer {
        Answer::Granted(session) => (Answer::Granted(()), Some(session)),
        Answer::Refused(refusal) => (Answer::Refused(refusal), None),
        Answer::Silent(silence) => (Answer::Silent(silence), None),
    }
}
