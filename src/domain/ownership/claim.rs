//! What one destination lays claim to.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::binding::{AccountBinding, Binding};
use super::contests::Seniority;
use crate::api::{ConditionType, Objection, RecordingDestination, RecordingDestinationStatus, RoleARN};
use crate::secret::Fingerprint;

/// What one destination lays claim to.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub uid: Arc<str>,
    pub namespace: String,
    pub name: String,
    pub created: Option<Timestamp>,
    /// When it was first proved; an unproved claim refuses no other.
    pub proved: Option<Timestamp>,
    pub role_arn: String,
    pub bucket_owner: String,
    pub bucket: String,
    pub prefix: String,
    /// Whether the bucket has accepted its objects. Only then is the bucket claimed: a name alone costs nothing, and a
    /// squatter could lock out its owner.
    pub writable: bool,
    /// The External ID that was proved; absent when it is not known to this process.
    pub external_id: Option<Fingerprint>,
}

impl Claim {
    /// The claim of the destination with that status.
    pub fn of(
        destination: &RecordingDestination,
        status: &RecordingDestinationStatus,
        external_id: Option<Fingerprint>,
    ) -> Self {
        let (metadata, spec) = (&destination.metadata, &destination.spec);
        Claim {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            proved: status.established_time.as_ref().map(|time| time.0),
            role_arn: spec.role_arn.clone(),
            bucket_owner: spec.bucket_owner().to_owned(),
            bucket: spec.bucket.clone(),
            prefix: spec.prefix().to_owned(),
            writable: status.conditions.iter().any(|c| is_of_the_bucket(c) && c.status == "True"),
            external_id,
        }
    }

    /// The claim as an earlier process may have left it: unless the status says that the bucket refuses objects, it may have
    /// accepted some.
    pub fn as_left(
        destination: &RecordingDestination,
        status: &RecordingDestinationStatus,
        external_id: Option<Fingerprint>,
    ) -> Self {
        let writable = !status.conditions.iter().any(|c| is_of_the_bucket(c) && c.status == "False");
        Claim { writable, ..Claim::of(destination, status, external_id) }
    }

    /// The claim after an earlier state. A bucket that once accepted objects stays claimed by the same proof, so that a
    /// temporary fault does not give it to another claim.
    pub fn following(self, before: Option<&Claim>) -> Self {
        let held = before.is_some_and(|before| before.writable && before.proved == self.proved);
        Claim { writable: self.writable || (held && self.proved.is_some()), ..self }
    }

    /// Whether `other`, of another destination, claims something that this one needs too.
    pub fn is_contested_by(&self, other: &Claim) -> bool {
        let same_id = self.external_id.is_some() && self.external_id == other.external_id;
        let overlaps = self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix);
        self.uid != other.uid
            && other.proved.is_some()
            && (same_id && self.account() != other.account()
                || same_id && self.role_arn == other.role_arn && self.namespace != other.namespace
                || self.bucket == other.bucket && overlaps && self.writable && other.writable)
    }

    /// Why the namespace may not use the accounts of the claim.
    pub(super) fn objection(&self, binding: &Binding, rule: AccountBinding) -> Option<Objection> {
        binding.objection(&self.namespace, &self.accounts(), rule)
    }

    /// The AWS accounts that it needs: the role's, and the bucket owner's where that is another.
    pub(super) fn accounts(&self) -> Vec<String> {
        let mut accounts = vec![self.account(), self.bucket_owner.clone()];
        accounts.dedup();
        accounts
    }

    pub(super) fn account(&self) -> String {
        self.role_arn.parse::<RoleARN>().map(|role| role.account).unwrap_or_default()
    }

    pub(super) fn seniority(&self, binding: &Binding) -> Seniority {
        Seniority {
            unbound: *binding == Binding::Absent,
            proved: self.proved.map_or(i64::MAX, |proved| proved.as_second()),
            created: self.created.map_or(i64::MIN, |created| created.as_second()),
            uid: self.uid.clone(),
        }
    }
}

fn is_of_the_bucket(condition: &Condition) -> bool {
    condition.type_ == <&str>::from(ConditionType::BucketWritable)
}
