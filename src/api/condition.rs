//! The conditions of a destination and the reasons they carry.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// Condition types. All are normal-true, except `Reconciling` and `Stalled`, which are present
/// only while true (kstatus).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumString, IntoStaticStr, VariantArray,
)]
pub enum ConditionType {
    /// All of the next five are True, and the destination is not suspended.
    Ready,
    /// The Secret, of our type, and the key exist and hold a well-formed External ID.
    SecretResolved,
    /// AssumeRole with the External ID succeeded.
    RoleAssumable,
    /// The role refused every wrong caller we sent in the same window in which it accepted the right one.
    ExternalIDEnforced,
    /// The calls an uploader makes passed, under an uploader's session policy.
    BucketWritable,
    /// No conflict with a claim proved earlier, and the namespace may use this account.
    Exclusive,
    /// Nothing keeps a recording from being delivered and removed. Ready does not depend on it.
    Delivering,
    /// Work is under way, or is retried, towards the current generation.
    Reconciling,
    /// Nothing moves until the spec is edited.
    Stalled,
}

/// Reasons. One reason, one cause to act on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumString, IntoStaticStr, VariantArray,
)]
pub enum Reason {
    /// True: proved.
    Validated,
    /// True: recordings arrive, and no uploader is in trouble.
    Delivered,

    /// A spool cannot be read, or its state directory cannot be written: nothing in it is delivered.
    SpoolUnusable,
    /// Another uploader holds the lock of a spool.
    SpoolInUse,
    /// Recordings are uploaded and verified and cannot be removed from a spool.
    SpoolNotWritable,
    /// S3 refuses recordings with an error that has no reason of its own; the status has its code.
    UploadRefused,
    /// S3 gives no usable answer to an uploader: none in time, a failure of its own, or a request to slow down.
    S3Unavailable,
    /// The broker gives an uploader no session, because STS or the broker itself gives no usable answer.
    SessionUnavailable,
    /// An uploader that had recordings to deliver has not reported for 15 minutes.
    UploaderSilent,
    /// A pod is ending, and its uploader still has recordings to deliver.
    PodEnding,
    /// A pod ended and took recordings with it that were not delivered.
    RecordingsLost,
    /// A pod ended and left recordings in a volume that outlives it.
    RecordingsLeft,
    /// A pod that had recordings to deliver is gone without saying what became of them.
    RecordingsUnaccounted,
    /// A spool's volume is at least 90 % full.
    SpoolNearlyFull,
    /// Recordings have been waiting in a spool for over 15 minutes.
    UploadsLate,
    /// Files that cannot be recordings were put aside in a spool.
    RecordingsQuarantined,

    /// The spec names something this platform cannot serve, such as a role of another partition.
    InvalidSpec,
    /// No Secret of that name in the namespace.
    SecretNotFound,
    /// The Secret has no such key.
    SecretKeyMissing,
    /// The Secret is not of type `recordings.revenue.io/external-id`.
    SecretTypeMismatch,
    /// The value is not an External ID by AWS's rules.
    ExternalIDMalformed,
    /// The Secret with the External ID is missing, of another type, or holds none: the broker can issue no session.
    ExternalIDUnusable,
    /// The Secret with the External ID was edited, and the broker waits until the new one is proved.
    ExternalIDNotProved,
    /// AssumeRole was refused: missing role, trust, MFA or SCP. AWS does not tell which.
    AssumeRoleDenied,
    /// The STS endpoint's region is not enabled in the role's account.
    STSRegionDisabled,
    /// The role accepted a caller without the right External ID.
    ExternalIDNotEnforced,
    /// No bucket of that name.
    BucketNotFound,
    /// The bucket is in another region.
    WrongRegion,
    /// The put was refused.
    PutObjectDenied,
    /// The put was refused for its ACL.
    ACLDenied,
    /// The object just put could not be read back.
    GetObjectDenied,
    /// A single put was granted, one in parts was not.
    MultipartUploadDenied,
    /// What was read back is not what was put.
    ReadBackMismatch,
    /// The bucket's KMS key refused.
    KMSAccessDenied,
    /// The bucket's KMS key is disabled, deleted or does not exist.
    KMSKeyUnusable,
    /// The probe object could not be deleted. A failed check; no condition depends on it.
    DeleteObjectDenied,
    /// The bucket is versioned: deleting the probe object left a marker before it. No condition depends on it.
    DeleteMarkerLeft,
    /// Another destination's claim was proved earlier.
    DestinationConflict,
    /// The namespace is not bound to the AWS account of the role or of the bucket.
    AccountNotAllowed,
    /// The namespace has more destinations than the platform serves in one, and this is one of the newest.
    TooManyDestinations,
    /// The user suspended the destination.
    Suspended,

