//! Session policies: what a session of the customer's role may do, whatever the role allows.
//!
//! An Allow alone is not enough, because a bucket policy can grant past a session policy. Denies follow: of writes that the
//! bucket's owner could not read or that replace an object, of every action but the list, and of S3 outside the prefix. They
//! bound the Allows, which therefore name any resource: the prefix can be long, and AWS takes 2,048 characters.

use serde_json::{Value, json};

use crate::api::{BucketTarget, EncryptionType, ObjectACL, PROBE_DIRECTORY, dns_suffix};

/// For the wrong callers, whose credentials must be of no use.
pub const DENY_EVERYTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

/// What S3 needs of a KMS key on the caller's behalf, to write and to read.
pub(super) const KMS_ACTIONS: [&str; 2] = ["kms:GenerateDataKey", "kms:Decrypt"];

/// The user of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An uploader, which cannot delete.
    Upload,
    /// The operator's probe, which may delete its own objects as well.
    Probe,
}

/// Which objects a session may write, of those within its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Also one that replaces an object.
    Any,
    /// Only with `If-None-Match`, by which S3 refuses to replace an object.
    Conditional,
}

impl Writes {
    pub fn new(require_conditional: bool) -> Self {
        if require_conditional { Writes::Conditional } else { Writes::Any }
    }
}

