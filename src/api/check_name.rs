//! The steps of a validation, by the names that `status.checks` shows.

use std::fmt;

/// A step of a validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckName {
    /// The Secret that the destination names is read.
    ExternalIDSecret,
    /// The role is assumed with the External ID.
    AssumeRole,
    /// The role is tried by a wrong caller, which it must refuse.
    WrongCaller(WrongCaller),
    /// The role is assumed once more, after the wrong callers.
    AssumeRoleAgain,
    /// The platform's control role is tried by the same wrong callers.
    AssumeRoleOfControl,
    /// A call that an uploader makes is made on the bucket.
    Bucket(BucketCall),
    /// The claim is weighed against those of other destinations.
    Exclusive,
}

/// A wrong caller, by what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumIter, strum::IntoStaticStr)]
pub enum WrongCaller {
    /// No External ID at all.
    AssumeRoleWithoutExternalID,
    /// A random one of the same length and character classes.
    AssumeRoleWithRandomExternalID,
    /// The right one and one character more.
    AssumeRoleWithExternalIDAppended,
    /// One character before the right one.
    AssumeRoleWithExternalIDPrepended,
    /// The right one with the case of its letters flipped.
    AssumeRoleWithExternalIDCaseFlipped,
    /// The right one with its last character replaced: a wildcard at the end is the usual slip.
    AssumeRoleWithLastCharacterReplaced,
    /// The right one with another character replaced, at another position in each window.
    AssumeRoleWithCharacterReplaced,
}

/// A call on the bucket, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumIter, strum::IntoStaticStr)]
pub enum BucketCall {
    /// Conditional put with ACL, checksum and encryption.
    PutObject,
    /// The same without the ACL: made when the put was refused, to tell which permission it lacks.
    PutObjectWithoutACL,
    /// What S3 holds, with the checksum.
    HeadObject,
    /// Read back.
    GetObject,
    /// An upload in parts begun.
    CreateMultipartUpload,
    /// Its one part.
    UploadPart,
    /// Conditional end of the upload in parts.
    CompleteMultipartUpload,
    /// Delete.
    DeleteObject,
}

impl CheckName {
    /// The step of that name; `None` for one of another release.
    pub fn parse(name: &str) -> Option<Self> {
        use strum::IntoEnumIterator as _;
        let of_their_own = [
            CheckName::ExternalIDSecret,
            CheckName::AssumeRole,
            CheckName::AssumeRoleAgain,
            CheckName::AssumeRoleOfControl,
            CheckName::Exclusive,
        ];
        let mut all = of_their_own
            .into_iter()
            .chain(WrongCaller::iter().map(CheckName::WrongCaller))
            .chain(BucketCall::iter().map(CheckName::Bucket));
        all.find(|check| <&str>::from(*check) == name)
    }
}

impl From<CheckName> for &'static str {
    fn from(name: CheckName) -> Self {
        match name {
            CheckName::ExternalIDSecret => "ExternalIDSecret",
            CheckName::AssumeRole => "AssumeRole",
            CheckName::WrongCaller(caller) => caller.into(),
            CheckName::AssumeRoleAgain => "AssumeRoleAgain",
            CheckName::AssumeRoleOfControl => "AssumeRoleOfControl",
            CheckName::Bucket(call) => call.into(),
            CheckName::Exclusive => "Exclusive",
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str((*self).into())
    }
}
