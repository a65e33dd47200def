//! `RecordingDestination`: where one tenant's recordings go.
//!
//! Every rule that a user can break at apply time is CEL with a message that names the field and
//! the fix. There is no `pattern` beside a rule: its error prints a raw regular expression.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check_name::CheckName;
use super::condition::ConditionType;
use super::uploaders::{Loss, Uploaders};

/// Where one tenant's recordings go: a bucket, the role that may write to it, and the External ID
/// under which the platform assumes that role.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "recordings.revenue.io",
    version = "v1alpha1",
    kind = "RecordingDestination",
    plural = "recordingdestinations",
    shortname = "recdest",
    category = "recordings",
    namespaced,
    doc = "Where one tenant's recordings go, and whether they can.",
    status = "RecordingDestinationStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Bucket","type":"string","jsonPath":".spec.bucket"}"#,
    printcolumn = r#"{"name":"Region","type":"string","jsonPath":".spec.region"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Enforced","type":"string","jsonPath":".status.conditions[?(@.type==\"ExternalIDEnforced\")].status"}"#,
    printcolumn = r#"{"name":"Validated","type":"date","jsonPath":".status.lastValidationTime"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Role","type":"string","priority":1,"jsonPath":".spec.roleARN"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(cel)]
#[x_kube(validation = Rule::new("!self.roleARN.startsWith('arn:aws') || self.roleARN.startsWith('arn:' + (self.region.startsWith('cn-') ? 'aws-cn' : self.region.startsWith('us-gov-') ? 'aws-us-gov' : self.region.startsWith('us-iso-') ? 'aws-iso' : self.region.startsWith('us-isob-') ? 'aws-iso-b' : self.region.startsWith('eu-isoe-') ? 'aws-iso-e' : self.region.startsWith('us-isof-') ? 'aws-iso-f' : self.region.startsWith('eusc-') ? 'aws-eusc' : 'aws') + ':')").message(
    "region and roleARN are in different AWS partitions: no role reaches a bucket of another partition; set region to the bucket's, which begins with cn- for roles of arn:aws-cn and with us-gov- for roles of arn:aws-us-gov").field_path(".region"))]
pub struct RecordingDestinationSpec {
    /// Name of the customer's bucket. No dots: recordings travel over virtual-hosted-style HTTPS,
    /// whose certificate covers one label.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(
        validation = Rule::new("!self.contains('.')").message(
            "bucket must not contain dots: virtual-hosted-style HTTPS cannot serve such a bucket; use one named like customer-name-recordings"),
        validation = Rule::new("self.contains('.') || self.matches('^[a-z0-9][a-z0-9-]*[a-z0-9]$')").message(
            "bucket must consist of lower-case letters, digits and hyphens and begin and end with a letter or digit, e.g. customer-name-recordings"),
        validation = Rule::new("!(self.startsWith('xn--') || self.startsWith('sthree-') || self.startsWith('amzn-s3-demo-') || self.endsWith('-s3alias') || self.endsWith('--ol-s3') || self.endsWith('--x-s3') || self.endsWith('--table-s3'))").message(
            "bucket has a prefix or suffix that AWS reserves (xn--, sthree-, amzn-s3-demo-, -s3alias, --ol-s3, --x-s3, --table-s3): name a general purpose bucket")
    )]
    pub bucket: String,

    /// The bucket's region, such as `us-east-1`.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]{2,4}(-[a-z]+)?-(central|(north|south)(east|west)?|east|west)-[1-9][0-9]?$')").message(
        "region must be an AWS region code such as us-east-1: the one the bucket was created in"))]
    pub region: String,

    /// ARN of the role, in the customer's account, that the platform assumes.
    #[serde(rename = "roleARN")]
    #[schemars(length(min = 1, max = 640))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/([!-~]{0,510}/)?[A-Za-z0-9_+=,.@-]{1,64}$')").message(
        "roleARN must be an IAM role ARN such as arn:aws:iam::111111111111:role/revenue-call-recording-writer: copy it from the role's summary in the IAM console"))]
    pub role_arn: String,

    /// The Secret, in this namespace and of type `recordings.revenue.io/external-id`, that holds the External ID.
    #[serde(rename = "externalIDSecretRef")]
    pub external_id_secret_ref: ExternalIDSecretRef,

    /// Prefix of every key, empty or ending in `/`. Keys never leave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(
        validation = Rule::new("self.matches('^([A-Za-z0-9_.=-]+/)*$')").message(
            "prefix must be empty or segments of letters, digits and _ . = - that each end in a slash, without a leading slash, e.g. calls/"),
        validation = Rule::new("!self.split('/').exists(segment, segment == '.' || segment == '..')").message(
            "prefix must not have . or .. as a segment: S3 keys are not paths; write the prefix out, e.g. calls/2024/")
    )]
    pub prefix: Option<String>,

    /// The AWS account that must own the bucket; the account in `roleARN` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{12}$')").message(
        "expectedBucketOwner must be a 12-digit AWS account ID in quotes, e.g. \"111111111111\""))]
    pub expected_bucket_owner: Option<String>,

    /// Canned ACL of every object. `None` sends none and needs no `s3:PutObjectAcl`.
    #[serde(default, rename = "objectACL")]
    pub object_acl: ObjectACL,

    /// Storage class of every object; S3's default when absent. Classes that cannot be read back at once are not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<StorageClass>,

    /// Server-side encryption of every object.
    #[serde(default)]
    pub encryption: Encryption,

    /// Life of the sessions handed to uploaders, in seconds.
    #[serde(default = "default_session_duration")]
    #[schemars(range(min = 900, max = 3600))]
    pub session_duration_seconds: i32,

    /// How often the destination is proved again.
    #[serde(default)]
    pub validation: Validation,

    /// Service accounts of this namespace whose pods may use the destination; any injected pod when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub service_account_names: Vec<String>,

    /// Stop uploads and validation. Nothing is lost: recordings stay spooled.
    #[serde(default)]
    pub suspend: bool,
}

