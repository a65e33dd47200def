//! What a refusal that an uploader meets is called, until a validation has found the cause.

use std::cmp::Reverse;

use crate::api::{Reason, RefusedCall, UploadRefusal};

/// Longest error code that is kept. AWS's have at most 50 letters.
const LONGEST_CODE: usize = 64;

/// The reason that fits best. AWS does not say of a refused put whether the ACL or the put itself is denied; the
/// validation that follows tells them apart.
pub fn refusal_reason(refusal: &UploadRefusal) -> Reason {
    let is_read = matches!(refusal.call, RefusedCall::HeadObject | RefusedCall::GetObject);
    match (refusal.call, refusal.code.as_str()) {
        (RefusedCall::AssumeRole, "RegionDisabledException" | "STSRegionDisabled") => {
            Reason::STSRegionDisabled
        }
        (RefusedCall::AssumeRole, "ExternalIDUnusable") => Reason::ExternalIDUnusable,
        (RefusedCall::AssumeRole, "ExternalIDNotProved") => Reason::ExternalIDNotProved,
        (RefusedCall::AssumeRole, _) => Reason::AssumeRoleDenied,
        (_, "NoSuchBucket") => Reason::BucketNotFound,
        (
            _,
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
        ) => Reason::WrongRegion,
        (_, "AccessControlListNotSupported") => Reason::ACLDenied,
        (_, "KMS.DisabledException" | "KMS.NotFoundException" | "KMS.KMSInvalidStateException") => {
            Reason::KMSKeyUnusable
        }
        (_, code) if code.starts_with("KMS.") => Reason::KMSAccessDenied,
        _ if refusal.status == 403 && is_read => Reason::GetObjectDenied,
        _ if refusal.status == 403 => Reason::PutObjectDenied,
        _ => Reason::UploadRefused,
    }
}

/// Of the refusals of many recordings the one that keeps most of them waiting, with how many those are.
pub fn refusal_of_most<'a>(refusals: impl IntoIterator<Item = &'a UploadRefusal>) -> Option<UploadRefusal> {
    let mut kinds: Vec<UploadRefusal> = Vec::new();
    for refusal in refusals {
        match kinds.iter_mut().find(|kind| kind.is_like(refusal)) {
            Some(kind) => kind.files += refusal.files,
            None => kinds.push(refusal.clone()),
        }
    }
    // Of several that keep as many waiting always the same one, as another is news.
    kinds.into_iter().max_by_key(|kind| (kind.files, Reverse((kind.call.to_string(), kind.code.clone()))))
}

/// An error code as a status may show it. A pod may send anything as one.
pub(super) fn shown_code(code: &str) -> String {
    let is_of_codes = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    code.chars().filter(is_of_codes).take(LONGEST_CODE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_reason_that_a_validation_would_give_it() {
        use RefusedCall::*;
        for (call, status, code, expected) in [
            (AssumeRole, 403, "AccessDenied", Reason::AssumeRoleDenied),
            (AssumeRole, 403, "RegionDisabledException", Reason::STSRegionDisabled),
            (AssumeRole, 403, "STSRegionDisabled", Reason::STSRegionDisabled),
            (AssumeRole, 403, "AssumeRoleDenied", Reason::AssumeRoleDenied),
            (AssumeRole, 403, "ExternalIDUnusable", Reason::ExternalIDUnusable),
            (AssumeRole, 403, "ExternalIDNotProved", Reason::ExternalIDNotProved),
            (PutObject, 403, "AccessDenied", Reason::PutObjectDenied),
            (CreateMultipartUpload, 403, "AccessDenied", Reason::PutObjectDenied),
            (HeadObject, 403, "", Reason::GetObjectDenied),
            (GetObject, 403, "AccessDenied", Reason::GetObjectDenied),
            (PutObject, 404, "NoSuchBucket", Reason::BucketNotFound),
            (PutObject, 301, "PermanentRedirect", Reason::WrongRegion),
            (PutObject, 400, "AuthorizationHeaderMalformed", Reason::WrongRegion),
            (PutObject, 400, "AccessControlListNotSupported", Reason::ACLDenied),
            (PutObject, 400, "KMS.DisabledException", Reason::KMSKeyUnusable),
            (PutObject, 403, "KMS.AccessDeniedException", Reason::KMSAccessDenied),
            (PutObject, 400, "InvalidRequest", Reason::UploadRefused),
            (Other, 409, "SomethingNew", Reason::UploadRefused),
        ] {
            let refusal = UploadRefusal { call, status, code: code.to_owned(), policy: None, files: 1 };
            assert_eq!(refusal_reason(&refusal), expected, "{call} {status} {code}");
        }
    }

    #[test]
    fn of_several_refusals_that_of_most_recordings_is_reported() {
        let refusal = |call, code: &str, files| UploadRefusal {
            call,
            status: 403,
            code: code.to_owned(),
            policy: None,
            files,
        };
        let (put, create) = (
            refusal(RefusedCall::PutObject, "AccessDenied", 1),
            refusal(RefusedCall::CreateMultipartUpload, "AccessDenied", 1),
        );
        assert_eq!(refusal_of_most([]), None);
        let most = refusal(RefusedCall::PutObject, "AccessDenied", 2);
        assert_eq!(refusal_of_most([&put, &create, &put]), Some(most));
        assert_eq!(refusal_of_most([&put, &create]), refusal_of_most([&create, &put]), "no news");
    }

    #[test]
    fn a_code_is_shown_without_what_no_code_of_aws_has() {
        assert_eq!(shown_code("KMS.DisabledException"), "KMS.DisabledException");
        assert_eq!(shown_code("Access\u{1b}[31mDenied\n+49 170 1234567"), "Access31mDenied491701234567");
        assert_eq!(shown_code(&"A".repeat(9_000)).len(), LONGEST_CODE);
    }
}
