//! IAM role ARNs. The CEL rule on `spec.roleARN` accepts the same, which a test verifies.

use std::fmt;
use std::str::FromStr;

/// An IAM role's ARN, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleARN {
    /// `aws`, `aws-us-gov`, `aws-cn`.
    pub partition: String,
    /// Twelve digits.
    pub account: String,
    /// Name without the path.
    pub name: String,
    whole: String,
}

/// The text is not an IAM role's ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IAM role ARN; expected arn:aws:iam::<12-digit account>:role/<name>")]
pub struct InvalidRoleARN;

impl FromStr for RoleARN {
    type Err = InvalidRoleARN;

    fn from_str(text: &str) -> Result<Self, InvalidRoleARN> {
        let mut fields = text.splitn(6, ':');
        let mut next = || fields.next().ok_or(InvalidRoleARN);
        let (arn, partition, service, region, account, resource) =
            (next()?, next()?, next()?, next()?, next()?, next()?);
        let path_and_name = resource.strip_prefix("role/").ok_or(InvalidRoleARN)?;
        let (path, name) = path_and_name.rsplit_once('/').unwrap_or(("", path_and_name));
        let well_formed = arn == "arn"
            && is_partition(partition)
            && service == "iam"
            && region.is_empty()
            && account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && path.len() <= 510
            && path.bytes().all(|b| b.is_ascii_graphic())
            && (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
        if !well_formed {
            return Err(InvalidRoleARN);
        }
        Ok(RoleARN {
            partition: partition.to_owned(),
            account: account.to_owned(),
            name: name.to_owned(),
            whole: text.to_owned(),
        })
    }
}

/// `aws`, or `aws-` and lower-case words joined by hyphens.
fn is_partition(text: &str) -> bool {
    let mut words = text.split('-');
    words.next() == Some("aws")
        && words.all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

impl fmt::Display for RoleARN {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}
