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
    /// Without an External ID.
    AssumeRoleWithoutExternalID,
    /// With a random one of the same length and character classes.
    AssumeRoleWithRandomExternalID,
    /// With the right one and a character appended.
    AssumeRoleWithExternalIDAppended,
    /// With a character before the right one.
    AssumeRoleWithExternalIDPrepended,
    /// With the case of the letters flipped.
    AssumeRoleWithExternalIDCaseFlipped,
    /// With the last character replaced, which finds the usual wildcard at the end.
    AssumeRoleWithLastCharacterReplaced,
    /// With another character replaced, at another position in each window.
    AssumeRoleWithCharacterReplaced,
}

/// A call on the bucket, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumIter, strum::IntoStaticStr)]
pub enum BucketCall {
    /// Conditional put with ACL, checksum and encryption.
    PutObject,
    /// The same without the ACL, made when the put was refused, to find the missing permission.
    PutObjectWithoutACL,
    HeadObject,
    GetObject,
    CreateMultipartUpload,
    UploadPart,
    /// Conditional, like the put.
    CompleteMultipartUpload,
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
