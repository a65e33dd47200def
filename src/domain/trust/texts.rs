//! The policies that a customer pastes. The External ID is only ever a placeholder in them.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::policy::{KMS_ACTIONS, via_s3};
use crate::api::{BucketTarget, ObjectACL};

/// Stands for the External ID in every text.
pub const PLACEHOLDER: &str = "<your External ID>";
/// `Sid` of the statement of [`only_this_role`], which distinguishes it from the customer's own.
pub const ONLY_THIS_ROLE: &str = "OnlyTheRecordingWriterUsesObjects";

/// A policy whose parts come in the order in which people write them. Its `Display` is JSON, one part a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'static str>,
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Value>,
    action: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

impl Policy {
    fn of(statement: Vec<Statement>) -> Self {
        Policy { version: "2012-10-17", statement }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string_pretty(self).expect("a policy serializes"))
    }
}

/// The trust policy of the customer's role.
pub fn trust_policy(platform_principal_arn: &str) -> Policy {
    Policy::of(vec![Statement {
        effect: "Allow",
        principal: Some(json!({"AWS": platform_principal_arn})),
        action: json!("sts:AssumeRole"),
        condition: Some(json!({"StringEquals": {"sts:ExternalId": PLACEHOLDER}})),
        ..Statement::default()
    }])
}

/// The trust policy that ends all trust: no new session is issued.
pub fn no_trust_policy() -> Policy {
    Policy::of(vec![Statement {
        effect: "Deny",
        principal: Some(json!({"AWS": "*"})),
        action: json!("sts:AssumeRole"),
        ..Statement::default()
    }])
}

/// The permissions policy of the customer's role: the four actions of the contract, and two of KMS where a key is named.
pub fn role_policy(target: &BucketTarget, partition: &str) -> Policy {
    let mut statements = vec![Statement {
        effect: "Allow",
        action: json!(object_actions(target)),
        resource: Some(objects(target, partition)),
        ..Statement::default()
    }];
    if let Some(key) = &target.encryption.kms_key_arn {
        statements.push(Statement {
            effect: "Allow",
            action: json!(KMS_ACTIONS),
            resource: Some(key.clone()),
            condition: Some(via_s3(&target.region, partition)),
            ..Statement::default()
        });
    }
    Policy::of(statements)
}

/// A policy for the customer's bucket by which no principal but the role reads, writes or deletes objects.
pub fn only_this_role(target: &BucketTarget, partition: &str, role_arn: &str) -> Policy {
    Policy::of(vec![Statement {
        sid: Some(ONLY_THIS_ROLE),
        effect: "Deny",
        principal: Some(json!("*")),
        action: json!(["s3:PutObject", "s3:PutObjectAcl", "s3:GetObject", "s3:DeleteObject"]),
        resource: Some(objects(target, partition)),
        condition: Some(json!({"ArnNotEquals": {"aws:PrincipalArn": [role_arn]}})),
    }])
}

/// What the policy of a KMS key must allow, unless it leaves that to the account's IAM policies.
pub fn key_policy(target: &BucketTarget, partition: &str, role_arn: &str) -> Policy {
    Policy::of(vec![Statement {
        effect: "Allow",
        principal: Some(json!({"AWS": role_arn})),
        action: json!(KMS_ACTIONS),
        resource: Some("*".to_owned()),
        condition: Some(via_s3(&target.region, partition)),
        ..Statement::default()
    }])
}

/// A policy for the customer's role that ends the sessions issued before `time`, in ISO 8601, which may be a placeholder.
pub fn revoke_older_sessions(time: &str) -> Policy {
    Policy::of(vec![Statement {
        effect: "Deny",
        action: json!("*"),
        resource: Some("*".to_owned()),
        condition: Some(json!({"DateLessThan": {"aws:TokenIssueTime": time}})),
        ..Statement::default()
    }])
}

/// What the role must be allowed on the bucket's objects.
pub fn object_actions(target: &BucketTarget) -> Vec<&'static str> {
    let mut actions = vec!["s3:PutObject", "s3:GetObject", "s3:DeleteObject"];
    if target.object_acl == ObjectACL::BucketOwnerFullControl {
        actions.insert(1, "s3:PutObjectAcl");
    }
    actions
}

fn objects(target: &BucketTarget, partition: &str) -> String {
    format!("arn:{partition}:s3:::{}/*", target.bucket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Encryption, EncryptionType};

    fn target() -> BucketTarget {
        BucketTarget {
            bucket: "acme-recordings".into(),
            region: "cn-north-1".into(),
            prefix: "calls/".into(),
            expected_bucket_owner: "111111111111".into(),
            object_acl: ObjectACL::BucketOwnerFullControl,
            storage_class: None,
            encryption: Encryption::default(),
        }
    }

    #[test]
    fn the_trust_policy_names_the_platform_and_demands_an_external_id() {
        let expected = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::103850359708:user/RingDNA_Web"
      },
      "Action": "sts:AssumeRole",
      "Condition": {
        "StringEquals": {
          "sts:ExternalId": "<your External ID>"
        }
      }
    }
  ]
}"#;
        assert_eq!(trust_policy("arn:aws:iam::103850359708:user/RingDNA_Web").to_string(), expected);
    }

    #[test]
    fn the_role_policy_allows_the_four_actions_and_without_an_acl_three() {
        let expected = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl",
        "s3:GetObject",
        "s3:DeleteObject"
      ],
      "Resource": "arn:aws-cn:s3:::acme-recordings/*"
    }
  ]
}"#;
        assert_eq!(role_policy(&target(), "aws-cn").to_string(), expected);
        let three = expected.replace("        \"s3:PutObjectAcl\",\n", "");
        let without_acl = BucketTarget { object_acl: ObjectACL::None, ..target() };
        assert_eq!(role_policy(&without_acl, "aws-cn").to_string(), three);
    }

    #[test]
    fn the_role_may_use_the_key_that_the_destination_names_by_way_of_s3_alone() {
        let key = "arn:aws-cn:kms:cn-north-1:111111111111:key/1234";
        let encryption = Encryption { r#type: EncryptionType::KMS, kms_key_arn: Some(key.into()) };
        let policy = role_policy(&BucketTarget { encryption, ..target() }, "aws-cn");
        let second = serde_json::to_value(&policy.statement[1]).unwrap();
        let expected = json!({
            "Effect": "Allow",
            "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
            "Resource": key,
            "Condition": {"StringEquals": {"kms:ViaService": "s3.cn-north-1.amazonaws.com.cn"}},
        });
        assert_eq!(second, expected);
    }
}
