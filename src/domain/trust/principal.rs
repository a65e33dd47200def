//! Whether a caller is the principal that customers trust.

/// Whether the caller that AWS names by that ARN (GetCallerIdentity) is the principal: the user itself, or a session of
/// the role. A session's ARN has the role's name without its path.
pub fn is_principal(caller_arn: &str, principal_arn: &str) -> bool {
    let session_of_role = || {
        let (head, role) = principal_arn.split_once(":role/")?;
        let (partition, account) = head.strip_prefix("arn:")?.split_once(":iam::")?;
        let name = role.rsplit('/').next()?;
        caller_arn.strip_prefix(&format!("arn:{partition}:sts::{account}:assumed-role/{name}/"))
    };
    caller_arn == principal_arn || session_of_role().is_some_and(|session| !session.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_itself_and_a_role_is_its_sessions() {
        let role = "arn:aws:iam::111111111111:role/platform/recorder";
        for (caller, principal, is) in [
            ("arn:aws:iam::111111111111:user/a", "arn:aws:iam::111111111111:user/a", true),
            ("arn:aws:iam::111111111111:user/b", "arn:aws:iam::111111111111:user/a", false),
            ("arn:aws:sts::111111111111:assumed-role/recorder/pod-1", role, true),
            ("arn:aws:sts::111111111111:assumed-role/recorder-2/pod-1", role, false),
            ("arn:aws:sts::222222222222:assumed-role/recorder/pod-1", role, false),
            ("arn:aws-cn:sts::111111111111:assumed-role/recorder/pod-1", role, false),
            ("arn:aws:sts::111111111111:assumed-role/recorder/", role, false),
            ("arn:aws:sts::111111111111:assumed-role/a/pod-1", "arn:aws:iam::111111111111:user/a", false),
        ] {
            assert_eq!(is_principal(caller, principal), is, "{caller}, {principal}");
        }
    }
}
