//! What only AWS itself can show. Opt-in: `make test-aws`, with the platform's access key in AWS_ACCESS_KEY_ID and
//! AWS_SECRET_ACCESS_KEY, and a customer of your own in TEST_ROLE_ARN, TEST_EXTERNAL_ID, TEST_BUCKET and
//! TEST_REGION: set up as docs/customer.md says, with no right beside the four.

use std::env;
use std::num::NonZeroU32;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use recording_operator::api::{
    Answer, BucketTarget, Crc64Nvme, Endpoint, PROBE_DIRECTORY, RecordingDestination, Refusal, RoleARN,
};
use recording_operator::aws::{AssumeRole, Body, Connection, ObjectStore, PlatformKey, Sts};
use recording_operator::domain::trust::{Purpose, Writes, negative_probes};
use recording_operator::secret::{ExternalID, SessionCredentials};
use serde_json::json;

fn setting(name: &str) -> String {
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set; the head of tests/aws.rs says what is needed"))
}

struct Customer {
    connection: Connection,
    sts: Sts,
    /// The platform's key is read from here at each call; it goes with this.
    _key: tempfile::TempDir,
    role: RoleARN,
    external_id: ExternalID,
    destination: RecordingDestination,
}

impl Customer {
    fn from_environment() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("accessKeyID"), setting("AWS_ACCESS_KEY_ID")).unwrap();
        std::fs::write(directory.path().join("secretAccessKey"), setting("AWS_SECRET_ACCESS_KEY")).unwrap();
        let key = PlatformKey::in_directory(directory.path().to_owned());
        let endpoint = env::var("AWS_ENDPOINT_URL").ok().map(|url| Endpoint { url, ca_bundle: None });
        let connection = Connection::new(endpoint);
        let role: RoleARN = setting("TEST_ROLE_ARN").parse().expect("TEST_ROLE_ARN is a role's ARN");
        let destination = json!({
            "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
            "metadata": {"namespace": "recording-operator", "name": "test"},
            "spec": {
                "bucket": setting("TEST_BUCKET"), "region": setting("TEST_REGION"), "roleARN": role.to_string(),
                "prefix": "recording-operator-test/", "externalIDSecretRef": {"name": "test"},
                "sessionDurationSeconds": 900,
            },
        });
        Customer {
            sts: Sts::new(&connection, &setting("TEST_REGION"), key, NonZeroU32::new(5).unwrap()),
            connection,
            _key: directory,
            role,
            external_id: ExternalID::parse(&setting("TEST_EXTERNAL_ID"))
                .expect("TEST_EXTERNAL_ID is an External ID"),
            destination: serde_json::from_value(destination).unwrap(),
        }
    }

    fn call(&self, purpose: Purpose, writes: Writes) -> AssumeRole<'_> {
        AssumeRole::of(&self.destination, &self.external_id, &self.role.partition, purpose, writes)
    }

    fn target(&self) -> BucketTarget {
        BucketTarget::from(&self.destination.spec)
    }

    async fn session(&self, purpose: Purpose, writes: Writes) -> SessionCredentials {
        match self.sts.assume_role(self.call(purpose, writes)).await {
            Answer::Granted(session) => session,
            other => panic!("the right caller is not let in: {other:?}"),
        }
    }

    async fn store(&self, purpose: Purpose) -> ObjectStore {
        let session = self.session(purpose, Writes::Any).await;
        ObjectStore::new(&self.connection, self.target(), &session)
    }
}

fn is_denied<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Answer::Refused(Refusal { status: 403, .. }))
}

#[tokio::test]
async fn every_wrong_caller_is_refused_between_two_right_ones() {
    let customer = Customer::from_environment();
    customer.store(Purpose::Probe).await;
    let right = customer.call(Purpose::Probe, Writes::Any);
    for probe in negative_probes(&customer.external_id, 7) {
        let Some(wrong) = probe.external_id else { continue };
        let call = right.by_wrong_caller(&customer.destination.spec.role_arn, wrong.as_ref());
        let answer = customer.sts.assume_role(call).await;
        let code = match &answer {
            Answer::Refused(refusal) => refusal.code.as_str(),
            _ => "not refused",
        };
        assert_eq!(code, "AccessDenied", "{}", probe.caller);
    }
    customer.store(Purpose::Probe).await;
}