/// Where the External ID is kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalIDSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message(
        "externalIDSecretRef.name must be the name of a Secret in this namespace, e.g. acme-external-id"))]
    pub name: String,
    /// Key within the Secret.
    #[serde(default = "default_external_id_key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')").message(
        "externalIDSecretRef.key must be a key of the Secret: letters, digits, - _ and ., e.g. externalID"))]
    pub key: String,
}

/// Canned ACL of every object.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectACL {
    /// `bucket-owner-full-control`.
    #[default]
    BucketOwnerFullControl,
    /// No ACL header at all.
    None,
}

/// Storage classes whose objects can be read back at once.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum StorageClass {
    Standard,
    StandardIa,
    OnezoneIa,
    IntelligentTiering,
    GlacierIr,
    ReducedRedundancy,
}

/// Server-side encryption of every object.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type != 'KMS' || has(self.kmsKeyARN)").message(
        "encryption.kmsKeyARN is missing: type KMS needs the ARN of the customer's key; use BucketDefault to take the bucket's own setting"),
    validation = Rule::new("self.type == 'KMS' || !has(self.kmsKeyARN)").message(
        "encryption.kmsKeyARN is only used with type KMS: set encryption.type to KMS or remove the key")
)]
pub struct Encryption {
    /// Which encryption to ask for.
    #[serde(default)]
    pub r#type: EncryptionType,
    /// The customer's key, for `KMS`.
    #[serde(default, rename = "kmsKeyARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 160))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$')").message(
        "encryption.kmsKeyARN must be a KMS key ARN such as arn:aws:kms:us-east-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab; an alias cannot be named in a policy"))]
    pub kms_key_arn: Option<String>,
}

/// Which encryption to ask for.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncryptionType {
    /// Ask for nothing: the bucket's default applies.
    #[default]
    BucketDefault,
    /// SSE-S3.
    S3,
    /// SSE-KMS with `kmsKeyARN`.
    KMS,
}

/// How often the destination is proved again.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// Seconds between checks that the role can still be assumed.
    #[serde(default = "default_interval")]
    #[schemars(range(min = 300, max = 604_800))]
    pub interval_seconds: i32,
    /// Seconds between proofs that the role still refuses everybody else, and that the bucket is still writable.
    #[serde(default = "default_enforcement_interval")]
    #[schemars(range(min = 300, max = 604_800))]
    pub enforcement_interval_seconds: i32,
}

