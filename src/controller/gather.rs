//! What is seen of a destination: its Secret, its role, its bucket.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::context::Context;
use crate::api::RecordingDestination;
use crate::cluster::secrets;
use crate::domain::verdict::{
    Enforcement, Evidence, Platform, Recent, SecretObservation, Work, bucket_is_due,
};
use crate::secret::Fingerprint;

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
            Some(id) => {
                let bucket_is_due = |enforcement: &Enforcement| {
                    bucket_is_due(destination, &secret, enforcement, recent, &self.rules, Timestamp::now())
                };
                let further = (work == Work::Everything).then_some(bucket_is_due);
                Some(Box::new(self.examiner.ask_role(destination, &id, further).await))
            }
            None => None,
        };
        Ok(Gathered { evidence: Some(Evidence::Validated { secret, role }), external_id })
    }

    /// At start: a platform key that is not right is said once, loudly, before any tenant is looked at.
    pub(super) async fn report_platform_identity(&self) {
        let principal = self.examiner.platform_principal_arn();
        match self.examiner.whose_key().await {
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
