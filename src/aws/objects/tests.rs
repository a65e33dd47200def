//! Against a fake S3 with scripted answers, which records what was sent.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::body::{Body, LEAST_TRANSFER, transfer_time};
use super::store::{Deleted, ObjectStore, content_type};
use crate::api::{
    Answer, BucketTarget, Crc64Nvme, Encryption, EncryptionType, Endpoint, ObjectACL, Part, Silence,
    StorageClass,
};
use crate::aws::Connection;
use crate::secret::SessionCredentials;

/// Bytes of a request that reached the bucket, and its headers.
type Seen = Arc<Mutex<Vec<(String, HeaderMap, Vec<u8>)>>>;

/// Header that names the connection by which a request came.
const FROM: &str = "test-from";

/// An S3 that grants every put and names `checksum` in each answer.
async fn s3(checksum: &'static str) -> (ObjectStore, Seen) {
    s3_that(move |_| [("etag", "\"e1\""), ("x-amz-checksum-crc64nvme", checksum)].into_response()).await
}

/// An S3 that gives each call, such as `PUT /bucket/key`, the answer that the test wants.
async fn s3_that(says: impl Fn(&str) -> Response + Clone + Send + Sync + 'static) -> (ObjectStore, Seen) {
    let seen = Seen::default();
    let seeing = seen.clone();
    let app = axum::Router::new().fallback(async move |request: Request| {
        let (mut head, body) = request.into_parts();
        if let Some(ConnectInfo(from)) = head.extensions.get::<ConnectInfo<SocketAddr>>() {
            head.headers.insert(FROM, from.to_string().parse().unwrap());
        }
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        let call = format!("{} {}", head.method, head.uri);
        let answer = says(&call);
        seeing.lock().unwrap().push((call, head.headers, body));
        answer
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let session = SessionCredentials {
        access_key_id: "ASIAEXAMPLE".into(),
        secret_access_key: "secret".into(),
        session_token: "token".into(),
        expiration: jiff::Timestamp::MAX,
    };
    let target = BucketTarget {
        bucket: "acme-recordings".into(),
        region: "us-east-1".into(),
        prefix: "calls/".into(),
        expected_bucket_owner: "111111111111".into(),
        object_acl: ObjectACL::BucketOwnerFullControl,
        storage_class: Some(StorageClass::StandardIa),
        encryption: Encryption {
            r#type: EncryptionType::KMS,
            kms_key_arn: Some("arn:aws:kms:us-east-1:111111111111:key/1".into()),
        },
    };
    (ObjectStore::new(&Connection::new(Some(Endpoint { url, ca_bundle: None })), target, &session), seen)
}

fn assert_headers(headers: &HeaderMap, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(headers.get(*name).and_then(|value| value.to_str().ok()), Some(*value), "{name}");
    }
}

/// A body whose bytes come in chunks.
fn chunks(content: &[u8], promised: u64) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel(100);
    for chunk in content.chunks(10_000) {
        sender.try_send(Ok(bytes::Bytes::copy_from_slice(chunk))).unwrap();
    }
    Body::Chunks(receiver, promised)
}