impl Default for Validation {
    fn default() -> Self {
        Validation {
            interval_seconds: default_interval(),
            enforcement_interval_seconds: default_enforcement_interval(),
        }
    }
}

fn default_external_id_key() -> String {
    "externalID".to_owned()
}
fn default_session_duration() -> i32 {
    3600
}
fn default_interval() -> i32 {
    3600
}
fn default_enforcement_interval() -> i32 {
    86_400
}

impl RecordingDestinationSpec {
    /// Prefix of every key; empty when none is set.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    /// The account that must own the bucket. Empty only for a role ARN that the API server would have refused.
    pub fn bucket_owner(&self) -> &str {
        self.expected_bucket_owner.as_deref().or_else(|| self.role_arn.split(':').nth(4)).unwrap_or_default()
    }
}

/// What is known of the destination.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordingDestinationStatus {
    /// Generation that the conditions speak of; -1 until the first validation.
    #[serde(default)]
    pub observed_generation: i64,
    /// Account of the role.
    #[serde(default, rename = "accountID", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The bucket's region, as S3 said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_region: Option<String>,
    /// First proof of this bucket, prefix, role ARN and External ID; a change of any clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub established_time: Option<Time>,
    /// Digest of the bucket, prefix and role ARN that `establishedTime` is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub established_target: Option<String>,
    /// Last conclusive validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_validation_time: Option<Time>,
    /// Last conclusive proof of External ID enforcement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_enforcement_time: Option<Time>,
    /// `resourceVersion` of the Secret that was proved.
    #[serde(default, rename = "externalIDSecretVersion", skip_serializing_if = "Option::is_none")]
    pub external_id_secret_version: Option<String>,
    /// Name and key of the Secret whose `externalIDSecretVersion` was proved.
    #[serde(default, rename = "externalIDSecretRef", skip_serializing_if = "Option::is_none")]
    pub external_id_secret_ref: Option<ExternalIDSecretRef>,
    /// Value of the `revalidate` annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_revalidate: Option<String>,
    /// Newest verified upload, written at most hourly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_upload_time: Option<Time>,
    /// What pods left behind when they ended, the newest entries, at most one for each pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub last_losses: Vec<Loss>,
    /// Uploaders that something keeps from delivering; absent while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaders: Option<Uploaders>,
    /// Conditions, at most one of a type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Every step of the last validation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub checks: Vec<Check>,
}

impl RecordingDestinationStatus {
    /// The status without the fields that the broker writes.
    pub fn of_controller(self) -> Self {
        RecordingDestinationStatus {
            uploaders: None,
            last_upload_time: None,
            last_losses: Vec::new(),
            ..self
        }
    }
}

/// One step of a validation.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was tried, such as `PutObject`.
    #[schemars(length(max = 64))]
    pub name: String,
    /// How it ended.
    pub result: CheckResult,
    /// CamelCase cause.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What was seen.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// What to do about it, ready to paste.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 8192))]
    pub remedy: String,
}

/// How a check ended.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
pub enum CheckResult {
    /// As it must be.
    Passed,
    /// Clearly not as it must be.
    Failed,
    /// Not tried.
    Skipped,
    /// Tried, without a clear answer.
    Inconclusive,
}

impl Check {
    /// The step that it is of; `None` when the status was written by a release with other steps.
    pub fn step(&self) -> Option<CheckName> {
        CheckName::parse(&self.name)
    }
}

impl RecordingDestination {
    /// The condition of that type, if the status has it.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        let name: &str = kind.into();
        self.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == name)
    }

    /// The version of the Secret that was proved, if the spec still names that Secret and key. A status of an earlier
    /// release does not name them; it is about the spec as long as no edit follows.
    pub fn proved_secret_version(&self) -> Option<&str> {
        let status = self.status.as_ref()?;
        let is_same = match &status.external_id_secret_ref {
            Some(proved) => *proved == self.spec.external_id_secret_ref,
            None => Some(status.observed_generation) == self.metadata.generation,
        };
        status.external_id_secret_version.as_deref().filter(|_| is_same)
    }

    /// Whether Ready is True for the spec as it now stands.
    pub fn is_ready(&self) -> bool {
        self.condition(ConditionType::Ready).is_some_and(|ready| {
            ready.status == "True" && ready.observed_generation == self.metadata.generation
        })
    }
}
