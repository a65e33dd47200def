//! What the API server says to a destination at apply.

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{kubectl_with, recordings};

/// A change to a sound spec → the sentence it is refused with; `None` when it is accepted. What the API server refuses,
/// `kubectl recordings lint` refuses without one, and nothing else.
#[test]
fn a_spec_that_cannot_work_is_refused_with_the_field_and_the_fix() {
    environment_or_skip!();
    let rows: &[(&str, Value, Option<&str>)] = &[
        ("sound", json!({}), None),
        ("bucket with dots", json!({"bucket": "acme.recordings"}), Some("bucket must not contain dots")),
        (
            "bucket in capitals",
            json!({"bucket": "AcmeRecordings"}),
            Some("bucket must consist of lower-case letters, digits and hyphens"),
        ),
        ("bucket ends in a hyphen", json!({"bucket": "acme-"}), Some("begin and end with a letter or digit")),
        ("bucket alias", json!({"bucket": "acme-s3alias"}), Some("prefix or suffix that AWS reserves")),
        ("bucket of 63", json!({"bucket": "b".repeat(63)}), None),
        ("bucket of 64", json!({"bucket": "b".repeat(64)}), Some("spec.bucket: Too long")),
        (
            "region",
            json!({"region": "Virginia"}),
            Some("region must be an AWS region code such as us-east-1"),
        ),
        (
            "a region that does not exist",
            json!({"region": "us-est-1"}),
            Some("region must be an AWS region code such as us-east-1"),
        ),
        ("a region of two words", json!({"region": "ap-southeast-2"}), None),
        (
            "the region of another partition than the role's",
            json!({"region": "cn-north-1"}),
            Some("region and roleARN are in different AWS partitions"),
        ),
        (
            "another partition",
            json!({"region": "us-gov-west-1", "roleARN": "arn:aws-us-gov:iam::111111111111:role/writer"}),
            None,
        ),
        (
            "a user's ARN",
            json!({"roleARN": "arn:aws:iam::111111111111:user/x"}),
            Some("roleARN must be an IAM role ARN such as"),
        ),
        (
            "a short account",
            json!({"roleARN": "arn:aws:iam::1111:role/x"}),
            Some("roleARN must be an IAM role ARN such as"),
        ),
        ("a role with a path", json!({"roleARN": "arn:aws:iam::111111111111:role/a/b/x"}), None),
        (
            "a parent directory",
            json!({"prefix": "calls/../"}),
            Some("prefix must not have . or .. as a segment"),
        ),
        ("this directory", json!({"prefix": "./"}), Some("prefix must not have . or .. as a segment")),
        (
            "no slash at the end",
            json!({"prefix": "calls"}),
            Some("segments of letters, digits and _ . = - that each end in a slash"),
        ),
        ("a slash in front", json!({"prefix": "/calls/"}), Some("without a leading slash")),
        ("nested, with Hive keys", json!({"prefix": "calls/year=2024/v1.0/"}), None),
        ("dots within a segment", json!({"prefix": "a..b/"}), None),
        (
            "bucket owner",
            json!({"expectedBucketOwner": "1111"}),
            Some("expectedBucketOwner must be a 12-digit AWS account ID in quotes"),
        ),
        (
            "an archive",
            json!({"storageClass": "DEEP_ARCHIVE"}),
            Some("spec.storageClass: Unsupported value: \"DEEP_ARCHIVE\": supported values"),
        ),
        ("an archive that reads at once", json!({"storageClass": "GLACIER_IR"}), None),
        (
            "KMS without a key",
            json!({"encryption": {"type": "KMS"}}),
            Some("encryption.kmsKeyARN is missing"),
        ),
        (
            "a key without KMS",
            json!({"encryption": {"type": "S3", "kmsKeyARN": "arn:aws:kms:us-east-1:111111111111:key/1"}}),
            Some("encryption.kmsKeyARN is only used with type KMS"),
        ),
        (
            "a key's alias",
            json!({"encryption": {"type": "KMS", "kmsKeyARN": "arn:aws:kms:us-east-1:111111111111:alias/x"}}),
            Some("an alias cannot be named in a policy"),
        ),
        (
            "KMS with a key",
            json!({"encryption": {"type": "KMS", "kmsKeyARN": "arn:aws:kms:us-east-1:111111111111:key/1"}}),
            None,
        ),
        ("a short session", json!({"sessionDurationSeconds": 899}), Some("greater than or equal to 900")),
        ("a long session", json!({"sessionDurationSeconds": 3601}), Some("less than or equal to 3600")),
        (
            "validated too often",
            json!({"validation": {"intervalSeconds": 10}}),
            Some("greater than or equal to 300"),
        ),
        (
            "a Secret's path",
            json!({"externalIDSecretRef": {"name": "other/acme"}}),
            Some("externalIDSecretRef.name must be the name of a Secret in this namespace"),
        ),
        ("a field nobody knows", json!({"endpoint": "http://evil"}), Some("unknown field \"spec.endpoint\"")),
        ("null is absent", json!({"prefix": null, "storageClass": null}), None),
    ];
    for (case, change, refusal) in rows {
        let mut spec = json!({
            "bucket": "acme-recordings", "region": "us-east-1", "roleARN": "arn:aws:iam::111111111111:role/writer",
            "externalIDSecretRef": {"name": "acme-external-id"},
        });
        for (field, value) in change.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let manifest = json!({
            "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
            "metadata": {"name": "acme", "namespace": "default"}, "spec": spec,
        });
        let done = kubectl_with(
            &["create", "--dry-run=server", "--validate=strict", "--filename=-"],
            &manifest.to_string(),
        );
        match refusal {
            None => assert!(done.ok, "{case}: {}", done.stderr),
            Some(sentence) => assert!(!done.ok && done.stderr.contains(sentence), "{case}: {}", done.stderr),
        }
        let linted = recordings(&["lint", "--filename=-"], &manifest.to_string(), &[]);
        assert_eq!(linted.code, Some(if refusal.is_none() { 0 } else { 1 }), "{case}: {}", linted.text());
    }
}
