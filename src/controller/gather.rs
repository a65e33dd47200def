//! Gathers the evidence of a destination: its Secret, its role, its bucket.

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::context::Context;
use crate::api::{Answer, RecordingDestination};
use crate::cluster::{self, secrets};
use crate::domain::verdict::{
    Enforcement, Evidence, Platform, Probe, Recent, RoleEvidence, SecretObservation, Work,
    is_new_external_id, probe_due,
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
        let mut role = match id {
            Some(_) if work == Work::Secret => return Ok(Gathered { evidence: None, external_id }),
            Some(id) if work == Work::Bucket => {
                Some(Box::new(self.examiner.try_bucket(destination, &id).await))
            }
            Some(id) => {
                let probe_due = |enforcement: &Enforcement| {
                    probe_due(destination, &secret, enforcement, recent, &self.rules, Timestamp::now())
                };
                let further = (work == Work::Everything).then_some(probe_due);
                Some(Box::new(self.examiner.try_role(destination, &id, further).await))
            }
            None => None,
        };
        if let Some(role) = &mut role {
            self.compare_with_fleet(destination, role).await;
        }
        Ok(Gathered { evidence: Some(Evidence::Validated { secret, role }), external_id })
    }

    /// A refusal is the platform's own where no role lets it in any more. Before that is believed, one more destination is
    /// asked, as those that refuse may all be of one customer. Where there is a control role, its answer has said so already.
    async fn compare_with_fleet(&self, destination: &RecordingDestination, role: &mut RoleEvidence) {
        let is_refused = || self.fleet.lock().unwrap().is_refused(Timestamp::now());
        self.fleet.lock().unwrap().note(destination, role, Timestamp::now());
        let is_in_doubt = role.platform == Platform::AsConfigured && role.control.is_none();
        if matches!(role.assumed, Answer::Granted(())) || !is_in_doubt || !is_refused() {
            return;
        }
        let all = self.destinations.keys();
        let witness = {
            let fleet = self.fleet.lock().unwrap();
            all.iter().filter_map(|key| self.destinations.get(key)).find(|other| fleet.is_witness(other))
        };
        if let Some(witness) = witness
            && let Some(seen) = self.assume(&witness).await
        {
            self.fleet.lock().unwrap().note(&witness, &seen, Timestamp::now());
        }
        if is_refused() {
            role.platform = Platform::RefusedEverywhere;
        }
    }

    /// Assumes the role of a proved destination; `None` where its External ID is not the proved one or cannot be read.
    async fn assume(&self, destination: &RecordingDestination) -> Option<RoleEvidence> {
        let namespace = destination.namespace().unwrap_or_default();
        let reference = &destination.spec.external_id_secret_ref;
        match secrets::external_id(&self.client, &namespace, reference).await {
            Ok((SecretObservation::Resolved { version, .. }, Some(id)))
                if destination.proved_secret_version() == Some(version.as_str()) =>
            {
                Some(
                    self.examiner.try_role(destination, &id, None::<fn(&Enforcement) -> Option<Probe>>).await,
                )
            }
            _ => None,
        }
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
            Platform::Refused | Platform::RefusedEverywhere => {
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
