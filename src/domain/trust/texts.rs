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
