//! Gathers the evidence of a destination: its Secret, its role, its bucket.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::context::Context;
use crate::api::RecordingDestination;
use crate::cluster::{self, secrets};
use crate::domain::verdict::{
    Enforcement, Evidence, Platform, Recent, SecretObservation, Work, bucket_is_due, is_new_external_id,
};
use crate::secret::Fingerprint;

pub(super) struct Gathered {
    /// `None` when only the Secret was read and has not changed.
    pub evidence: Option<Evidence>,
    pub external_id: Option<Fingerprint>,
}

impl Gathered {
    /// Evidence that needed no call.
    pub(super) fn without_calls(evidence: Evidence) -> Self {
        Gathered { evidence: Some(evidence), external_id: None }
    }
}

impl Context {
    /// Gathers as far as `work` says, or further where the Secret was edited.
    pub(super) async fn gather(
        &self,
        destination: &RecordingDestination,
        recent: Option<&Recent>,
        work: Work,
    ) -> cluster::Result<Gathered> {
        let namespace = destination.namespace().unwrap_or_default();
        let reference = &destination.spec.external_id_secret_ref;
        let (mut secret, id) = secrets::external_id(&self.client, &namespace, reference).await?;
        let external_id = id.as_ref().map(|id| self.claims.fingerprint(id));
        if let (SecretObservation::Resolved { known, .. }, Some(id)) = (&mut secret, external_id) {
            *known = self.claims.is_known(destination, id);
        }
        let work = work.given(&secret, destination, recent);
        let is_new = work > Work::Secret && is_new_external_id(&secret, destination, recent);
        if let (Some(new), true) = (external_id, is_new)
            && let Err(next) = self.claims.admit_new_id(destination, new)
        {
            self.limited_ids.count(&namespace);
            let evidence = Evidence::Validated { secret: SecretObservation::Limited(next), role: None };
            return Ok(Gathered::without_calls(evidence));
        }
        let role = match id {
            Some(_) if work == Work::Secret => return Ok(Gathered { evidence: None, external_id }),
            Some(id) => {
                let bucket_is_due = |enforcement: &Enforcement| {
                    bucket_is_due(destination, &secret, enforcement, recent, &self.rules, Timestamp::now())
                };
                let further = (work == Work::Everything).then_some(bucket_is_due);
                Some(Box::new(self.examiner.try_role(destination, &id, further).await))
            }
            None => None,
        };
        Ok(Gathered { evidence: Some(Evidence::Validated { secret, role }), external_id })
    }

    /// Logs at start, before any tenant is validated, whether the platform's key is the right one.
    pub(super) async fn report_platform_identity(&self) {
        let principal = self.examiner.platform_principal_arn();
        match self.examiner.check_platform_key().await {
            Platform::AsConfigured => {
                tracing::info!(
                    principal,
                    "checked the platform's access key: it is the configured principal's"
                )
            }
            Platform::AnotherPrincipal(arn) => {
                tracing::error!(
                    principal,
                    arn,
                    "checked the platform's access key: it is another principal's"
                )
            }
            Platform::Refused => {
                tracing::error!(principal, "checked the platform's access key: AWS does not accept it")
            }
            Platform::Unreadable => tracing::error!(principal, "reading the platform's access key failed"),
            Platform::NotKnown => {
                tracing::warn!(
                    principal,
                    "checking the platform's access key failed: no clear answer from STS"
                )
            }
        }
    }
}