#[tokio::test]
async fn a_file_is_put_unchanged_if_the_key_is_free_and_the_checksum_matches() {
    let content = vec![b'x'; 100_001];
    let checksum = Crc64Nvme::of(&content);
    let (store, seen) = s3("AAAAAAAAAAA=").await;
    let body = chunks(&content, content.len() as u64);
    let answer = store.put_if_absent("calls/a b.wav", body, checksum).await;
    assert_eq!(answer, Answer::Granted(Some(Crc64Nvme(0))));

    let (call, headers, sent) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(call, "PUT /acme-recordings/calls/a%20b.wav?x-id=PutObject");
    assert!(sent == content, "{} bytes arrived", sent.len());
    assert_headers(
        &headers,
        &[
            ("if-none-match", "*"),
            ("x-amz-checksum-crc64nvme", checksum.to_string().as_str()),
            ("x-amz-expected-bucket-owner", "111111111111"),
            ("x-amz-acl", "bucket-owner-full-control"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:us-east-1:111111111111:key/1"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("content-length", content.len().to_string().as_str()),
            ("content-type", "audio/wav"),
        ],
    );
    for name in ["content-encoding", "x-amz-trailer", "transfer-encoding"] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn only_a_checksum_of_the_full_object_counts_as_one() {
    for (header, expected) in [("AAAAAAAAAAA=", Some(Crc64Nvme(0))), ("AAAAAAAAAAA=-2", None), ("", None)] {
        let (store, seen) = s3(header).await;
        let Answer::Granted(head) = store.head("calls/a.wav").await else { panic!("{header}") };
        assert_eq!(head.crc64nvme, expected, "{header}");
        let (call, headers, _) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(call, "HEAD /acme-recordings/calls/a.wav");
        assert_eq!(headers["x-amz-checksum-mode"], "ENABLED");
        assert_eq!(headers["x-amz-expected-bucket-owner"], "111111111111");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_or_fails_ends_the_call_as_a_connection_error() {
    let (store, _) = s3("").await;
    let (sender, failing) = tokio::sync::mpsc::channel(1);
    sender.try_send(Err(std::io::ErrorKind::Other.into())).unwrap();
    for body in [chunks(b"12345", 6), Body::Chunks(failing, 6)] {
        let answer = store.put_if_absent("calls/a.wav", body, Crc64Nvme::of(b"12345")).await;
        assert!(matches!(answer, Answer::Silent(Silence::Connection | Silence::Unsendable)), "{answer:?}");
    }
    let answer = store.put_if_absent("calls/a.wav", chunks(b"12345", 5), Crc64Nvme::of(b"12345")).await;
    assert!(matches!(answer, Answer::Granted(_)), "{answer:?}");
}

#[test]
fn the_content_type_follows_the_extension() {
    for (key, expected) in [
        ("calls/a.wav", "audio/wav"),
        ("calls/a.WAV", "audio/wav"),
        ("calls/a.json", "application/json"),
        ("calls.wav/a", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ] {
        assert_eq!(content_type(key), expected, "{key}");
    }
}

#[test]
fn a_large_object_is_given_the_time_a_slow_line_needs() {
    let five_gib = 5 * 1024 * 1024 * 1024;
    assert_eq!(transfer_time(0), LEAST_TRANSFER);
    assert!(transfer_time(five_gib) > Duration::from_secs(5 * 3600));
}

/// The answers of S3 to the steps of a multipart upload.
fn multipart(call: &str) -> Response {
    let created =
        "<InitiateMultipartUploadResult><UploadId>upload/1</UploadId></InitiateMultipartUploadResult>";
    let completed = "<CompleteMultipartUploadResult><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME>\
        <ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>";
    match call.split(' ').next().unwrap() {
        "POST" if call.contains("uploads") => created.into_response(),
        "POST" => completed.into_response(),
        "PUT" => [("etag", "\"e1\"")].into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    }
}

#[tokio::test]
async fn an_object_in_parts_is_put_as_a_whole_one_is() {
    let (store, seen) = s3_that(multipart).await;
    let key = "calls/a.wav";
    let (part, whole) = (Crc64Nvme::of(b"part"), Crc64Nvme(7));
    let sent = || seen.lock().unwrap().pop().unwrap();

    assert_eq!(store.create_multipart(key).await, Answer::Granted("upload/1".into()));
    let (call, headers, _) = sent();
    assert_eq!(call, "POST /acme-recordings/calls/a.wav?uploads");
    assert_headers(
        &headers,
        &[
            ("x-amz-checksum-algorithm", "CRC64NVME"),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-expected-bucket-owner", "111111111111"),
            ("x-amz-acl", "bucket-owner-full-control"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:us-east-1:111111111111:key/1"),
            ("content-type", "audio/wav"),
        ],
    );

    let held = Part { number: 1, etag: "\"e1\"".into(), crc64nvme: part };
    let answer = store.upload_part(key, "upload/1", 1, Body::Bytes("part".into()), part).await;
    assert_eq!(answer, Answer::Granted(held.clone()));
    let (call, headers, body) = sent();
    assert_eq!(call, "PUT /acme-recordings/calls/a.wav?x-id=UploadPart&partNumber=1&uploadId=upload%2F1");
    assert_eq!(body, b"part");
    assert_headers(
        &headers,
        &[
            ("x-amz-checksum-crc64nvme", &part.to_string()),
            ("x-amz-expected-bucket-owner", "111111111111"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("content-length", "4"),
        ],
    );
    for name in ["content-encoding", "x-amz-trailer", "transfer-encoding"] {
        assert!(!headers.contains_key(name), "{name}");
    }

    let answer = store.complete_multipart(key, "upload/1", &[held], whole).await;
    assert_eq!(answer, Answer::Granted(Some(Crc64Nvme(0))));
    let (call, headers, body) = sent();
    assert_eq!(call, "POST /acme-recordings/calls/a.wav?uploadId=upload%2F1");
    assert_headers(
        &headers,
        &[
            ("if-none-match", "*"),
            ("x-amz-checksum-crc64nvme", &whole.to_string()),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-expected-bucket-owner", "111111111111"),
        ],
    );
    let body = String::from_utf8(body).unwrap();
    for element in
        ["<PartNumber>1</PartNumber>", "e1", &format!("<ChecksumCRC64NVME>{part}</ChecksumCRC64NVME>")]
    {
        assert!(body.contains(element), "{element} in {body}");
    }

    assert_eq!(store.abort_multipart(key, "upload/1").await, Answer::Granted(()));
    let (call, headers, _) = sent();
    assert_eq!(call, "DELETE /acme-recordings/calls/a.wav?x-id=AbortMultipartUpload&uploadId=upload%2F1");
    assert_headers(&headers, &[("x-amz-expected-bucket-owner", "111111111111")]);
}

#[tokio::test]
async fn an_assembly_that_fails_after_the_200_is_refused() {
    let error =
        |code| format!("<?xml version=\"1.0\"?>\n   <Error><Code>{code}</Code><Message>m</Message></Error>");
    for (body, expected) in [
        (error("InternalError"), Some("InternalError")),
        (error("EntityTooSmall"), Some("EntityTooSmall")),
        (String::new(), None),
        ("   ".into(), None),
        ("<html><body>Welcome</body></html>".into(), None),
    ] {
        let (store, _) = s3_that({
            let body = body.clone();
            move |_| (StatusCode::OK, body.clone()).into_response()
        })
        .await;
        let answer = store.complete_multipart("calls/a.wav", "upload/1", &[], Crc64Nvme(0)).await;
        match (answer, expected) {
            (Answer::Refused(refusal), Some(code)) => {
                assert_eq!((refusal.status, &*refusal.code), (200, code))
            }
            (Answer::Silent(silence), None) => assert_eq!(silence, Silence::Garbled, "{body}"),
            (answer, _) => panic!("{body}: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn a_delete_says_whether_a_version_is_left() {
    for (marker, left) in
        [(None, Deleted::Gone), (Some("false"), Deleted::Gone), (Some("true"), Deleted::MarkerLeft)]
    {
        let (store, seen) = s3_that(move |_| {
            let mut answer = StatusCode::NO_CONTENT.into_response();
            if let Some(marker) = marker {
                answer.headers_mut().insert("x-amz-delete-marker", HeaderValue::from_static(marker));
            }
            answer
        })
        .await;
        assert_eq!(store.delete("calls/a.wav").await, Answer::Granted(left), "{marker:?}");
        let (call, headers, _) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(call, "DELETE /acme-recordings/calls/a.wav?x-id=DeleteObject");
        assert_headers(&headers, &[("x-amz-expected-bucket-owner", "111111111111")]);
    }
}

#[tokio::test]
async fn bodies_of_any_size_and_all_other_calls_share_a_connection() {
    let (store, seen) = s3("rosUhgp5mIg=").await;
    for size in [0, 1000, 70_000, 500_000] {
        let content = vec![b'x'; size];
        store.put_if_absent("a.wav", chunks(&content, size as u64), Crc64Nvme::of(&content)).await;
        store.put_if_absent("b.wav", Body::Bytes(content.clone().into()), Crc64Nvme::of(&content)).await;
        store.upload_part("c.wav", "upload", 1, chunks(&content, size as u64), Crc64Nvme::of(&content)).await;
    }
    store.head("a.wav").await;
    store.abort_multipart("c.wav", "upload").await;
    let seen = seen.lock().unwrap();
    let connections: BTreeSet<_> =
        seen.iter().map(|(_, headers, _)| headers[FROM].clone().to_str().unwrap().to_owned()).collect();
    assert_eq!((seen.len(), connections.len()), (14, 1), "{connections:?}");
}
