//! Formats that outlive a process, or pass between processes of two releases. `tests/fixtures/formats/VERSION` holds
//! what a release writes. Today's code reads the files of the release before, and still writes every field of theirs.
//!
//! `UPDATE=1 cargo test --test formats` writes the directory of the version in Cargo.toml; a released one never changes.

use std::fs;
use std::path::{Path, PathBuf};

use recording_operator::api::{
    BucketTarget, Check, CheckResult, Crc64Nvme, DeliveryReport, DeliveryState, DestinationDocument,
    Encryption, EncryptionType, Endpoint, ExternalIDSecretRef, Loss, LossKind, ObjectACL, Part, PolicyType,
    RecordingDestinationStatus, RefusedCall, SpoolFault, StorageClass, Unanswered, UploadRefusal, Uploader,
    UploaderPhase, UploaderRefusal, Uploaders,
};
use recording_operator::domain::delivery::{Journal, settings};
use recording_operator::secret::SessionCredentials;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A file of a release, with the type that reads it.
struct Format {
    file: &'static str,
    /// What today's code writes for the value that the file holds.
    written: Value,
    /// What today's code writes after it has read a document.
    read_and_written: fn(&Value) -> Result<Value, String>,
}

impl Format {
    fn of<T: Serialize + DeserializeOwned>(file: &'static str, value: T) -> Self {
        let read_and_written = |document: &Value| {
            let read: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
            Ok(serde_json::to_value(read).unwrap())
        };
        Format { file, written: serde_json::to_value(value).unwrap(), read_and_written }
    }
}

fn formats() -> Vec<Format> {
    vec![
        // The names of the journals are hashes of the recordings' paths; a test beside the code holds that.
        Format::of(
            "spool/.recording-uploader/journal/d7a87714a15227683e068424a5ed88b3.json",
            journal(Some("2~upload")),
        ),
        Format::of("journal-before-an-upload-id.json", journal(None)),
        Format::of(
            "journal-with-settings.json",
            Journal { settings: Some(settings(&document().target)), ..journal(Some("2~upload")) },
        ),
        Format::of("report.json", report()),
        Format::of("destination.json", document()),
        Format::of("destination-paused.json", paused()),
        Format::of("status.json", status()),
        Format { file: "credentials.json", written: credentials(), read_and_written: credentials_again },
    ]
}

fn journal(upload_id: Option<&str>) -> Journal {
    let part = |number, bytes: &[u8]| Part {
        number,
        etag: format!("\"etag-{number}\""),
        crc64nvme: Crc64Nvme::of(bytes),
    };
    Journal {
        path: "2026/call-0001.wav".into(),
        size: 41_943_041,
        bucket: "acme-recordings".into(),
        region: "us-east-1".into(),
        key: "calls/2026/call-0001.wav".into(),
        part_size: 8 << 20,
        settings: None,
        upload_id: upload_id.map(str::to_owned),
        parts: if upload_id.is_some() { vec![part(1, b"one"), part(3, b"three")] } else { Vec::new() },
    }
}

fn report() -> DeliveryReport {
    DeliveryReport {
        pending_files: 3,
        pending_bytes: 1_200_000,
        oldest_pending_time: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        not_removed: 2,
        quarantined: 1,
        volume_used_percent: 91,
        spool: Some(SpoolFault::Unusable),
        refusal: Some(UploadRefusal {
            call: RefusedCall::PutObject,
            status: 403,
            code: "AccessDenied".into(),
            policy: Some(PolicyType::ResourcePolicy),
            files: 3,
        }),
        unanswered: Some(Unanswered::S3),
        phase: UploaderPhase::Draining,
        last_upload_time: Some("2026-01-02T03:00:00Z".parse().unwrap()),
        was_in_trouble: true,
    }
}

fn document() -> DestinationDocument {
    DestinationDocument {
        state: DeliveryState::Active,
        reason: None,
        target: BucketTarget {
            bucket: "acme-recordings".into(),
            region: "us-east-1".into(),
            prefix: "calls/".into(),
            expected_bucket_owner: "111111111111".into(),
            object_acl: ObjectACL::BucketOwnerFullControl,
            storage_class: Some(StorageClass::StandardIa),
            encryption: Encryption {
                r#type: EncryptionType::KMS,
                kms_key_arn: Some("arn:aws:kms:us-east-1:111111111111:key/1234abcd".into()),
            },
        },
        endpoint: Some(Endpoint { url: "https://s3.example.com".into(), ca_bundle: Some("PEM".into()) }),
        ca_bundle: "PEM".into(),
    }
}

