//! Claims and their order.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::binding::{AccountBinding, Binding};
use crate::api::{
    ConditionType, Objection, Reason, RecordingDestination, RecordingDestinationStatus, RoleARN,
};
use crate::secret::Fingerprint;

/// What one destination lays claim to.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub uid: String,
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
            uid: metadata.uid.clone().unwrap_or_default(),
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
        self.contested(other).is_some()
    }

    fn objection(&self, binding: &Binding, rule: AccountBinding) -> Option<Objection> {
        binding.objection(&self.namespace, &self.accounts(), rule)
    }

    /// The AWS accounts that it needs: the role's, and the bucket owner's where that is another.
    pub(super) fn accounts(&self) -> Vec<String> {
        let mut accounts = vec![self.account(), self.bucket_owner.clone()];
        accounts.dedup();
        accounts
    }

    fn account(&self) -> String {
        self.role_arn.parse::<RoleARN>().map(|role| role.account).unwrap_or_default()
    }

    /// Bound beats unbound, then the earlier proof, then creation, then UID.
    fn comes_before(&self, other: &Claim, binding_of: &impl Fn(&str) -> Binding) -> bool {
        let place = |claim: &Claim| {
            let unbound = binding_of(&claim.namespace) == Binding::Absent;
            // A claim proved just now comes after all that were proved before.
            (unbound, claim.proved.is_none(), claim.proved, claim.created, claim.uid.clone())
        };
        place(self) < place(other)
    }

    /// What both cannot have, in words that do not identify the other claim.
    fn contested(&self, other: &Claim) -> Option<&'static str> {
        if self.uid == other.uid || other.proved.is_none() {
            return None;
        }
        let same_id = self.external_id.is_some() && self.external_id == other.external_id;
        if same_id && self.account() != other.account() {
            return Some("another AWS account is claimed with the same External ID");
        }
        if same_id && self.role_arn == other.role_arn && self.namespace != other.namespace {
            return Some("the role and External ID are claimed in another namespace");
        }
        let overlaps = self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix);
        (self.bucket == other.bucket && overlaps && self.writable && other.writable)
            .then_some("the bucket and prefix overlap with a claim that was proved earlier")
    }
}

fn is_of_the_bucket(condition: &Condition) -> bool {
    condition.type_ == <&str>::from(ConditionType::BucketWritable)
}

/// The date of a proof made at `now`: later than those of all claims that contest it, in whole seconds, as a status stores
/// them, so that it shows their order.
pub fn proof_date<'a>(now: Timestamp, contested_by: impl Iterator<Item = &'a Claim>) -> Timestamp {
    let last = contested_by.filter_map(|claim| claim.proved).map(|proved| proved.as_second()).max();
    let second = last.map_or(now.as_second(), |last| now.as_second().max(last + 1));
    Timestamp::from_second(second).unwrap_or(now)
}

/// Whether `mine` stands: the namespace may use the accounts, and no claim among `others` comes first.
pub fn standing<'a>(
    mine: &Claim,
    others: impl Iterator<Item = &'a Claim>,
    binding_of: &impl Fn(&str) -> Binding,
    rule: AccountBinding,
) -> Result<(), Objection> {
    if let Some(objection) = mine.objection(&binding_of(&mine.namespace), rule) {
        return Err(objection);
    }
    let mut earlier = others
        .filter_map(|other| Some((other, mine.contested(other)?)))
        // A claim from a namespace that may not use the account refuses no other.
        .filter(|(other, _)| other.objection(&binding_of(&other.namespace), rule).is_none())
        .filter(|(other, _)| other.comes_before(mine, binding_of));
    match earlier.next() {
        None => Ok(()),
        Some((_, what)) => Err(Objection {
            reason: Reason::DestinationConflict,
            message: format!("{what}; a claim proved earlier comes first, and one of a bound namespace before any"),
            remedy: "Use a bucket and prefix, a role and an External ID that no other destination uses. If the other claim is \
                     the wrong one, whoever administers the platform finds it with kubectl get recdest --all-namespaces --output=wide, \
                     and decides by binding namespaces to AWS accounts"
                .to_owned(),
        }),
    }
}
