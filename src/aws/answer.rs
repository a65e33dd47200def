//! What an SDK result comes to: granted, refused or silent.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::api::{Answer, PolicyType, Refusal, Silence};

/// Makes an idempotent call, and repeats it once where the connection failed: the other side may just have closed a
/// connection that was kept open.
pub(super) async fn repeat_if_cut_off<T, E, F>(ask: impl Fn() -> F) -> F::Output
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    match ask().await {
        Err(SdkError::DispatchFailure(failure)) if !failure.is_timeout() && !failure.is_user() => ask().await,
        result => result,
    }
}

/// Reduces an SDK result to what decisions need. AWS's own text goes no further.
///
/// An error without a code does not come from AWS, whatever its status: a proxy's 403 denies nothing.
pub(super) fn answer<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> Answer<T>
where
    E: ProvideErrorMetadata,
{
    match bare_answer(result) {
        // A fault or throttle counts the same when a gateway reports it.
        Answer::Refused(refusal)
            if refusal.code.is_empty() && !refusal.is_server_fault() && !refusal.is_throttle() =>
        {
            Answer::Silent(Silence::Garbled)
        }
        answer => answer,
    }
}

/// The same for a HEAD, whose answers have a status and no code.
pub(super) fn bare_answer<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> Answer<T>
where
    E: ProvideErrorMetadata,
{
    let error = match result {
        Ok(value) => return Answer::Granted(value),
        Err(error) => error,
    };
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (&error, status) {
        (SdkError::ServiceError(service), Some(status)) => {
            let header = |name: &str| service.raw().headers().get(name).map(str::to_owned);
            Answer::Refused(Refusal {
                status,
                code: service.err().code().filter(|code| is_word(code)).unwrap_or_default().to_owned(),
                denied_action: service.err().message().and_then(denied_action),
                policy: service.err().message().and_then(denying_policy),
                bucket_region: header("x-amz-bucket-region").filter(|region| is_word(region)),
            })
        }
        // The body of an error was cut off.
        (SdkError::ResponseError(_), Some(status)) if status >= 300 => {
            Answer::Refused(Refusal { status, ..Refusal::default() })
        }
        (SdkError::TimeoutError(_), _) => Answer::Silent(Silence::Timeout),
        (SdkError::DispatchFailure(failure), _) if failure.is_timeout() => Answer::Silent(Silence::Timeout),
        (SdkError::DispatchFailure(failure), _) if failure.is_user() => Answer::Silent(Silence::Unsendable),
        (SdkError::DispatchFailure(_), _) => Answer::Silent(Silence::Connection),
        (SdkError::ConstructionFailure(_), _) => Answer::Silent(Silence::Unsendable),
        _ => Answer::Silent(Silence::Garbled),
    }
}

/// Whether it looks like a code or a region. People read both in statuses, and what answers may not be AWS.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// The type of policy in "… because no identity-based policy allows the s3:PutObject action" and in "… with an explicit
/// deny in a resource-based policy". It stands at the end, behind the ARN of the object, which may hold any words.
///
/// Source: IAM User Guide, "Troubleshoot access denied error messages".
fn denying_policy(message: &str) -> Option<PolicyType> {
    const TYPES: [(&str, PolicyType); 8] = [
        ("identity-based policy", PolicyType::IdentityPolicy),
        ("resource-based policy", PolicyType::ResourcePolicy),
        ("service control policy", PolicyType::ServiceControlPolicy),
        ("resource control policy", PolicyType::ResourceControlPolicy),
        ("permissions boundary", PolicyType::PermissionsBoundary),
        ("session policy", PolicyType::SessionPolicy),
        ("VPC endpoint policy", PolicyType::VPCEndpointPolicy),
        ("vpc endpoint policy", PolicyType::VPCEndpointPolicy),
    ];
    let named = |begins: &str| message.rfind(begins).map(|at| at + begins.len());
    let begins = ["because no ", "with an explicit deny in a ", "with an explicit deny in an "];
    let rest = &message[begins.into_iter().filter_map(named).max()?..];
    TYPES.into_iter().find(|(name, _)| rest.starts_with(name)).map(|(_, policy)| policy)
}

/// The action in "… is not authorized to perform: s3:PutObject on resource …", the one part of
/// an access-denied text that tells causes apart.
pub(super) fn denied_action(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("not authorized to perform: ")?;
    let action = rest.split([' ', ',']).next()?;
    let plausible = action.split_once(':').is_some_and(|(service, name)| {
        service.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    plausible.then(|| action.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_denial_the_type_of_the_policy_is_kept_and_no_text() {
        use PolicyType::*;
        let put = "User: arn:aws:sts::111111111111:assumed-role/w/x is not authorized to perform: s3:PutObject on resource: \
                   \"arn:aws:s3:::acme-recordings/calls/a.wav\" ";
        for (ends, policy) in [
            ("because no identity-based policy allows the s3:PutObject action", Some(IdentityPolicy)),
            ("with an explicit deny in an identity-based policy", Some(IdentityPolicy)),
            ("because no resource-based policy allows the s3:PutObject action", Some(ResourcePolicy)),
            ("with an explicit deny in a resource-based policy", Some(ResourcePolicy)),
            ("because no service control policy allows the s3:PutObject action", Some(ServiceControlPolicy)),
            (
                "with an explicit deny in a service control policy: arn:aws:organizations::1:policy/x",
                Some(ServiceControlPolicy),
            ),
            ("with an explicit deny in a resource control policy", Some(ResourceControlPolicy)),
            ("because no permissions boundary allows the s3:PutObject action", Some(PermissionsBoundary)),
            ("with an explicit deny in a permissions boundary", Some(PermissionsBoundary)),
            ("because no session policy allows the s3:PutObject action", Some(SessionPolicy)),
            ("with an explicit deny in a VPC endpoint policy", Some(VPCEndpointPolicy)),
            ("because no quantum policy allows the s3:PutObject action", None),
            ("", None),
        ] {
            assert_eq!(denying_policy(&format!("{put}{ends}")), policy, "{ends}");
        }
        assert_eq!(denying_policy("Access Denied"), None);
        let named = "on resource: \"arn:aws:s3:::b/with an explicit deny in a session policy.wav\" because no \
                     resource-based policy allows the s3:PutObject action";
        assert_eq!(denying_policy(named), Some(ResourcePolicy), "the object's name is not AWS's word");
    }
}