fn paused() -> DestinationDocument {
    let mut document = document();
    document.state = DeliveryState::Paused;
    document.reason = Some("The destination is suspended.".into());
    document.endpoint = None;
    document.target.storage_class = None;
    document.target.object_acl = ObjectACL::None;
    document.target.encryption = Encryption::default();
    document
}

fn status() -> RecordingDestinationStatus {
    let time = |text: &str| serde_json::from_value(json!(text)).unwrap();
    let condition = |kind: &str, status: &str, reason: &str| {
        serde_json::from_value(json!({
            "type": kind, "status": status, "reason": reason, "message": "A sentence.",
            "observedGeneration": 3, "lastTransitionTime": "2026-01-02T03:04:05Z",
        }))
        .unwrap()
    };
    RecordingDestinationStatus {
        observed_generation: 3,
        account_id: Some("111111111111".into()),
        bucket_region: Some("us-east-1".into()),
        established_time: Some(time("2026-01-02T03:04:05Z")),
        established_target: Some("0f1e2d3c4b5a69788796a5b4c3d2e1f0".into()),
        last_validation_time: Some(time("2026-01-02T03:04:06Z")),
        last_enforcement_time: Some(time("2026-01-02T03:04:07Z")),
        external_id_secret_version: Some("812".into()),
        external_id_secret_ref: Some(ExternalIDSecretRef {
            name: "acme-external-id".into(),
            key: "externalID".into(),
        }),
        last_handled_revalidate: Some("1".into()),
        last_upload_time: Some(time("2026-01-02T03:04:08Z")),
        last_losses: vec![Loss {
            pod: "recorder-0".into(),
            uid: "0b6f3d0e-5a43-4c53-9d0f-0b8f4b1f6a11".into(),
            time: time("2026-01-02T03:04:10Z"),
            files: 3,
            bytes: 1_200_000,
            spool: "emptyDir".into(),
            kind: LossKind::Lost,
        }],
        uploaders: Some(Uploaders {
            count: 1,
            items: vec![Uploader {
                pod: "recorder".into(),
                uid: "5f0c2f7e-9a41-4a55-8a0e-3f1f6a2d7c19".into(),
                reason: "PutObjectDenied".into(),
                ending: true,
                refusal: Some(UploaderRefusal {
                    call: "PutObject".into(),
                    code: "AccessDenied".into(),
                    policy: Some("ResourcePolicy".into()),
                }),
                not_removed: 2,
                volume_nearly_full: true,
                pending_files: 3,
                pending_bytes: 1_200_000,
                spool: "emptyDir".into(),
                oldest_pending_time: Some(time("2026-01-02T03:04:09Z")),
                quarantined: 0,
                report_time: time("2026-01-02T03:30:00Z"),
            }],
        }),
        conditions: vec![
            condition("Ready", "True", "Validated"),
            condition("Delivering", "False", "UploadsLate"),
        ],
        checks: vec![Check {
            name: "DeleteObject".into(),
            result: CheckResult::Failed,
            reason: "DeleteObjectDenied".into(),
            message: "A sentence.".into(),
            remedy: "Text to paste.".into(),
        }],
    }
}

fn credentials() -> Value {
    let session = SessionCredentials {
        access_key_id: "ASIAEXAMPLE".into(),
        secret_access_key: "not-a-key".into(),
        session_token: "not-a-token".into(),
        expiration: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    container_json(&session)
}

fn container_json(session: &SessionCredentials) -> Value {
    let document = session.to_container_json(Some("111111111111"));
    serde_json::from_str(document.expose_secret()).unwrap()
}

fn credentials_again(document: &Value) -> Result<Value, String> {
    let read = SessionCredentials::from_container_json(document.to_string().as_bytes());
    read.map(|session| container_json(&session)).map_err(|error| error.to_string())
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats")
}

/// Each file of each release: its name with the release, its content, the format that reads it.
fn files() -> Vec<(String, Value, Format)> {
    let mut found = Vec::new();
    for release in fs::read_dir(fixtures()).unwrap() {
        let release = release.unwrap().path();
        for format in formats() {
            let file = release.join(format.file);
            // A release that does not have a format yet has no file of it.
            let Ok(text) = fs::read_to_string(&file) else { continue };
            let name = file.strip_prefix(fixtures()).unwrap().display().to_string();
            found.push((name, serde_json::from_str(&text).unwrap(), format));
        }
    }
    found
}

/// What the first document says and the second one does not, by path.
fn lost(before: &Value, after: &Value, path: &str) -> Vec<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .flat_map(|(key, value)| match after.get(key) {
                Some(other) => lost(value, other, &format!("{path}.{key}")),
                None => vec![format!("{path}.{key}")],
            })
            .collect(),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let pairs = before.iter().zip(after).enumerate();
            pairs
                .flat_map(|(index, (before, after))| lost(before, after, &format!("{path}[{index}]")))
                .collect()
        }
        _ if before == after => Vec::new(),
        _ => vec![format!("{path}: {before} became {after}")],
    }
}