#[tokio::test]
async fn four_permissions_deliver_a_recording_and_the_session_denies_the_rest() {
    let customer = Customer::from_environment();
    let (probe, upload) = (customer.store(Purpose::Probe).await, customer.store(Purpose::Upload).await);
    let prefix = format!("{}{PROBE_DIRECTORY}", customer.target().prefix);
    let (whole, parts) = (format!("{prefix}whole.probe"), format!("{prefix}parts.probe"));
    let content = b"recording-operator test".to_vec();
    let checksum = Crc64Nvme::of(&content);
    let body = || Body::Bytes(content.clone().into());
    // What an earlier run may have left.
    probe.delete(&whole).await;
    probe.delete(&parts).await;

    assert!(is_denied(&upload.head(&whole).await), "without ListBucket a missing key is a 403");
    assert!(matches!(upload.put_if_absent(&whole, body(), checksum).await, Answer::Granted(_)));
    let again = upload.put_if_absent(&whole, body(), checksum).await;
    assert!(matches!(again, Answer::Refused(Refusal { status: 412, .. })), "a key is taken once: {again:?}");
    let Answer::Granted(head) = upload.head(&whole).await else { panic!("HEAD is not granted") };
    assert_eq!(head.crc64nvme, Some(checksum), "S3 has the checksum of the whole object");
    assert_eq!(upload.get(&whole, 100).await, Answer::Granted(content.clone()));

    let Answer::Granted(id) = upload.create_multipart(&parts).await else { panic!("not begun") };
    let Answer::Granted(part) = upload.upload_part(&parts, &id, 1, body(), checksum).await else {
        panic!("no part")
    };
    let complete = upload.complete_multipart(&parts, &id, &[part], checksum).await;
    assert!(matches!(complete, Answer::Granted(_)), "{complete:?}");
    let Answer::Granted(head) = upload.head(&parts).await else { panic!("HEAD is not granted") };
    assert_eq!(head.crc64nvme, Some(checksum), "of an object in parts, too");

    assert!(is_denied(&upload.delete(&whole).await), "an uploader cannot delete");
    let outside = upload.put_if_absent("recording-operator-outside.probe", body(), checksum).await;
    assert!(is_denied(&outside), "nor put outside its prefix: {outside:?}");
    for key in [&whole, &parts] {
        assert!(matches!(probe.delete(key).await, Answer::Granted(_)), "the probe can");
    }
}

/// Any SDK's plain put, with the session of an uploader: its status.
async fn plain_put(client: &Client, bucket: &str, key: &str, own_key: bool) -> u16 {
    let mut put = client.put_object().bucket(bucket).key(key).body(ByteStream::from_static(b"plain"));
    if own_key {
        // A key of 32 zero bytes and its MD5.
        put = put
            .sse_customer_algorithm("AES256")
            .sse_customer_key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
            .sse_customer_key_md5("cLyPS3KoaSFGi/joRB3OUQ==");
    }
    match put.send().await {
        Ok(_) => 200,
        Err(error) => {
            error.raw_response().unwrap_or_else(|| panic!("no answer: {error:?}")).status().as_u16()
        }
    }
}

#[tokio::test]
async fn where_writes_are_conditional_no_object_is_replaced() {
    let customer = Customer::from_environment();
    let probe = customer.store(Purpose::Probe).await;
    let (target, region) = (customer.target(), setting("TEST_REGION"));
    let prefix = format!("{}{PROBE_DIRECTORY}", target.prefix);
    let (whole, parts) = (format!("{prefix}kept.probe"), format!("{prefix}kept-parts.probe"));
    let content = b"what was delivered first".to_vec();
    let checksum = Crc64Nvme::of(&content);
    let body = || Body::Bytes(content.clone().into());
    for writes in [Writes::Conditional, Writes::Any] {
        probe.delete(&whole).await;
        probe.delete(&parts).await;
        let session = customer.session(Purpose::Upload, writes).await;
        let upload = ObjectStore::new(&customer.connection, target.clone(), &session);
        let client = customer.connection.s3(&region, &session);

        let put = upload.put_if_absent(&whole, body(), checksum).await;
        assert!(matches!(put, Answer::Granted(_)), "{writes:?}: {put:?}");
        for taken in [false, true] {
            let Answer::Granted(id) = upload.create_multipart(&parts).await else { panic!("not begun") };
            let Answer::Granted(part) = upload.upload_part(&parts, &id, 1, body(), checksum).await else {
                panic!("no part")
            };
            let complete = upload.complete_multipart(&parts, &id, &[part], checksum).await;
            let refused = matches!(complete, Answer::Refused(Refusal { status: 412, .. }));
            assert_eq!(refused, taken, "{writes:?}: {complete:?}");
        }

        // The permissive case beside the refusals: without the rule the same put replaces the object.
        let replaced = plain_put(&client, &target.bucket, &whole, false).await;
        let (status, kept) = match writes {
            Writes::Conditional => (403, &content[..]),
            Writes::Any => (200, &b"plain"[..]),
        };
        assert_eq!(replaced, status, "{writes:?}");
        assert_eq!(upload.get(&whole, 100).await, Answer::Granted(kept.to_vec()), "{writes:?}");
        assert_eq!(plain_put(&client, &target.bucket, &parts, true).await, 403, "{writes:?}, its own key");
    }
    for key in [&whole, &parts] {
        assert!(matches!(probe.delete(key).await, Answer::Granted(_)), "{key}");
    }
}
