//! Why a request is refused.

/// The link of the chain at which a request failed, for the operator's log and metric. The caller sees the same refusal
/// whatever the cause, or it could learn from the answers what exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::IntoStaticStr)]
#[cfg_attr(test, derive(strum::EnumIter))]
pub enum Denial {
    /// Not a request that the broker knows.
    UnknownRequest,
    NoToken,
    /// More than one `Authorization` header.
    SeveralTokens,
    /// An `Authorization` header that is not a bearer token.
    MalformedToken,
    /// A bearer token that is not a JSON Web Token, as tokens of service accounts are.
    NotAJWT,
    /// A token whose own `exp` has passed or is missing.
    Expired,

    /// The API server does not know the token: forged, expired, or its pod is gone.
    NotAuthenticated,
    /// A token for another audience.
    WrongAudience,
    /// The token of a node or a person.
    NotAServiceAccount,
    /// A service account's token that is bound to no pod.
    NotBoundToAPod,

    /// The pod does not exist.
    PodGone,
    /// The pod is too large, or a field that is read has another type.
    PodUndecodable,
    /// Another pod of the same name.
    PodReplaced,
    /// The pod has succeeded or failed.
    PodFinished,
    /// The pod runs under another service account than that of the token.
    ServiceAccountMismatch,
    /// The pod does not carry the label.
    NotInjected,
    /// The pod does not have the operator's sidecar, or its sidecar runs another command.
    NoSidecar,
    /// The pod names no destination.
    NoDestinationNamed,

    /// No such destination in the pod's namespace.
    DestinationNotFound,
    /// The destination names the service accounts that may use it, and this is none of them.
    ServiceAccountNotAllowed,
    /// The destination is not proved as it now stands.
    DestinationNotReady,
    DestinationSuspended,

    /// The Secret with the External ID is missing, of another type, or malformed.
    ExternalIDUnusable,
    /// The Secret was edited, and its External ID is not proved yet.
    ExternalIDNotProved,
    AssumeRoleDenied,
    /// The role's account has not enabled the region of the STS endpoint.
    STSRegionDisabled,
}

impl Denial {
    /// What a pod is told: only a pod that is authorised, and whose destination is Ready, meets these. The sidecar reports
    /// them, so that the destination's status says why nothing is sent.
    pub fn explanation(self) -> Option<&'static str> {
        match self {
            Denial::ExternalIDUnusable => {
                Some("The Secret with the External ID is missing, of another type, or holds none.")
            }
            Denial::ExternalIDNotProved => {
                Some("The Secret with the External ID was edited, and the new one is not proved yet.")
            }
            Denial::AssumeRoleDenied => Some("AWS refused AssumeRole of the destination's role."),
            Denial::STSRegionDisabled => {
                Some("The role's account has not enabled the region of the STS endpoint.")
            }
            _ => None,
        }
    }
}
