//! What was seen of a destination: the input of a verdict.

use crate::api::Answer;
use crate::secret::MalformedExternalID;

/// All that was gathered in one look.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// The user suspended it: nothing was called.
    Suspended,
    /// The spec cannot be served, with the sentence that says why: nothing was called.
    InvalidSpec(String),
    /// Only fields that no proof depends on were edited: nothing was called.
    CarriedOver,
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
    },
    /// No such Secret.
    NotFound,
    /// A Secret of another type; its value was dropped unread.
    TypeMismatch,
    /// No such key in it.
    KeyMissing,
    /// A value that is not an External ID.
    Malformed(MalformedExternalID),
}

/// What STS said about the role.
#[derive(Clone, Debug)]
pub struct RoleEvidence {
    /// AssumeRole with the right External ID.
    pub assumed: Answer,
    /// Whether the platform's key is what it should be; asked when the call failed.
    pub platform: Platform,
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
    /// AssumeRole with the right External ID, once more.
    pub assumed_again: Answer,
}

/// What one wrong caller was told.
#[derive(Clone, Debug)]
pub struct NegativeAnswer {
    /// Name of the check.
    pub name: &'static str,
    /// `None` when this External ID has no such near miss.
    pub answer: Option<Answer>,
}

/// The calls an uploader makes, in order; those after a failure were not made.
#[derive(Clone, Debug, Default)]
pub struct BucketEvidence {
    /// Each call and its answer.
    pub calls: Vec<(BucketCall, Answer)>,
    /// Whether what was read is what was put; absent when nothing was read.
    pub read_back_matches: Option<bool>,
}

/// One call of the probe. Multipart joins here with the uploader's own multipart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::IntoStaticStr)]
pub enum BucketCall {
    /// Conditional put with ACL, checksum and encryption.
    PutObject,
    /// Read back.
    GetObject,
    /// Delete.
    DeleteObject,
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
