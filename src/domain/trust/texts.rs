//! The policies that a customer pastes. The External ID is only ever a placeholder in them.

use serde_json::json;

use crate::api::{BucketTarget, ObjectACL};

/// Stands for the External ID in every text.
pub const PLACEHOLDER: &str = "<your External ID>";

/// The trust policy of the customer's role.
pub fn trust_policy(platform_principal_arn: &str) -> String {
    pretty(&json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": platform_principal_arn},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": PLACEHOLDER}},
        }],
    }))
}

/// The permissions policy of the customer's role: the four actions of the contract.
pub fn role_policy(target: &BucketTarget, partition: &str) -> String {
    let mut actions = vec!["s3:PutObject", "s3:GetObject", "s3:DeleteObject"];
    if target.object_acl == ObjectACL::BucketOwnerFullControl {
        actions.insert(1, "s3:PutObjectAcl");
    }
    pretty(&json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": actions,
            "Resource": format!("arn:{partition}:s3:::{}/*", target.bucket),
        }],
    }))
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON values serialize")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Encryption;

    #[test]
    fn the_trust_policy_names_the_platform_and_demands_an_external_id() {
        let expected = r#"{
  "Statement": [
    {
      "Action": "sts:AssumeRole",
      "Condition": {
        "StringEquals": {
          "sts:ExternalId": "<your External ID>"
        }
      },
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::103850359708:user/RingDNA_Web"
      }
    }
  ],
  "Version": "2012-10-17"
}"#;
        assert_eq!(trust_policy("arn:aws:iam::103850359708:user/RingDNA_Web"), expected);
    }

    #[test]
    fn the_role_policy_allows_the_four_actions_and_without_an_acl_three() {
        let target = |object_acl| BucketTarget {
            bucket: "acme-recordings".into(),
            region: "cn-north-1".into(),
            prefix: "calls/".into(),
            expected_bucket_owner: "111111111111".into(),
            object_acl,
            storage_class: None,
            encryption: Encryption::default(),
        };
        let expected = r#"{
  "Statement": [
    {
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl",
        "s3:GetObject",
        "s3:DeleteObject"
      ],
      "Effect": "Allow",
      "Resource": "arn:aws-cn:s3:::acme-recordings/*"
    }
  ],
  "Version": "2012-10-17"
}"#;
        assert_eq!(role_policy(&target(ObjectACL::BucketOwnerFullControl), "aws-cn"), expected);
        let three = expected.replace("        \"s3:PutObjectAcl\",\n", "");
        assert_eq!(role_policy(&target(ObjectACL::None), "aws-cn"), three);
    }
}
