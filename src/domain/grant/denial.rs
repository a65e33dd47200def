//! Why a request is refused.

/// The link of the chain at which a request failed. For the operator's log and metric alone: the
/// caller sees the same refusal whatever the cause, or it could learn what exists from the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::IntoStaticStr)]
#[cfg_attr(test, derive(strum::EnumIter))]
pub enum Denial {
    /// Not a request that the broker knows.
    UnknownRequest,
    /// No `Authorization` header.
    NoToken,
    /// More than one `Authorization` header.
    SeveralTokens,
    /// An `Authorization` header that is not a bearer token.
    MalformedToken,
    /// A bearer token that is no JSON Web Token, as every service account's is.
    NotAJWT,
    /// A token that says itself that its time is over, or says nothing of it.
    Expired,

    /// The API server does not know the token: forged, expired, or its pod is gone.
    NotAuthenticated,
    /// A token that was made for somebody else.
    WrongAudience,
    /// The token of a node or a person.
    NotAServiceAccount,
    /// A service account's token that is bound to no pod.
    NotBoundToAPod,

    /// The pod does not exist.
    PodGone,
    /// Another pod of the same name.
    PodReplaced,
    /// The pod has succeeded or failed.
    PodFinished,
    /// The pod runs under another service account than the token says.
    ServiceAccountMismatch,
    /// The pod does not carry the label.
    NotInjected,
    /// The pod has no sidecar of ours, or one that runs something else.
    NoSidecar,
    /// The pod names no destination.
    NoDestinationNamed,

    /// No such destination in the pod's namespace.
    DestinationNotFound,
    /// The destination names the service accounts that may use it, and this is none of them.
    ServiceAccountNotAllowed,
    /// The destination is not proved as it now stands.
    DestinationNotReady,
    /// The destination is suspended.
    DestinationSuspended,

    /// The Secret with the External ID is missing, of another type, or malformed.
    ExternalIDUnusable,
    /// AWS refused the role.
    AssumeRoleDenied,
}
