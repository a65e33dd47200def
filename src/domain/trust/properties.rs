//! What a session policy lets through, by AWS's own rules of evaluation, whatever the destination is called.

use proptest::prelude::*;
use serde_json::Value;

use super::{Purpose, Writes, session_name, session_policy};
use crate::api::{BucketTarget, Encryption, EncryptionType, ObjectACL};

/// A request as IAM sees it.
#[derive(Clone, Debug)]
struct Call {
    action: &'static str,
    resource: String,
    acl: &'static str,
    via: String,
    /// Whether the caller encrypts with a key of its own.
    own_key: bool,
    if_none_match: bool,
    creation: Option<bool>,
}

impl Call {
    /// What a condition compares with.
    fn context(&self, key: &str) -> Option<&str> {
        match key {
            "s3:x-amz-acl" => Some(self.acl),
            "kms:ViaService" => Some(&self.via),
            "s3:x-amz-server-side-encryption-customer-algorithm" => self.own_key.then_some("AES256"),
            "s3:if-none-match" => self.if_none_match.then_some("*"),
            "s3:ObjectCreationOperation" => self.creation.map(|yes| if yes { "true" } else { "false" }),
            other => panic!("a condition key that this test does not know: {other}"),
        }
    }

    fn meets(&self, operator: &str, key: &str, value: &str) -> bool {
        let actual = self.context(key);
        match operator {
            "StringEquals" => actual == Some(value),
            "BoolIfExists" => actual.is_none_or(|actual| actual == value),
            "Null" => actual.is_none() == (value == "true"),
            other => panic!("a condition operator that this test does not know: {other}"),
        }
    }
}

/// What the statements of a policy come to: a Deny counts even where another policy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Denied,
    Allowed,
    Nothing,
}

fn evaluate(policy: &Value, call: &Call) -> Effect {
    let statements = policy["Statement"].as_array().unwrap();
    let effects: Vec<_> =
        statements.iter().filter(|s| applies(s, call)).map(|s| s["Effect"].as_str().unwrap()).collect();
    match () {
        () if effects.contains(&"Deny") => Effect::Denied,
        () if effects.contains(&"Allow") => Effect::Allowed,
        () => Effect::Nothing,
    }
}

fn applies(statement: &Value, call: &Call) -> bool {
    let known = ["Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    assert!(statement.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{statement}");
    let listed = |key: &str, value: &str| {
        let patterns = match &statement[key] {
            Value::Null => return None,
            Value::Array(patterns) => patterns.clone(),
            one => vec![one.clone()],
        };
        Some(patterns.iter().any(|pattern| matches(pattern.as_str().unwrap(), value)))
    };
    let within = |key: &str, not: &str, value: &str| {
        listed(key, value).or(listed(not, value).map(|listed| !listed)).expect("one of the two is there")
    };
    let operators = statement["Condition"].as_object().into_iter().flatten();
    let mut conditions = operators
        .flat_map(|(operator, tests)| tests.as_object().unwrap().iter().map(move |test| (operator, test)));
    within("Action", "NotAction", call.action)
        && within("Resource", "NotResource", &call.resource)
        && conditions.all(|(operator, (key, value))| call.meets(operator, key, value.as_str().unwrap()))
}

/// A `*` stands for anything; ours are at the end.
fn matches(pattern: &str, value: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => !start.contains(['*', '?']) && value.starts_with(start),
        None => !pattern.contains(['*', '?']) && pattern == value,
    }
}

const KEY: &str = "arn:aws:kms:us-east-1:111111111111:key/1234";

