//! How answers are read, including those that do not come from AWS.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::{DateTime, Format};
use futures::StreamExt as _;
use futures::future::join_all;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use prometheus_client::registry::Registry;

use super::answer::denied_action;
use super::clock::AwsClock;
use super::connection::{LONGEST, root_certificates};
use super::*;
use crate::api::{Answer, BucketTarget, Crc64Nvme, Encryption, ObjectACL, Refusal, Silence};
use crate::secret::SessionCredentials;

#[test]
fn of_a_denial_only_the_action_is_kept() {
    for (message, action) in [
        (
            "User: arn:aws:sts::1:assumed-role/w/x is not authorized to perform: kms:GenerateDataKey on resource: arn:…",
            Some("kms:GenerateDataKey"),
        ),
        ("Access Denied", None),
        ("not authorized to perform: <script>", None),
    ] {
        assert_eq!(denied_action(message).as_deref(), action, "{message}");
    }
}

#[test]
fn the_compiled_in_roots_are_certificates() {
    assert!(root_certificates().matches("BEGIN CERTIFICATE").count() > 100);
}

type Says = Arc<dyn Fn(HttpRequest) -> Result<HttpResponse, ConnectorError> + Send + Sync>;

/// Stands where the network is, so that time can be tokio's, paused.
struct Network(Says);

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

impl HttpConnector for Network {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready((self.0)(request))
    }
}

/// An AWS that answers everything in one way.
struct Aws {
    connection: Connection,
    sts: Sts,
    bucket: ObjectStore,
    _key: tempfile::TempDir,
}

impl Aws {
    fn that_says(says: impl Fn() -> HttpResponse + Send + Sync + 'static) -> Self {
        Aws::that_does(move || Ok(says()))
    }

    fn that_does(does: impl Fn() -> Result<HttpResponse, ConnectorError> + Send + Sync + 'static) -> Self {
        Aws::that_reads(move |_| does())
    }

    fn that_reads(
        reads: impl Fn(HttpRequest) -> Result<HttpResponse, ConnectorError> + Send + Sync + 'static,
    ) -> Self {
        let says: Says = Arc::new(reads);
        let http = http_client_fn(move |_, _| SharedHttpConnector::new(Network(says.clone())));
        let connection =
            Connection { http, endpoint: None, calls: Calls::default(), clock: AwsClock::default() };
        let key = tempfile::tempdir().unwrap();
        for file in ["accessKeyID", "secretAccessKey"] {
            std::fs::write(key.path().join(file), "EXAMPLE").unwrap();
        }
        let rate = std::num::NonZeroU32::new(1000).unwrap();
        let sts = Sts::new(&connection, "us-east-1", PlatformKey::in_directory(key.path()), rate);
        let session = SessionCredentials {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: "secret".into(),
            session_token: "token".into(),
            expiration: jiff::Timestamp::MAX,
        };
        let target = BucketTarget {
            bucket: "acme-recordings".into(),
            region: "us-east-1".into(),
            prefix: String::new(),
            expected_bucket_owner: "111111111111".into(),
            object_acl: ObjectACL::None,
            storage_class: None,
            encryption: Encryption::default(),
        };
        let bucket = ObjectStore::new(&connection, target, &session);
        Aws { connection, sts, bucket, _key: key }
    }

    async fn assume_role(&self) -> Answer {
        let call = AssumeRole {
            tenant: "tenant-acme",
            role_arn: "arn:aws:iam::111111111111:role/writer",
            external_id: None,
            session_name: "session".to_owned(),
            duration_seconds: 900,
            policy: "{}".into(),
        };
        self.sts.assume_role(call).await.map(|_| ())
    }

    async fn put(&self) -> Answer {
        self.bucket.put_if_absent("a", Body::Bytes(bytes::Bytes::new()), Crc64Nvme(0)).await.map(|_| ())
    }

    async fn get(&self) -> Answer {
        self.bucket.get("a", usize::MAX).await.map(|_| ())
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::default();
        self.connection.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }
}

fn response(status: u16, body: impl Into<SdkBody>) -> HttpResponse {
    let mut response = HttpResponse::new(status.try_into().unwrap(), body.into());
    // Only S3 sends one with every object.
    response.headers_mut().insert("etag", "\"e1\"");
    response
}

/// A body of so many chunks, or without end, with a pause before each.
fn in_chunks(chunk: &'static [u8], chunks: usize, pause: Duration) -> SdkBody {
    let frames = futures::stream::unfold(0, move |sent| async move {
        if sent == chunks {
            return None;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(chunk))), sent + 1))
    });
    SdkBody::from_body_1_x(StreamBody::new(frames.fuse()))
}

const GRANTED: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>\
    <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>\
    </Credentials></AssumeRoleResult></AssumeRoleResponse>";
const STS_DENIED: &str =
    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
const S3_DENIED: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
const PAGE: &str =
    "<!DOCTYPE html><html><head><title>Access Denied</title></head><body>AccessDenied<br></body></html>";
const XHTML: &str = "<html><head><title>Access Denied</title></head><body><p>AccessDenied</p></body></html>";

