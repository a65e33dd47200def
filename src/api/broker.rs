//! The documents between broker and sidecar.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::destination::{Encryption, ObjectACL, RecordingDestinationSpec, StorageClass};

/// Answer of `GET /v1/destination`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationDocument {
    /// Whether to upload now.
    pub state: DeliveryState,
    /// Why it is paused, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where and how to put objects.
    #[serde(flatten)]
    pub target: BucketTarget,
    /// S3 endpoint to use instead of AWS's, from the operator's flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// CA certificates by which the broker is to be trusted from now on, PEM.
    pub ca_bundle: String,
}

/// An endpoint in place of AWS's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    pub url: String,
    /// CA certificates by which it is known, PEM. The public ones when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
}

/// Whether a sidecar may upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
pub enum DeliveryState {
    /// Proved: upload.
    Active,
    /// Not proved, suspended or gone: keep everything and wait.
    Paused,
}

/// Where and how objects are put: all of a destination that an S3 call needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketTarget {
    pub bucket: String,
    pub region: String,
    /// Key prefix, empty or ending in `/`.
    pub prefix: String,
    /// Account that must own the bucket.
    pub expected_bucket_owner: String,
    #[serde(rename = "objectACL")]
    pub object_acl: ObjectACL,
    /// Storage class to ask for; S3's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<StorageClass>,
    pub encryption: Encryption,
}

impl From<&RecordingDestinationSpec> for BucketTarget {
    fn from(spec: &RecordingDestinationSpec) -> Self {
        BucketTarget {
            bucket: spec.bucket.clone(),
            region: spec.region.clone(),
            prefix: spec.prefix().to_owned(),
            expected_bucket_owner: spec.bucket_owner().to_owned(),
            object_acl: spec.object_acl,
            storage_class: spec.storage_class,
            encryption: spec.encryption.clone(),
        }
    }
}

/// Body of `POST /v1/report`: how a sidecar stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryReport {
    /// Recordings in the spool, not uploaded and verified.
    pub pending_files: u64,
    /// Their size, in bytes; 0 from a sidecar of a release that does not say.
    #[serde(default)]
    pub pending_bytes: u64,
    /// Since when the oldest of them has been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pending_time: Option<Timestamp>,
    /// Recordings that are uploaded and verified and cannot be removed from the spool.
    #[serde(default)]
    pub not_removed: u64,
    /// Files in the spool's quarantine.
    pub quarantined: u64,
    /// How full the spool's volume is, in percent; 0 from a sidecar that does not tell.
    #[serde(default)]
    pub volume_used_percent: u8,
    /// Why the spool cannot be used: how many recordings are in it is not known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolFault>,
    /// The refusal that keeps recordings waiting, for as long as it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<UploadRefusal>,
    /// Who has given no usable answer for a while, while recordings wait for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Unanswered>,
    /// How far the sidecar is in its life.
    #[serde(default)]
    pub phase: UploaderPhase,
    /// When a recording was last uploaded and verified by this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_upload_time: Option<Timestamp>,
    /// Whether the last report that was taken told of trouble.
    #[serde(default)]
    pub was_in_trouble: bool,
}

/// Why a spool cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpoolFault {
    /// Another uploader holds its lock.
    InUse,
    /// It, or a directory in it, cannot be read, or its state directory cannot be written.
    #[serde(other)]
    Unusable,
}

/// Who gives no usable answer: none in time, a failure of its own, or a request to slow down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unanswered {
    /// The broker, for STS: there is no session to send anything with.
    Session,
    #[serde(other)]
    S3,
}

/// How far a sidecar is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UploaderPhase {
    /// It was asked to end, and sends what is left.
    Draining,
    /// It ends. What is pending now, it leaves behind.
    Ended,
    #[default]
    #[serde(other)]
    Running,
}

/// A call that AWS refuses while recordings wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadRefusal {
    pub call: RefusedCall,
    /// HTTP status of AWS's answer; 0 where the broker does not say.
    #[serde(default)]
    pub status: u16,
    /// AWS's error code, such as `AccessDenied`; empty where the answer had none.
    #[serde(default)]
    pub code: String,
    /// The type of policy that denied, where AWS's answer names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyType>,
    /// Recordings that it keeps waiting.
    #[serde(default)]
    pub files: u64,
}

impl UploadRefusal {
    /// Whether it is the same refusal, of whatever number of recordings.
    pub fn is_like(&self, other: &UploadRefusal) -> bool {
        let key = |refusal: &UploadRefusal| (refusal.call, refusal.status, refusal.policy);
        key(self) == key(other) && self.code == other.code
    }
}

/// The call of AWS that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString)]
pub enum RefusedCall {
    /// The broker's, for the sidecar.
    AssumeRole,
    PutObject,
    HeadObject,
    GetObject,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    /// One that a later release makes.
    #[serde(other)]
    Other,
}

/// The types of policy that AWS names in a refusal.
///
/// Source: IAM User Guide, "Troubleshoot access denied error messages".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
pub enum PolicyType {
    /// The role's permissions.
    IdentityPolicy,
    /// The bucket policy, or the KMS key's.
    ResourcePolicy,
    PermissionsBoundary,
    SessionPolicy,
    ServiceControlPolicy,
    ResourceControlPolicy,
    VPCEndpointPolicy,
    /// One that a later release knows.
    #[serde(other)]
    Other,
}