fn targets() -> impl Strategy<Value = (BucketTarget, &'static str)> {
    let encryption = prop_oneof![
        Just(Encryption::default()),
        Just(Encryption { r#type: EncryptionType::S3, kms_key_arn: None }),
        Just(Encryption { r#type: EncryptionType::KMS, kms_key_arn: Some(KEY.to_owned()) }),
    ];
    let acl = prop_oneof![Just(ObjectACL::BucketOwnerFullControl), Just(ObjectACL::None)];
    let partition = prop_oneof![Just("aws"), Just("aws-cn"), Just("aws-us-gov")];
    // The CRD's own rules.
    let (bucket, prefix) = ("[a-z0-9][a-z0-9-]{1,8}[a-z0-9]", "([A-Za-z0-9_.=-]{1,6}/){0,3}");
    (bucket, prefix, acl, encryption, partition).prop_map(
        |(bucket, prefix, object_acl, encryption, partition)| {
            let target = BucketTarget {
                bucket,
                region: "us-east-1".to_owned(),
                prefix,
                expected_bucket_owner: "111111111111".to_owned(),
                object_acl,
                storage_class: None,
                encryption,
            };
            (target, partition)
        },
    )
}

const OF_OBJECTS: [&str; 4] =
    ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"];
const OF_KEYS: [&str; 2] = ["kms:GenerateDataKey", "kms:Decrypt"];

fn actions() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "s3:PutObject",
        "s3:GetObject",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
        "s3:PutObjectAcl",
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:GetObjectVersion",
        "s3:PutObjectTagging",
        "s3:PutObjectRetention",
        "s3:BypassGovernanceRetention",
        "s3:RestoreObject",
        "s3:ListBucket",
        "s3:PutBucketPolicy",
        "s3:DeleteBucket",
        "kms:GenerateDataKey",
        "kms:Decrypt",
        "kms:ScheduleKeyDeletion",
        "iam:CreateUser",
        "sts:AssumeRole",
    ])
}

/// Resources near the target's own: what a policy would let slip if it were cut a little wrong.
fn near(target: &BucketTarget, partition: &str, which: u8, key: &str) -> String {
    let BucketTarget { bucket, prefix, .. } = target;
    let bare = prefix.strip_suffix('/').unwrap_or(prefix);
    match which {
        0 => format!("arn:{partition}:s3:::{bucket}/{prefix}{key}"),
        1 => format!("arn:{partition}:s3:::{bucket}/{prefix}.recording-operator/{key}"),
        2 => format!("arn:{partition}:s3:::{bucket}/{bare}x/{key}"),
        3 => format!("arn:{partition}:s3:::{bucket}/{key}"),
        4 => format!("arn:{partition}:s3:::{bucket}x/{prefix}{key}"),
        5 => format!("arn:{partition}:s3:::{bucket}"),
        6 => "arn:aws:kms:us-east-1:111111111111:key/other".to_owned(),
        _ => KEY.to_owned(),
    }
}

proptest! {
    #[test]
    fn no_session_reaches_beyond_its_prefix_whatever_policies_grant(
        (target, partition) in targets(),
        action in actions(),
        which in 0_u8..8,
        key in "[ -~]{0,12}",
        acl in prop::sample::select(vec!["", "bucket-owner-full-control", "public-read"]),
        other_service in any::<bool>(),
        purpose in prop::sample::select(vec![Purpose::Upload, Purpose::Probe]),
        writes in prop::sample::select(vec![Writes::Any, Writes::Conditional]),
        (own_key, if_none_match, creation) in any::<(bool, bool, Option<bool>)>(),
    ) {
        let suffix = crate::api::dns_suffix(partition);
        let via = format!("{}.us-east-1.{suffix}", if other_service { "ec2" } else { "s3" });
        let resource = near(&target, partition, which, &key);
        let call = Call { action, resource, acl, via, own_key, if_none_match, creation };
        let policy: Value = serde_json::from_str(&session_policy(&target, partition, purpose, writes)).unwrap();
        let own = format!("arn:{partition}:s3:::{}/{}", target.bucket, target.prefix);
        let of_prefix = call.resource.starts_with(&own);
        let of_probes = call.resource.starts_with(&format!("{own}.recording-operator/"));
        let with_acl = target.object_acl == ObjectACL::BucketOwnerFullControl;
        let with_kms = target.encryption.r#type != EncryptionType::S3;

        // Not denied here means: granted, if the bucket's or the key's own policy grants it to the session.
        let may_replace = !if_none_match && creation != Some(false);
        let not_denied = match action {
            "s3:PutObject" => of_prefix && !own_key && !(writes == Writes::Conditional && may_replace),
            action if OF_OBJECTS.contains(&action) => of_prefix,
            "s3:PutObjectAcl" => with_acl && of_prefix,
            "s3:DeleteObject" => purpose == Purpose::Probe && of_probes,
            action if OF_KEYS.contains(&action) => with_kms,
            _ => false,
        };
        let effect = evaluate(&policy, &call);
        prop_assert_eq!(effect != Effect::Denied, not_denied, "{:?} {}", call, policy);

        let through_s3 = !other_service
            && (call.resource == KEY || target.encryption.kms_key_arn.is_none());
        let allowed = not_denied
            && match action {
                "s3:PutObjectAcl" => acl == "bucket-owner-full-control",
                action if OF_KEYS.contains(&action) => through_s3,
                _ => true,
            };
        prop_assert_eq!(effect == Effect::Allowed, allowed, "{:?} {}", call, policy);
    }

    #[test]
    fn a_session_name_is_one_that_aws_takes_and_is_no_other_destinations(
        namespace in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        name in "[a-z0-9]([a-z0-9.-]{0,80}[a-z0-9])?",
        other in "[a-z0-9]([a-z0-9.-]{0,80}[a-z0-9])?",
    ) {
        let session = session_name(&namespace, &name);
        prop_assert!((2..=64).contains(&session.len()));
        prop_assert!(session.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b)));
        prop_assert_eq!(session == session_name(&namespace, &other), name == other);
    }
}