/// The document, as a later release with more to say might write it.
fn with_a_field_more(document: &Value) -> Value {
    match document {
        Value::Object(fields) => {
            let mut fields: serde_json::Map<_, _> =
                fields.iter().map(|(key, value)| (key.clone(), with_a_field_more(value))).collect();
            fields.insert("ofALaterRelease".to_owned(), json!({"any": ["thing"]}));
            Value::Object(fields)
        }
        Value::Array(items) => items.iter().map(with_a_field_more).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_files_of_this_version_are_what_today_s_code_writes() {
    let directory = fixtures().join(env!("CARGO_PKG_VERSION"));
    for format in formats() {
        let (file, made) = (directory.join(format.file), format!("{:#}\n", format.written));
        if std::env::var("UPDATE").is_ok() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            // Another test reads the file meanwhile, and must not see half of it.
            let new = file.with_extension("new");
            fs::write(&new, &made).unwrap();
            fs::rename(new, &file).unwrap();
        }
        let found = fs::read_to_string(&file).unwrap_or_default();
        assert!(found == made, "{} is not what is written now: run `make generate`", file.display());
    }
}

#[test]
fn what_a_release_wrote_is_read_and_every_field_of_it_is_still_written() {
    let files = files();
    assert!(files.len() >= formats().len(), "{}", files.len());
    for (name, content, format) in files {
        let again = (format.read_and_written)(&content).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(lost(&content, &again, ""), [""; 0], "{name}");
        assert_eq!(
            lost(&content, &format.written, ""),
            [""; 0],
            "{name}: a reader of that release misses this"
        );
    }
}

#[test]
fn fields_of_a_later_release_are_ignored() {
    for (name, content, format) in files() {
        let known = (format.read_and_written)(&content).unwrap();
        let more = with_a_field_more(&content);
        assert_ne!(more, content, "{name}");
        assert_eq!((format.read_and_written)(&more), Ok(known), "{name}");
    }
}

#[test]
fn fields_that_an_earlier_release_left_out_have_their_defaults() {
    let least = [
        ("report.json", json!({"pendingFiles": 3, "quarantined": 1})),
        ("status.json", json!({})),
        (
            "destination.json",
            json!({"state": "Active", "bucket": "acme-recordings", "region": "us-east-1", "prefix": "",
                   "expectedBucketOwner": "111111111111", "objectACL": "None", "encryption": {}, "caBundle": "PEM"}),
        ),
        (
            "journal-before-an-upload-id.json",
            json!({"path": "a.wav", "size": 9, "bucket": "acme-recordings", "region": "us-east-1",
                   "key": "calls/a.wav", "partSize": 4, "parts": []}),
        ),
        (
            "credentials.json",
            json!({"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "s", "Token": "t",
                   "Expiration": "2026-01-02T03:04:05Z"}),
        ),
    ];
    for (file, document) in least {
        let format = formats().into_iter().find(|format| format.file == file).unwrap();
        let again = (format.read_and_written)(&document).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(lost(&document, &again, ""), [""; 0], "{file}");
        // It is the least: without its first field it is not read, but for a status, in which nothing is required.
        if let Some(first) = document.as_object().unwrap().keys().next() {
            let mut less = document.clone();
            less.as_object_mut().unwrap().remove(first);
            assert!((format.read_and_written)(&less).is_err(), "{file} without {first}");
        }
    }
}

#[test]
fn a_field_that_is_lost_or_changed_would_be_noticed() {
    let before = json!({"a": 1, "b": {"c": [1, {"d": 2}]}});
    assert_eq!(lost(&before, &before, ""), [""; 0]);
    assert_eq!(lost(&before, &json!({"a": 1, "b": {"c": [1, {"e": 2}]}, "z": 1}), ""), [".b.c[1].d"]);
    assert_eq!(lost(&before, &json!({"a": "1", "b": {"c": [1, {"d": 2}]}}), ""), [".a: 1 became \"1\""]);
}
