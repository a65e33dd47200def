//! What was seen of a destination: the input of a verdict.

use crate::api::{Answer, BucketCall, Objection, WrongCaller};
use crate::secret::MalformedExternalID;

/// All that was gathered in one look.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// The user suspended it: nothing was called.
    Suspended,
    /// The spec cannot be served, with the sentence that says why: nothing was called.
    InvalidSpec(String),
    /// The namespace may not use the AWS account: nothing was called.
    NotAllowed(Objection),
    /// Only fields that no proof depends on were edited: nothing was called.
    CarriedOver,
    /// Claims or the namespace's binding changed: nothing was called.
    Reconsidered,
    /// Uploaders reported: nothing was called.
    Reported,
    /// AWS was asked, as far as the Secret allowed.
    Validated {
        /// The Secret.
        secret: SecretObservation,
        /// The role; absent when there was no External ID to send.
        role: Option<Box<RoleEvidence>>,
    },
}

/// What the Secret reference led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretObservation {
    /// A well-formed External ID.
    Resolved {
        /// The Secret's `resourceVersion`.
        version: String,
        /// Whether it is the External ID that was proved last, by hash: a label on a Secret changes its version too.
        known: bool,
    },
    /// No such Secret.
    NotFound,
    /// A Secret of another type; its value was dropped unread.
    TypeMismatch,
    /// No such key in it.
    KeyMissing,
    /// A value that is not an External ID.
    Malformed(MalformedExternalID),
    /// The API server did not hand it out, with its HTTP status.
    Unreadable(u16),
}

/// What STS said about the role.
#[derive(Clone, Debug)]
pub struct RoleEvidence {
    /// AssumeRole with the right External ID.
    pub assumed: Answer,
    /// Whether the platform's key is what it should be; asked when the call failed.
    pub platform: Platform,
    /// What the platform's control role said when this one denied; absent where there is none.
    pub control: Option<Answer>,
    /// The wrong callers; absent when not due.
    pub enforcement: Option<Enforcement>,
    /// The bucket; absent when not due.
    pub bucket: Option<BucketEvidence>,
}

/// Whose key the operator holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Nobody asked, or no clear answer came.
    NotKnown,
    /// The configured principal's.
    AsConfigured,
    /// Somebody else's, by ARN.
    SomebodyElse(String),
    /// AWS does not accept it.
    Refused,
    /// It could not be read from its file.
    Unreadable,
}

/// The window of wrong callers, between two right ones.
#[derive(Clone, Debug)]
pub struct Enforcement {
    /// One answer for each wrong caller.
    pub negatives: Vec<NegativeAnswer>,
    /// What the platform's control role, which accepts any External ID, said to wrong callers of the same
    /// kinds; empty where there is none.
    pub control: Vec<Answer>,
    /// AssumeRole with the right External ID, once more.
    pub assumed_again: Answer,
}

/// What one wrong caller was told.
#[derive(Clone, Debug)]
pub struct NegativeAnswer {
    /// What is wrong with it.
    pub caller: WrongCaller,
    /// `None` when this External ID has no such near miss.
    pub answer: Option<Answer>,
}

/// The calls an uploader makes, in order; those that depend on one that failed were not made.
#[derive(Clone, Debug, Default)]
pub struct BucketEvidence {
    /// Each call and its answer.
    pub calls: Vec<(BucketCall, Answer)>,
    /// Whether what was read, and what S3 says it holds, is what was put; absent when nothing was read.
    pub read_back_matches: Option<bool>,
    /// Whether the delete only left a marker before the object, as in a versioned bucket.
    pub marker_left: bool,
}

/// Texts for remedies, made for this destination.
#[derive(Clone, Debug)]
pub struct Texts {
    /// The platform's principal, by ARN.
    pub platform_principal: String,
    /// The trust policy to paste, with a placeholder for the External ID.
    pub trust_policy: String,
    /// The role's permissions policy to paste.
    pub role_policy: String,
}

/// What the operator was told about judging.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The platform's partition: AssumeRole never crosses partitions.
    pub partition: String,
    /// What a role that lets anybody in comes to.
    pub enforcement: EnforcementMode,
}

/// What a role that lets anybody in comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::Display)]
#[strum(serialize_all = "camelCase")]
pub enum EnforcementMode {
    /// The destination is not Ready.
    #[default]
    Require,
    /// The condition and a Warning Event say so; Ready does not depend on it, and nothing is claimed.
    Warn,
}