fn refused(status: u16, code: &str) -> Answer {
    Answer::Refused(Refusal { status, code: code.into(), ..Refusal::default() })
}

#[tokio::test]
async fn only_aws_can_refuse() {
    let garbled = || Answer::Silent(Silence::Garbled);
    for (what, status, body, sts, s3) in [
        ("STS", 403, STS_DENIED, refused(403, "AccessDenied"), garbled()),
        ("S3", 403, S3_DENIED, garbled(), refused(403, "AccessDenied")),
        ("a proxy's page", 403, PAGE, garbled(), garbled()),
        ("a proxy's tidy page", 403, XHTML, garbled(), garbled()),
        ("a proxy that wants to know who we are", 407, PAGE, garbled(), garbled()),
        ("a portal", 302, "", garbled(), garbled()),
        ("nothing but a status", 403, "", garbled(), garbled()),
        ("another protocol", 403, r#"{"code":"AccessDenied"}"#, garbled(), garbled()),
        ("an answer cut short", 403, "<Error><Cod", garbled(), garbled()),
        ("a gateway's fault", 502, PAGE, refused(502, ""), refused(502, "")),
        ("a gateway's brake", 429, PAGE, refused(429, ""), refused(429, "")),
    ] {
        let aws = Aws::that_says(move || response(status, body));
        assert_eq!(aws.assume_role().await, sts, "{what}, AssumeRole");
        assert_eq!(aws.put().await, s3, "{what}, PutObject");
        assert_eq!(aws.get().await, s3, "{what}, GetObject");
    }
    let head = Aws::that_says(|| response(403, "")).bucket.head("a").await.map(|_| ());
    assert_eq!(head, refused(403, ""), "a HEAD has no body");
}

#[tokio::test]
async fn a_page_that_comes_with_200_is_no_session() {
    for body in [PAGE, XHTML, "", "{}"] {
        let aws = Aws::that_says(move || response(200, body));
        assert_eq!(aws.assume_role().await, Answer::Silent(Silence::Garbled), "{body}");
    }
    assert_eq!(Aws::that_says(|| response(200, GRANTED)).assume_role().await, Answer::Granted(()));
}

#[tokio::test]
async fn a_page_that_comes_with_200_is_no_object() {
    let page = || HttpResponse::new(200.try_into().unwrap(), SdkBody::from(PAGE));
    let garbled = Answer::Silent(Silence::Garbled);
    assert_eq!(Aws::that_says(page).put().await, garbled);
    assert_eq!(Aws::that_says(page).get().await, garbled);
    assert_eq!(Aws::that_says(page).bucket.head("a").await.map(|_| ()), garbled);
    assert_eq!(Aws::that_says(|| response(200, "")).put().await, Answer::Granted(()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_trickles_ends() {
    let trickle = |chunks, pause| Aws::that_says(move || response(200, in_chunks(b" ", chunks, pause)));
    let half_a_second = Duration::from_millis(500);
    let timeout = || Answer::Silent(Silence::Timeout);
    assert_eq!(trickle(usize::MAX, half_a_second).assume_role().await, timeout());
    assert_eq!(trickle(usize::MAX, half_a_second).get().await, timeout());
    assert_eq!(trickle(20, half_a_second).get().await, Answer::Granted(()));
    let slow = || in_chunks(GRANTED.as_bytes(), 1, LONGEST.mul_f64(0.6));
    assert_eq!(Aws::that_says(move || response(200, slow())).assume_role().await, Answer::Granted(()));
}

#[tokio::test(start_paused = true)]
async fn an_endless_answer_does_not_fill_memory() {
    const CHUNK: &[u8] = &[b' '; 64 * 1024];
    let endless =
        |status| Aws::that_says(move || response(status, in_chunks(CHUNK, usize::MAX, Duration::ZERO)));
    let garbled = || Answer::Silent(Silence::Garbled);
    for status in [200, 403] {
        assert_eq!(endless(status).assume_role().await, garbled(), "AssumeRole, {status}");
    }
    assert_eq!(endless(403).put().await, garbled());
    assert_eq!(endless(403).get().await, garbled());
    let object = endless(200).bucket.get("a", 100).await;
    assert_eq!(object.map(|bytes| bytes.len()), Answer::Granted(100), "of an object only what is asked for");
    // An object is no answer: it may be larger.
    let object = Aws::that_says(|| response(200, in_chunks(CHUNK, 32, Duration::ZERO)));
    assert_eq!(
        object.bucket.get("a", usize::MAX).await.map(|bytes| bytes.len()),
        Answer::Granted(32 * CHUNK.len())
    );
}

#[tokio::test]
async fn calls_are_counted_by_how_they_ended() {
    let throttled = "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>";
    for (status, body, result) in [
        (200, GRANTED, "granted"),
        (403, STS_DENIED, "refused"),
        (400, throttled, "throttled"),
        (503, PAGE, "fault"),
        (403, PAGE, "silent"),
    ] {
        let aws = Aws::that_says(move || response(status, body));
        aws.assume_role().await;
        aws.assume_role().await;
        let line =
            format!("recording_operator_aws_calls_total{{call=\"AssumeRole\",result=\"{result}\"}} 2\n");
        let text = aws.metrics();
        assert!(text.contains(&line), "{line}{text}");
    }
    let aws = Aws::that_says(|| response(200, ""));
    aws.put().await;
    let text = aws.metrics();
    for line in [
        "recording_operator_aws_calls_total{call=\"PutObject\",result=\"granted\"} 1\n",
        "recording_operator_aws_call_duration_seconds_count{call=\"PutObject\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_get_caller_identity_call() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let aws = Aws::that_says(move || {
        counted.fetch_add(1, SeqCst);
        let whose = b"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::1:user/u</Arn>\
            </GetCallerIdentityResult></GetCallerIdentityResponse>";
        response(200, in_chunks(whose, 1, Duration::from_secs(1)))
    });
    let first = aws.sts.caller_identity();
    let others = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        join_all((0..500).map(|_| aws.sts.caller_identity())).await
    };
    let (first, others) = futures::join!(first, others);
    assert!(
        others.iter().chain([&first]).all(|said| *said == Answer::Granted("arn:aws:iam::1:user/u".into()))
    );
    assert_eq!(calls.load(SeqCst), 2, "what was asked before they came is no answer to them");
}

/// An AWS that closes so many connections without an answer, and then answers `200` without a body; and how often it
/// was asked.
fn that_closes(connections: usize) -> (Aws, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let aws = Aws::that_does(move || match count.fetch_add(1, SeqCst) < connections {
        true => Err(ConnectorError::io("connection closed before message completed".into())),
        false => Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::empty())),
    });
    (aws, asked)
}

