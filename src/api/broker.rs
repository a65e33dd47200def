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
    /// Since when the oldest of them has been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pending_time: Option<Timestamp>,
    /// Files in the spool's quarantine.
    pub quarantined: u64,
    /// How full the spool's volume is, in percent; 0 from a sidecar that does not tell.
    #[serde(default)]
    pub volume_used_percent: u8,
    /// When a recording was last uploaded and verified by this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_upload_time: Option<Timestamp>,
    /// Whether the last report that was taken told of trouble.
    #[serde(default)]
    pub was_in_trouble: bool,
}
