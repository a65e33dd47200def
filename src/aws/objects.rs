//! Objects of one bucket, under one session.

use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{ChecksumMode, ObjectCannedAcl, ServerSideEncryption};
use aws_smithy_types::timeout::TimeoutConfig;

use super::{CONNECT_TIMEOUT, Connection, READ_TIMEOUT, answer};
use crate::api::{Answer, BucketTarget, Crc64Nvme, EncryptionType, Head, ObjectACL, Silence};
use crate::secret::SessionCredentials;

/// How much of a file is read at a time.
const READ_BYTES: usize = 256 * 1024;
/// The slowest upload that is not given up and begun again, in bytes per second.
const SLOWEST_UPLOAD: u64 = 64 * 1024;

/// One tenant's bucket, under one session.
#[derive(Clone, Debug)]
pub struct ObjectStore {
    client: aws_sdk_s3::Client,
    target: BucketTarget,
}

/// What is put.
pub enum Body {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// So many bytes of a file, from its present position. The position moves, for every clone of the handle.
    File(std::fs::File, u64),
}

impl ObjectStore {
    /// The bucket that `target` names, with its ACL, encryption and owner on every call that takes them.
    pub fn new(connection: &Connection, target: BucketTarget, session: &SessionCredentials) -> Self {
        ObjectStore { client: connection.s3(&target.region, session), target }
    }

    /// Puts an object unless the key exists. S3 refuses the bytes if they do not have the checksum; granted,
    /// the answer may name the checksum of what S3 now holds.
    pub async fn put_if_absent(
        &self,
        key: &str,
        body: Body,
        crc64nvme: Crc64Nvme,
    ) -> Answer<Option<Crc64Nvme>> {
        let size = body.size();
        let Ok(body) = body.into_stream().await else { return Answer::Silent(Silence::Unsendable) };
        let encryption = &self.target.encryption;
        let result = self
            .client
            .put_object()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .if_none_match("*")
            // Known before the first byte is sent, so the body goes as it is, without trailer or chunking.
            .checksum_crc64_nvme(crc64nvme.to_string())
            .content_type(content_type(key))
            .set_acl(match self.target.object_acl {
                ObjectACL::BucketOwnerFullControl => Some(ObjectCannedAcl::BucketOwnerFullControl),
                ObjectACL::None => None,
            })
            .set_storage_class(self.target.storage_class.map(|class| <&str>::from(class).into()))
            .set_server_side_encryption(match encryption.r#type {
                EncryptionType::BucketDefault => None,
                EncryptionType::S3 => Some(ServerSideEncryption::Aes256),
                EncryptionType::KMS => Some(ServerSideEncryption::AwsKms),
            })
            .set_ssekms_key_id(encryption.kms_key_arn.clone())
            .body(body)
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(upload_timeouts(size)))
            // The checksum guards the bytes; a SHA-256 beside it would cost another pass over the file.
            .disable_payload_signing()
            .send()
            .await;
        answer(result).map(|output| full_object(output.checksum_crc64_nvme()))
    }

    /// What S3 holds under a key. Without ListBucket a missing key is refused with 403.
    pub async fn head(&self, key: &str) -> Answer<Head> {
        let result = self
            .client
            .head_object()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        answer(result).map(|output| Head {
            crc64nvme: full_object(output.checksum_crc64_nvme()),
            size: output.content_length().and_then(|length| length.try_into().ok()).unwrap_or_default(),
        })
    }

    /// Reads an object, of which no more than `limit` bytes are kept.
    pub async fn get(&self, key: &str, limit: usize) -> Answer<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.read(key, |chunk| {
            let room = limit.saturating_sub(bytes.len()).min(chunk.len());
            bytes.extend_from_slice(&chunk[..room]);
        });
        read.await.map(|()| bytes)
    }

    /// The checksum of an object, computed here from its bytes.
    pub async fn read_back(&self, key: &str) -> Answer<Crc64Nvme> {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let read = self.read(key, |chunk| digest.update(chunk));
        read.await.map(|()| Crc64Nvme(digest.finalize()))
    }

    async fn read(&self, key: &str, mut take: impl FnMut(&[u8])) -> Answer {
        let result = self
            .client
            .get_object()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .send()
            .await;
        let mut body = match answer(result) {
            Answer::Granted(output) => output.body,
            Answer::Refused(refusal) => return Answer::Refused(refusal),
            Answer::Silent(silence) => return Answer::Silent(silence),
        };
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => take(&chunk),
                Err(_) => return Answer::Silent(Silence::Connection),
            }
        }
        Answer::Granted(())
    }

    /// Deletes an object. S3 grants the delete of a missing key as well.
    pub async fn delete(&self, key: &str) -> Answer {
        let result = self
            .client
            .delete_object()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .send()
            .await;
        answer(result).map(|_| ())
    }
}

