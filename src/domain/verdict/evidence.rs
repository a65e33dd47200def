//! The input of a verdict: what was observed of a destination.

use jiff::Timestamp;

use crate::api::{Answer, BucketCall, Objection, WrongCaller};
use crate::secret::MalformedExternalID;

/// How much to validate. Each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Read the Secret, to see whether it changed.
    Secret,
    /// Assume the role as well.
    Role,
    /// Probe the bucket as well.
    Bucket,
    /// Try the wrong callers as well.
    Everything,
}

/// All that was gathered for one verdict.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// The destination is suspended: nothing was called.
    Suspended,
    /// The spec cannot be served, for this reason: nothing was called.
    InvalidSpec(String),
    /// The namespace may not use the AWS account: nothing was called.
    NotAllowed(Objection),
    /// Only fields that no proof depends on were edited: nothing was called.
    CarriedOver,
    /// Claims or the namespace's binding changed: nothing was called.
    Reconsidered,
    /// Uploaders reported: nothing was called.
    Reported,
    /// AWS was called, as far as the Secret allowed.
    Validated {
        secret: SecretObservation,
        /// Absent when there was no External ID to send.
        role: Option<Box<RoleEvidence>>,
    },
}

/// Bytes of a Secret, as the API server sends it, that are read at most.
pub const LARGEST_SECRET: u64 = 64 * 1024;

/// What reading the Secret reference came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretObservation {
    Resolved {
        /// The Secret's `resourceVersion`.
        version: String,
        /// Whether its hash is that of the External ID proved last: a label on a Secret changes the version too.
        known: bool,
    },
    NotFound,
    /// A Secret of another type, whose value was dropped unread.
    TypeMismatch,
    /// It has only these keys.
    KeyMissing(Vec<String>),
    /// A Secret of more than [`LARGEST_SECRET`] bytes, of which no value was read.
    TooLarge,
    /// A value that is not an External ID.
    Malformed(MalformedExternalID),
    /// The API server refused it, with this HTTP status.
    Unreadable(u16),
    /// A new External ID, in a namespace that has tried as many as it may. The next may be tried at that time.
    Limited(Timestamp),
}

/// The answers of STS about the role.
#[derive(Clone, Debug)]
pub struct RoleEvidence {
    /// AssumeRole with the right External ID.
    pub assumed: Answer,
    /// Whether the platform's key is the right one; checked when the call failed.
    pub platform: Platform,
    /// The answer of the platform's control role when this role denied; absent where there is none.
    pub control: Option<Answer>,
    /// The answers to the wrong callers; absent when not due.
    pub enforcement: Option<Enforcement>,
    /// The answers of the bucket; absent when not due.
    pub bucket: Option<BucketEvidence>,
}

/// The principal of the key that the operator holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Not checked, or without a clear answer.
    NotKnown,
    /// The configured principal's.
    AsConfigured,
    /// The configured principal's, and no role that was proved before lets it in any more.
    RefusedEverywhere,
    /// Another principal's, by ARN.
    AnotherPrincipal(String),
    /// AWS does not accept the key.
    Refused,
    /// The key could not be read from its file.
    Unreadable,
}

/// The wrong callers, tried between two calls with the right External ID.
#[derive(Clone, Debug)]
pub struct Enforcement {
    pub negatives: Vec<NegativeAnswer>,
    /// Answers of the platform's control role, which accepts any External ID, to wrong callers of the same kinds; empty
    /// where there is none.
    pub control: Vec<Answer>,
    /// AssumeRole with the right External ID, once more.
    pub assumed_again: Answer,
}

/// The answer to one wrong caller.
#[derive(Clone, Debug)]
pub struct NegativeAnswer {
    pub caller: WrongCaller,
    /// `None` when this External ID has no such near miss.
    pub answer: Option<Answer>,
}

/// The calls that an uploader makes, in order. Calls that depend on a failed one were not made.
#[derive(Clone, Debug, Default)]
pub struct BucketEvidence {
    pub calls: Vec<(BucketCall, Answer)>,
    /// Whether the bytes read back and the checksum that S3 reports are those that were put; absent when nothing was
    /// read.
    pub read_back_matches: Option<bool>,
    /// Whether the delete left a delete marker, as in a versioned bucket.
    pub marker_left: bool,
    /// Whether the calls for a whole object were left out, because an upload has proved them since the last probe.
    pub uploaded_since: bool,
}

/// Which calls a probe makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// All that an uploader makes.
    Whole,
    /// Those of a recording in parts.
    Parts,
}

/// Texts for the remedies of one destination.
#[derive(Clone, Debug)]
pub struct Texts {
    pub platform_principal: String,
    /// The trust policy to paste, with a placeholder for the External ID.
    pub trust_policy: String,
    /// The role's permissions policy to paste.
    pub role_policy: String,
}

/// The operator's settings that a verdict depends on.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The platform's partition: AssumeRole never crosses partitions.
    pub partition: String,
    pub enforcement: EnforcementMode,
}

/// What follows when a role accepts a wrong caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::Display)]
#[strum(serialize_all = "camelCase")]
pub enum EnforcementMode {
    /// The destination is not Ready.
    #[default]
    Require,
    /// The condition is False and a Warning Event is published; Ready does not depend on it, and nothing is claimed.
    Warn,
}