#[tokio::test]
async fn a_call_is_repeated_once_where_its_connection_was_closed() {
    let (aws, asked) = that_closes(1);
    assert_eq!(aws.bucket.delete("a").await, Answer::Granted(Deleted::Gone));
    assert_eq!(asked.load(SeqCst), 2);
    let (aws, asked) = that_closes(9);
    assert_eq!(aws.bucket.delete("a").await, Answer::Silent(Silence::Connection));
    assert_eq!(aws.assume_role().await, Answer::Silent(Silence::Connection));
    assert_eq!(asked.load(SeqCst), 4);
    assert_eq!(aws.put().await, Answer::Silent(Silence::Connection));
    assert_eq!(asked.load(SeqCst), 5, "a put may have arrived: its caller finds out");
}

#[tokio::test]
async fn requests_are_signed_with_the_time_of_the_previous_answer() {
    let seconds = |time: SystemTime| DateTime::from(time).secs();
    for (ahead, corrected) in [(7200, 7200), (-7200, -7200), (60, 0)] {
        let signed = Arc::new(Mutex::new(Vec::new()));
        let read = signed.clone();
        let aws = Aws::that_reads(move |request| {
            let date = request.headers().get("x-amz-date").unwrap().to_owned();
            read.lock().unwrap().push(date);
            let date = DateTime::from_secs(seconds(SystemTime::now()) + ahead);
            let mut response = response(200, if request.method() == "POST" { GRANTED } else { "" });
            response.headers_mut().insert("date", date.fmt(Format::HttpDate).unwrap());
            Ok(response)
        });
        // The Date of one service corrects calls to the other.
        for _ in 0..3 {
            assert_eq!(aws.put().await, Answer::Granted(()));
        }
        assert_eq!(aws.assume_role().await, Answer::Granted(()));
        let signed = signed.lock().unwrap();
        let off = signed.iter().map(|date| {
            let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).unwrap();
            let signed = date.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
            // The calls take time as well.
            ((signed - seconds(SystemTime::now())) as f64 / 600.0).round() as i64 * 600
        });
        assert_eq!(off.collect::<Vec<_>>(), [0, corrected, corrected, corrected], "{ahead}");
    }
}

#[tokio::test]
async fn the_role_of_the_pod_is_fetched_once_and_that_of_the_node_never() {
    const SESSION: &str = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
        <AccessKeyId>ASIAOFTHEPOD</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
        <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
        </AssumeRoleWithWebIdentityResponse>";
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let aws = Aws::that_says(move || {
        counted.fetch_add(1, SeqCst);
        response(200, SESSION)
    });
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&token, "the.pods.token").unwrap();
    let variable = |name: &str| match name {
        "AWS_WEB_IDENTITY_TOKEN_FILE" => Some(token.path().display().to_string()),
        "AWS_ROLE_ARN" => Some("arn:aws:iam::103850359708:role/recording-operator".to_owned()),
        _ => None,
    };
    let identity = WorkloadIdentity::from_variables(&aws.connection, "us-east-1", variable).unwrap();
    for _ in 0..3 {
        let credentials = identity.provide_credentials().await.unwrap();
        assert_eq!(credentials.access_key_id(), "ASIAOFTHEPOD");
    }
    assert_eq!(calls.load(SeqCst), 1);

    let none = WorkloadIdentity::from_variables(&aws.connection, "us-east-1", |_| None).map(|_| ());
    assert!(none.unwrap_err().to_string().contains("serviceAccount.annotations"));
}