impl Body {
    fn size(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, size) => *size,
        }
    }

    async fn into_stream(self) -> Result<ByteStream, aws_sdk_s3::primitives::ByteStreamError> {
        match self {
            Body::Bytes(bytes) => Ok(ByteStream::from(bytes)),
            Body::File(file, size) => {
                ByteStream::read_from()
                    .file(tokio::fs::File::from_std(file))
                    .length(Length::Exact(size))
                    .buffer_size(READ_BYTES)
                    .build()
                    .await
            }
        }
    }
}

/// The SDK's read timeout begins with the request, so it has to leave time for the body.
fn upload_timeouts(size: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT + Duration::from_secs(size / SLOWEST_UPLOAD))
        .build()
}

/// A checksum of the whole object. One over the checksums of parts ends in `-<parts>` and does not parse.
fn full_object(crc64nvme: Option<&str>) -> Option<Crc64Nvme> {
    crc64nvme?.parse().ok()
}

fn content_type(key: &str) -> &'static str {
    let extension = key.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("wav") => "audio/wav",
        Some("mp3") => "audio/mpeg",
        Some("ogg" | "opus") => "audio/ogg",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::{Arc, Mutex};

    use axum::extract::Request;
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::IntoResponse as _;

    use super::*;
    use crate::api::{Encryption, StorageClass};

    /// Bytes of a request that reached the bucket, and its headers.
    type Seen = Arc<Mutex<Vec<(String, HeaderMap, Vec<u8>)>>>;

    /// An S3 that grants every put and names `checksum` in each answer.
    async fn s3(checksum: &'static str) -> (ObjectStore, Seen) {
        let seen = Seen::default();
        let seeing = seen.clone();
        let app = axum::Router::new().fallback(async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
            let call = format!("{} {}", head.method, head.uri.path());
            seeing.lock().unwrap().push((call, head.headers, body));
            (StatusCode::OK, [("x-amz-checksum-crc64nvme", checksum)]).into_response()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
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
        (ObjectStore::new(&Connection::new(Some(url)), target, &session), seen)
    }

    #[tokio::test]
    async fn a_file_is_put_as_it_is_on_condition_that_the_key_is_free_and_the_bytes_are_right() {
        let content = vec![b'x'; READ_BYTES * 3 + 1];
        let checksum = Crc64Nvme::of(&content);
        let (store, seen) = s3("AAAAAAAAAAA=").await;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let body = Body::File(file.reopen().unwrap(), content.len() as u64);
        let answer = store.put_if_absent("calls/a b.wav", body, checksum).await;
        assert_eq!(answer, Answer::Granted(Some(Crc64Nvme(0))));

        let (call, headers, sent) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(call, "PUT /acme-recordings/calls/a%20b.wav");
        assert!(sent == content, "{} bytes arrived", sent.len());
        for (name, value) in [
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
        ] {
            assert_eq!(headers.get(name).and_then(|value| value.to_str().ok()), Some(value), "{name}");
        }
        for name in ["content-encoding", "x-amz-trailer", "transfer-encoding"] {
            assert!(!headers.contains_key(name), "{name}");
        }
    }

    #[tokio::test]
    async fn only_a_checksum_of_the_full_object_counts_as_one() {
        for (header, expected) in [("AAAAAAAAAAA=", Some(Crc64Nvme(0))), ("AAAAAAAAAAA=-2", None), ("", None)]
        {
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
    async fn a_file_shorter_than_was_said_is_not_sent() {
        let (store, seen) = s3("").await;
        let body = Body::File(tempfile::tempfile().unwrap(), 1);
        let answer = store.put_if_absent("calls/a.wav", body, Crc64Nvme(0)).await;
        assert_eq!(answer, Answer::Silent(Silence::Unsendable));
        assert!(seen.lock().unwrap().is_empty());
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
    fn a_large_upload_is_given_the_time_a_slow_line_needs() {
        let five_gib = 5 * 1024 * 1024 * 1024;
        assert_eq!(upload_timeouts(0).read_timeout(), Some(READ_TIMEOUT));
        assert!(upload_timeouts(five_gib).read_timeout() > Some(Duration::from_secs(5 * 3600)));
    }
}