/// The session policy, JSON. `partition` is that of the role.
pub fn session_policy(target: &BucketTarget, partition: &str, purpose: Purpose, writes: Writes) -> String {
    let objects = format!("arn:{partition}:s3:::{}/{}*", target.bucket, target.prefix);
    let mut allowed =
        vec!["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"];
    if purpose == Purpose::Probe {
        allowed.push("s3:DeleteObject");
    }
    let mut statements = vec![json!({"Effect": "Allow", "Action": allowed, "Resource": "*"})];

    if target.object_acl == ObjectACL::BucketOwnerFullControl {
        allowed.push("s3:PutObjectAcl");
        statements.push(json!({
            "Effect": "Allow",
            "Action": "s3:PutObjectAcl",
            "Resource": "*",
            "Condition": {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
        }));
    }
    if target.encryption.r#type != EncryptionType::S3 {
        allowed.extend(KMS_ACTIONS);
        let key = target.encryption.kms_key_arn.as_deref().unwrap_or("*");
        statements.push(json!({
            "Effect": "Allow",
            "Action": KMS_ACTIONS,
            "Resource": key,
            "Condition": via_s3(&target.region, partition),
        }));
    }
    if purpose == Purpose::Probe {
        let probes = format!("arn:{partition}:s3:::{}/{}{PROBE_DIRECTORY}*", target.bucket, target.prefix);
        // Recordings cannot be deleted even where the bucket's own policy grants it.
        statements.push(json!({"Effect": "Deny", "Action": "s3:DeleteObject", "NotResource": probes}));
    }
    // What is encrypted with a key of the uploader's own (SSE-C), nobody else can read.
    statements
        .push(deny_put(json!({"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}})));
    if writes == Writes::Conditional {
        // The calls that begin a multipart upload and send its parts take no If-None-Match. S3 marks them as no creation of an
        // object; the call that completes the upload is one.
        statements.push(deny_put(json!({
            "Null": {"s3:if-none-match": "true"},
            "BoolIfExists": {"s3:ObjectCreationOperation": "true"},
        })));
    }
    statements.push(json!({"Effect": "Deny", "NotAction": allowed, "Resource": "*"}));
    statements.push(json!({"Effect": "Deny", "Action": "s3:*", "NotResource": objects}));
    policy(statements).to_string()
}

fn deny_put(condition: Value) -> Value {
    json!({"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": condition})
}

fn policy(statements: Vec<Value>) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// A condition: only where S3 of that region calls for the caller.
pub(super) fn via_s3(region: &str, partition: &str) -> Value {
    json!({"StringEquals": {"kms:ViaService": format!("s3.{region}.{}", dns_suffix(partition))}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Encryption;

    fn target(bucket: &str, prefix: &str) -> BucketTarget {
        BucketTarget {
            bucket: bucket.into(),
            region: "us-east-1".into(),
            prefix: prefix.into(),
            expected_bucket_owner: "111111111111".into(),
            object_acl: ObjectACL::BucketOwnerFullControl,
            storage_class: None,
            encryption: Encryption::default(),
        }
    }

    fn parsed(purpose: Purpose) -> Value {
        let target = target("acme-recordings", "calls/");
        serde_json::from_str(&session_policy(&target, "aws", purpose, Writes::Any)).unwrap()
    }

    #[test]
    fn an_uploader_cannot_delete_and_a_probe_only_its_own_objects() {
        let statements = parsed(Purpose::Upload)["Statement"].to_string();
        assert!(!statements.contains("s3:DeleteObject"), "{statements}");
        let policy = parsed(Purpose::Probe);
        let deny = json!({
            "Effect": "Deny",
            "Action": "s3:DeleteObject",
            "NotResource": "arn:aws:s3:::acme-recordings/calls/.recording-operator/*",
        });
        assert!(policy["Statement"].as_array().unwrap().contains(&deny), "{policy}");
    }

    #[test]
    fn what_is_not_allowed_is_denied_whatever_the_bucket_policy_grants() {
        for purpose in [Purpose::Upload, Purpose::Probe] {
            let policy = parsed(purpose);
            let statements = policy["Statement"].as_array().unwrap();
            let actions = |statement: &Value, key: &str| match &statement[key] {
                Value::Array(many) => many.clone(),
                one => vec![one.clone()],
            };
            let allows = statements.iter().filter(|s| s["Effect"] == "Allow");
            let mut allowed: Vec<Value> = allows.flat_map(|s| actions(s, "Action")).collect();
            let mut spared: Vec<Value> = statements
                .iter()
                .filter(|s| s.get("NotAction").is_some())
                .flat_map(|s| actions(s, "NotAction"))
                .collect();
            allowed.sort_by_key(Value::to_string);
            spared.sort_by_key(Value::to_string);
            assert_eq!(allowed, spared);
            let outside = statements.last().unwrap();
            assert_eq!(
                (outside["Action"].as_str(), outside["NotResource"].as_str()),
                (Some("s3:*"), Some("arn:aws:s3:::acme-recordings/calls/*"))
            );
        }
    }

    #[test]
    fn puts_that_may_replace_an_object_are_denied_only_where_that_is_asked() {
        let of = |writes| session_policy(&target("acme-recordings", ""), "aws", Purpose::Upload, writes);
        assert!(of(Writes::new(true)).contains("s3:if-none-match"));
        assert!(!of(Writes::new(false)).contains("s3:if-none-match"));
    }

    #[test]
    fn without_an_acl_no_acl_right_is_asked() {
        let mut target = target("acme-recordings", "");
        target.object_acl = ObjectACL::None;
        assert!(!session_policy(&target, "aws", Purpose::Upload, Writes::Any).contains("PutObjectAcl"));
    }

    #[test]
    fn kms_is_bound_to_the_key_and_to_s3_of_the_region() {
        let mut target = target("acme-recordings", "");
        let key = "arn:aws-cn:kms:cn-north-1:111111111111:key/1234";
        target.region = "cn-north-1".into();
        target.encryption = Encryption { r#type: EncryptionType::KMS, kms_key_arn: Some(key.into()) };
        let policy = session_policy(&target, "aws-cn", Purpose::Upload, Writes::Any);
        assert!(policy.contains(&format!("\"Resource\":\"{key}\"")), "{policy}");
        assert!(policy.contains("s3.cn-north-1.amazonaws.com.cn"), "{policy}");
        for (region, partition, service) in [
            ("us-gov-west-1", "aws-us-gov", "s3.us-gov-west-1.amazonaws.com"),
            ("eusc-de-east-1", "aws-eusc", "s3.eusc-de-east-1.amazonaws.eu"),
            ("us-iso-east-1", "aws-iso", "s3.us-iso-east-1.c2s.ic.gov"),
        ] {
            assert_eq!(via_s3(region, partition)["StringEquals"]["kms:ViaService"], service);
        }
    }

    #[test]
    fn the_longest_names_fit_into_awss_2048_characters() {
        let mut longest = target(&"b".repeat(63), &format!("{}/", "p".repeat(255)));
        longest.region = "ap-southeast-10".into();
        longest.encryption.r#type = EncryptionType::KMS;
        longest.encryption.kms_key_arn =
            Some(format!("arn:aws-us-gov:kms:us-gov-west-1:111111111111:key/mrk-{}", "0".repeat(32)));
        let policy = session_policy(&longest, "aws-us-gov", Purpose::Probe, Writes::Conditional);
        assert!(policy.len() <= 2048, "{} characters", policy.len());
    }
}
