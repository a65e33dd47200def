//! Objects of one bucket under one session: put whole, read and deleted.

use std::ops::ControlFlow;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, ObjectCannedAcl, ServerSideEncryption, StorageClass};

use super::body::{Body, transfer_time};
use crate::api::{Answer, BucketTarget, Crc64Nvme, EncryptionType, Head, ObjectACL, Silence};
use crate::aws::answer::{answer, bare_answer, repeat_if_cut_off};
use crate::aws::calls::Calls;
use crate::aws::connection::{Connection, in_time};
use crate::secret::SessionCredentials;

/// One tenant's bucket, under one session.
#[derive(Clone, Debug)]
pub struct ObjectStore {
    pub(super) client: aws_sdk_s3::Client,
    pub(super) calls: Calls,
    pub(super) target: BucketTarget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    Gone,
    /// The bucket is versioned: the object stays as a noncurrent version behind a delete marker.
    MarkerLeft,
}

impl ObjectStore {
    /// The bucket of `target`, whose ACL, encryption and owner go with every call that takes them.
    pub fn new(connection: &Connection, target: BucketTarget, session: &SessionCredentials) -> Self {
        ObjectStore {
            client: connection.s3(&target.region, session),
            calls: connection.calls.clone(),
            target,
        }
    }

    /// Puts an object unless the key exists. S3 refuses bytes that do not match the checksum. A granted answer may have the
    /// checksum of what S3 now holds.
    pub async fn put_if_absent(
        &self,
        key: &str,
        body: Body,
        crc64nvme: Crc64Nvme,
    ) -> Answer<Option<Crc64Nvme>> {
        let time = body.transfer_time();
        let call = self
            .client
            .put_object()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .if_none_match("*")
            // Known before the first byte is sent, so the body needs no trailer or chunking.
            .checksum_crc64_nvme(crc64nvme.to_string())
            .content_type(content_type(key))
            .set_acl(self.acl())
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.target.encryption.kms_key_arn.clone())
            .body(body.into())
            .customize()
            // The checksum protects the bytes; a SHA-256 would cost another pass over the file.
            .disable_payload_signing()
            .send();
        let result = in_time(time, call).await;
        let answer = with_etag(answer(result), |output| output.e_tag().is_some());
        self.calls.count("PutObject", answer.map(|output| full_object(output.checksum_crc64_nvme())))
    }

    /// The checksum and size of an object. Without ListBucket a missing key is refused with 403.
    pub async fn head(&self, key: &str) -> Answer<Head> {
        let ask = || {
            let call = self
                .client
                .head_object()
                .bucket(&self.target.bucket)
                .key(key)
                .expected_bucket_owner(&self.target.expected_bucket_owner)
                .checksum_mode(ChecksumMode::Enabled)
                .send();
            in_time(Duration::ZERO, call)
        };
        let result = repeat_if_cut_off(ask).await;
        let answer = with_etag(bare_answer(result), |output| output.e_tag().is_some()).map(|output| Head {
            crc64nvme: full_object(output.checksum_crc64_nvme()),
            size: size(output.content_length()),
        });
        self.calls.count("HeadObject", answer)
    }

    /// Reads an object, no more than its first `limit` bytes.
    pub async fn get(&self, key: &str, limit: usize) -> Answer<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.read(key, |chunk| {
            let room = (limit - bytes.len()).min(chunk.len());
            bytes.extend_from_slice(&chunk[..room]);
            if bytes.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        read.await.map(|()| bytes)
    }

    /// The checksum of an object, computed here from its bytes.
    pub async fn read_back(&self, key: &str) -> Answer<Crc64Nvme> {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let read = self.read(key, |chunk| {
            digest.update(chunk);
            ControlFlow::Continue(())
        });
        read.await.map(|()| Crc64Nvme(digest.finalize()))
    }

    async fn read(&self, key: &str, take: impl FnMut(&[u8]) -> ControlFlow<()>) -> Answer {
        let call = self
            .client
            .get_object()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .send();
        let result = in_time(Duration::ZERO, call).await;
        let answer = match with_etag(answer(result), |output| output.e_tag().is_some()) {
            Answer::Granted(output) => {
                // The SDK's time-out ends with the headers.
                let time = transfer_time(size(output.content_length()));
                let read = tokio::time::timeout(time, read_body(output.body, take));
                read.await.unwrap_or(Answer::Silent(Silence::Timeout))
            }
            Answer::Refused(refusal) => Answer::Refused(refusal),
            Answer::Silent(silence) => Answer::Silent(silence),
        };
        self.calls.count("GetObject", answer)
    }

    /// Deletes an object. S3 grants the delete of a missing key as well.
    pub async fn delete(&self, key: &str) -> Answer<Deleted> {
        let ask = || {
            let call = self
                .client
                .delete_object()
                .bucket(&self.target.bucket)
                .key(key)
                .expected_bucket_owner(&self.target.expected_bucket_owner)
                .send();
            in_time(Duration::ZERO, call)
        };
        let result = repeat_if_cut_off(ask).await;
        let answer = answer(result).map(|output| match output.delete_marker() {
            Some(true) => Deleted::MarkerLeft,
            _ => Deleted::Gone,
        });
        self.calls.count("DeleteObject", answer)
    }

    pub(super) fn acl(&self) -> Option<ObjectCannedAcl> {
        match self.target.object_acl {
            ObjectACL::BucketOwnerFullControl => Some(ObjectCannedAcl::BucketOwnerFullControl),
            ObjectACL::None => None,
        }
    }

    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        self.target.storage_class.map(|class| <&str>::from(class).into())
    }

    pub(super) fn encryption(&self) -> Option<ServerSideEncryption> {
        match self.target.encryption.r#type {
            EncryptionType::BucketDefault => None,
            EncryptionType::S3 => Some(ServerSideEncryption::Aes256),
            EncryptionType::KMS => Some(ServerSideEncryption::AwsKms),
        }
    }
}

/// Passes a body on in chunks, until its end or until `take` breaks.
async fn read_body(mut body: ByteStream, mut take: impl FnMut(&[u8]) -> ControlFlow<()>) -> Answer {
    while let Some(chunk) = body.next().await {
        match chunk.map(|chunk| take(&chunk)) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(_) => return Answer::Silent(Silence::Connection),
        }
    }
    Answer::Granted(())
}

/// S3 names the entity tag of every object that it stores. The page of a gateway, sent with status 200, does not.
fn with_etag<T>(answer: Answer<T>, has_etag: impl FnOnce(&T) -> bool) -> Answer<T> {
    match answer {
        Answer::Granted(output) if !has_etag(&output) => Answer::Silent(Silence::Garbled),
        answer => answer,
    }
}

fn size(content_length: Option<i64>) -> u64 {
    content_length.and_then(|length| length.try_into().ok()).unwrap_or_default()
}

/// A checksum of the full object. A composite one, over the checksums of parts, ends in `-<parts>` and does not parse.
pub(super) fn full_object(crc64nvme: Option<&str>) -> Option<Crc64Nvme> {
    crc64nvme?.parse().ok()
}

pub(super) fn content_type(key: &str) -> &'static str {
    let extension = key.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("wav") => "audio/wav",
        Some("mp3") => "audio/mpeg",
        Some("ogg" | "opus") => "audio/ogg",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
