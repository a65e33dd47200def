//! What is seen of a destination: its Secret, its role, its bucket.

use futures::future::join_all;
use kube::ResourceExt as _;

use super::reconcile::Context;
use crate::api::{Answer, BucketTarget, Crc64Nvme, PROBE_DIRECTORY, RecordingDestination, Silence};
use crate::aws::{AssumeRole, Body, ObjectStore};
use crate::cluster::secrets;
use crate::domain::trust::{DENY_EVERYTHING, Purpose, negative_probes, session_name, session_policy};
use crate::domain::verdict::{
    BucketCall, BucketEvidence, Enforcement, Evidence, NegativeAnswer, Platform, Recent, RoleEvidence, Work,
    bucket_is_due,
};
use crate::secret::{ExternalID, SessionCredentials};

impl Context {
    /// Looks as far as `work` says; `None` when the Secret alone was looked at and has not changed.
    pub(super) async fn gather(
        &self,
        destination: &RecordingDestination,
        recent: Option<&Recent>,
        work: Work,
    ) -> kube::Result<Option<Evidence>> {
        let namespace = destination.namespace().unwrap_or_default();
        let reference = &destination.spec.external_id_secret_ref;
        let (secret, external_id) = secrets::external_id(&self.client, &namespace, reference).await?;
        let work = work.given(&secret, destination.status.as_ref(), recent);
        let role = match external_id {
            Some(_) if work == Work::Secret => return Ok(None),
            Some(id) => Some(Box::new(self.ask_role(destination, &id, work).await)),
            None => None,
        };
        Ok(Some(Evidence::Validated { secret, role }))
    }

    async fn ask_role(
        &self,
        destination: &RecordingDestination,
        id: &ExternalID,
        work: Work,
    ) -> RoleEvidence {
        let name = session_name(&destination.namespace().unwrap_or_default(), &destination.name_any());
        let target = BucketTarget::from(&destination.spec);
        let policy = session_policy(&target, self.platform_partition(), Purpose::Probe);
        let right = AssumeRole {
            tenant: destination.metadata.namespace.as_deref().unwrap_or_default(),
            role_arn: &destination.spec.role_arn,
            external_id: Some(id),
            session_name: &name,
            duration_seconds: destination.spec.session_duration_seconds,
            policy: &policy,
        };
        let (assumed, session) = split(self.sts.assume_role(right.clone()).await);
        let mut evidence =
            RoleEvidence { assumed, platform: Platform::NotKnown, enforcement: None, bucket: None };
        let Some(session) = session else {
            evidence.platform = self.whose_key().await;
            return evidence;
        };
        if work == Work::Everything {
            let enforcement = self.try_wrong_callers(&right, id).await;
            if bucket_is_due(destination, &enforcement) {
                let store = ObjectStore::new(&self.connection, target.clone(), &session);
                evidence.bucket = Some(probe_bucket(&store, &target.prefix).await);
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
                Some(wrong) => {
                    let call =
                        AssumeRole { external_id: wrong.as_ref(), policy: DENY_EVERYTHING, ..right.clone() };
                    Some(split(self.sts.assume_role(call).await).0)
                }
            };
            NegativeAnswer { name: probe.caller.into(), answer }
        }));
        let negatives = negatives.await;
        Enforcement { negatives, assumed_again: split(self.sts.assume_role(right.clone()).await).0 }
    }

    /// Asked when a role did not let us in: a wrong key of ours must not be blamed on a tenant.
    async fn whose_key(&self) -> Platform {
        match self.sts.caller_identity().await {
            Answer::Granted(arn) if arn == self.platform_principal_arn => Platform::AsConfigured,
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

/// Puts an object as an uploader does, reads it back and deletes it.
async fn probe_bucket(store: &ObjectStore, prefix: &str) -> BucketEvidence {
    let nonce: u128 = rand::random();
    let key = format!("{prefix}{PROBE_DIRECTORY}{nonce:032x}.probe");
    let content = format!(
        "recording-operator put this object to prove that recordings can be delivered; it may be deleted. {nonce:032x}\n"
    );
    let checksum = Crc64Nvme::of(content.as_bytes());
    let mut evidence = BucketEvidence::default();

    let put = store.put_if_absent(&key, Body::Bytes(content.clone().into()), checksum).await.map(|_| ());
    evidence.calls.push((BucketCall::PutObject, put.clone()));
    if put != Answer::Granted(()) {
        // It may be there although the answer did not come.
        if matches!(put, Answer::Silent(_)) {
            store.delete(&key).await;
        }
        return evidence;
    }
    let read = store.get(&key, content.len() + 1).await;
    if let Answer::Granted(bytes) = &read {
        evidence.read_back_matches = Some(bytes == content.as_bytes());
    }
    evidence.calls.push((BucketCall::GetObject, read.map(|_| ())));
    evidence.calls.push((BucketCall::DeleteObject, store.delete(&key).await.map(|_| ())));
    evidence
}
