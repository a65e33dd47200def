//! What the status of a destination keeps of its uploaders. The broker writes it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From where on a volume is nearly full, in percent.
pub const NEARLY_FULL: u8 = 90;

/// Uploaders that something keeps from delivering.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaders {
    /// How many there are.
    pub count: i64,
    /// Up to 50 of them.
    #[schemars(length(max = 50))]
    pub items: Vec<Uploader>,
}

/// The uploader of one pod, as it last reported.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uploader {
    /// Name of the pod.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// UID of the pod.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// What keeps it from delivering: the cause's own reason, such as `PutObjectDenied` or `SpoolNotWritable`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Whether its pod is ending, and it delivers what is left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ending: bool,
    /// The call that AWS refuses, if that is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<UploaderRefusal>,
    /// Recordings that are delivered and cannot be removed from its spool.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_removed: i64,
    /// Whether the volume of its spool is at least 90 % full.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub volume_nearly_full: bool,
    /// Recordings in its spool, not uploaded and verified.
    pub pending_files: i64,
    /// Their size, in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pending_bytes: i64,
    /// The kind of volume that its spool is on, as in `lastLosses`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300))]
    pub spool: String,
    /// Since when the oldest of them has been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pending_time: Option<Time>,
    /// Files in the spool's quarantine.
    pub quarantined: i64,
    /// When it reported this.
    pub report_time: Time,
}

/// A call that AWS refuses an uploader.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploaderRefusal {
    /// The call, such as `PutObject`.
    #[schemars(length(max = 64))]
    pub call: String,
    /// AWS's error code, such as `AccessDenied`; empty where the answer had none.
    #[schemars(length(max = 64))]
    pub code: String,
    /// The type of policy that denied, such as `ResourcePolicy`, where AWS names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub policy: Option<String>,
}

/// Recordings that a pod left behind when it ended.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Name of the pod.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// UID of the pod.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// When it ended, or was found to be gone.
    pub time: Time,
    /// Recordings that were not delivered, as it last reported, those in quarantine included, and those that could not be
    /// removed from a volume that outlives the pod; 0 where it could not read its spool.
    pub files: i64,
    /// Size of those that were still to be sent, in bytes.
    pub bytes: i64,
    /// The kind of volume that the spool is on, such as `emptyDir`; for a claim, `persistentVolumeClaim/NAME`.
    #[schemars(length(max = 300))]
    pub spool: String,
    pub kind: LossKind,
}

/// What the kind of a spool on a claim begins with; the claim's name follows.
pub const CLAIM_SPOOL: &str = "persistentVolumeClaim/";

impl Loss {
    /// Whether the recordings were on a claim, which a later pod may mount.
    pub fn was_on_a_claim(&self) -> bool {
        self.spool.starts_with(CLAIM_SPOOL)
    }
}

/// What became of recordings that a pod left behind.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
pub enum LossKind {
    /// They were deleted with the pod's volume.
    Lost,
    /// They are in a volume that outlives the pod, and wait for another pod that mounts it.
    Left,
    /// The pod had recordings to deliver, and is gone without a last report.
    Unaccounted,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}
