//! The answer of AWS to one call, reduced to what decisions need.
//!
//! No text that AWS wrote is kept: its messages carry request IDs (a new one each time, so a
//! status that repeats them never settles) and can echo an External ID.

use super::broker::PolicyType;

/// The outcome of one AWS call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T = ()> {
    /// The call was carried out.
    Granted(T),
    /// AWS answered with an error.
    Refused(Refusal),
    /// No usable answer came: the call may or may not have been carried out.
    Silent(Silence),
}

/// An error that AWS answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// Error code, such as `AccessDenied`; empty when the answer had none (every HEAD).
    pub code: String,
    /// The IAM action that the answer's text named as denied, such as `kms:GenerateDataKey`.
    pub denied_action: Option<String>,
    /// The type of policy that the answer's text named as the one that denied it.
    pub policy: Option<PolicyType>,
    /// The bucket's region, from `x-amz-bucket-region`.
    pub bucket_region: Option<String>,
}

/// Why no usable answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Silence {
    /// Nothing within the time allowed.
    #[strum(serialize = "no answer in time")]
    Timeout,
    /// The connection could not be made, or broke.
    #[strum(serialize = "the connection failed")]
    Connection,
    /// An answer that is not of the protocol.
    #[strum(serialize = "the answer could not be read")]
    Garbled,
    /// The call could not be made, for a reason on the operator's side.
    #[strum(serialize = "the call could not be made")]
    Unsendable,
}

impl Refusal {
    /// Whether AWS throttled the call. Codes from the SDKs' shared retry specification and the Amazon S3 error list.
    pub fn is_throttle(&self) -> bool {
        matches!(
            self.code_of_service(),
            "Throttling"
                | "ThrottlingException"
                | "ThrottledException"
                | "RequestThrottled"
                | "RequestThrottledException"
                | "TooManyRequestsException"
                | "RequestLimitExceeded"
                | "SlowDown"
                | "PriorRequestNotComplete"
                | "BandwidthLimitExceeded"
        ) || self.status == 429
    }

    /// Whether it is a fault of AWS, which says nothing about permissions.
    pub fn is_server_fault(&self) -> bool {
        self.status >= 500
            || matches!(
                self.code_of_service(),
                "RequestTimeout"
                    | "InternalError"
                    | "KMSInternalException"
                    | "DependencyTimeoutException"
                    | "KeyUnavailableException"
            )
    }

    /// The code without the prefix by which S3 passes on errors of AWS KMS, as in `KMS.ThrottlingException`.
    fn code_of_service(&self) -> &str {
        self.code.strip_prefix("KMS.").unwrap_or(&self.code)
    }

    /// The bytes that arrived were not those that the checksum was computed from.
    pub fn is_damage(&self) -> bool {
        matches!(self.code.as_str(), "BadDigest" | "XAmzContentChecksumMismatch" | "IncompleteBody")
    }

    /// The session is past its life. AWS answers 400 to this one.
    pub fn is_expired_token(&self) -> bool {
        matches!(self.code.as_str(), "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired")
    }
}

impl<T> Answer<T> {
    /// The same answer, with the value mapped.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Granted(value) => Answer::Granted(f(value)),
            Answer::Refused(refusal) => Answer::Refused(refusal),
            Answer::Silent(silence) => Answer::Silent(silence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttles_and_faults_that_s3_passes_on_from_kms_are_no_refusals() {
        for (status, code, throttle, fault) in [
            (400, "KMS.ThrottlingException", true, false),
            (400, "KMS.RequestLimitExceeded", true, false),
            (400, "ThrottlingException", true, false),
            (503, "SlowDown", true, true),
            (400, "KMS.KMSInternalException", false, true),
            (400, "KMS.DependencyTimeoutException", false, true),
            (400, "KMS.KeyUnavailableException", false, true),
            (403, "KMS.AccessDeniedException", false, false),
            (400, "KMS.DisabledException", false, false),
            (403, "AccessDenied", false, false),
        ] {
            let refusal = Refusal { status, code: code.into(), ..Refusal::default() };
            assert_eq!((refusal.is_throttle(), refusal.is_server_fault()), (throttle, fault), "{code}");
        }
    }
}