    /// Unknown: being worked on.
    Progressing,
    /// Unknown: no clear answer came.
    ProbeInconclusive,
    /// Unknown: AWS throttled the call.
    Throttled,
    /// Unknown: the namespace has tried as many new External IDs as it may in an hour.
    ExternalIDsLimited,
    /// Unknown: the platform's own key is wrong. Never the tenant's fault.
    PlatformCredentialsInvalid,
    /// Unknown: AWS refuses AssumeRole to the platform itself. Never the tenant's fault.
    PlatformRefused,
    /// Unknown: not evaluated, because an earlier step failed.
    NotEvaluated,
    /// Unknown: no uploader has reported an upload yet.
    NotYetReported,
}

/// The side that can act on a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum Side {
    /// The customer, in its AWS account.
    Customer,
    /// The owner of the tenant's YAML.
    Tenant,
    /// The administrators of the platform.
    Platform,
    /// The owner of the recorder pod.
    Pod,
    /// Nothing is to be done: it is retried.
    Nobody,
}

impl Reason {
    /// The side that can act on it; `None` where nothing is to be done.
    pub fn side(self) -> Option<Side> {
        use Reason::*;
        match self {
            AssumeRoleDenied
            | STSRegionDisabled
            | ExternalIDNotEnforced
            | BucketNotFound
            | PutObjectDenied
            | ACLDenied
            | GetObjectDenied
            | MultipartUploadDenied
            | ReadBackMismatch
            | KMSAccessDenied
            | KMSKeyUnusable
            | DeleteObjectDenied
            | UploadRefused => Some(Side::Customer),
            SecretNotFound | ExternalIDUnusable | SecretKeyMissing | SecretTypeMismatch
            | ExternalIDMalformed | ExternalIDsLimited | TooManyDestinations | InvalidSpec | WrongRegion
            | Suspended => Some(Side::Tenant),
            PlatformCredentialsInvalid | PlatformRefused | AccountNotAllowed | DestinationConflict => {
                Some(Side::Platform)
            }
            UploadsLate
            | RecordingsQuarantined
            | SpoolNearlyFull
            | SpoolUnusable
            | SpoolInUse
            | SpoolNotWritable
            | UploaderSilent
            | RecordingsLost
            | RecordingsLeft
            | RecordingsUnaccounted => Some(Side::Pod),
            Progressing | ProbeInconclusive | Throttled | NotEvaluated | S3Unavailable
            | SessionUnavailable | ExternalIDNotProved | PodEnding => Some(Side::Nobody),
            Validated | Delivered | DeleteMarkerLeft | NotYetReported => None,
        }
    }
}

impl Reason {
    /// Whether it says of an uploader that nothing keeps it from delivering, as far as is known.
    pub fn keeps_nothing_waiting(self) -> bool {
        matches!(self, Reason::PodEnding | Reason::Progressing)
    }
}

/// Why a destination may not be had, in the words of its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The reason of the condition.
    pub reason: Reason,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// A change worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// `Warning`, else `Normal`.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: String,
    /// What happened and what to do.
    pub note: String,
}
