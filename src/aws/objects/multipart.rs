//! Multipart uploads.

use std::time::Duration;

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};

use super::body::Body;
use super::store::{ObjectStore, content_type, full_object};
use crate::api::{Answer, Crc64Nvme, Part, Silence};
use crate::aws::answer::answer;
use crate::aws::connection::in_time;

/// Time for S3 to assemble an object. It sends the headers at once and keeps the connection open with spaces.
const ASSEMBLY: Duration = Duration::from_secs(600);

impl ObjectStore {
    /// Begins a multipart upload, of which the answer is the ID. The object will have a full-object checksum.
    pub async fn create_multipart(&self, key: &str) -> Answer<String> {
        let call = self
            .client
            .create_multipart_upload()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject)
            .content_type(content_type(key))
            .set_acl(self.acl())
            .set_storage_class(self.storage_class())
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.target.encryption.kms_key_arn.clone())
            .send();
        let result = in_time(Duration::ZERO, call).await;
        let answer = match answer(result) {
            Answer::Granted(output) => {
                output.upload_id.map_or(Answer::Silent(Silence::Garbled), Answer::Granted)
            }
            Answer::Refused(refusal) => Answer::Refused(refusal),
            Answer::Silent(silence) => Answer::Silent(silence),
        };
        self.calls.count("CreateMultipartUpload", answer)
    }

    /// Uploads one part. S3 refuses bytes that do not match the checksum.
    pub async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: i32,
        body: Body,
        crc64nvme: Crc64Nvme,
    ) -> Answer<Part> {
        let time = body.transfer_time();
        let call = self
            .client
            .upload_part()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .upload_id(upload_id)
            .part_number(number)
            .checksum_crc64_nvme(crc64nvme.to_string())
            .body(body.into())
            .customize()
            // The checksum protects the bytes, as for a whole object.
            .disable_payload_signing()
            .send();
        let result = in_time(time, call).await;
        let part = |etag| Part { number, etag, crc64nvme };
        let answer = match answer(result) {
            Answer::Granted(output) => {
                output.e_tag.map(part).map_or(Answer::Silent(Silence::Garbled), Answer::Granted)
            }
            Answer::Refused(refusal) => Answer::Refused(refusal),
            Answer::Silent(silence) => Answer::Silent(silence),
        };
        self.calls.count("UploadPart", answer)
    }

    /// Assembles the parts, in ascending order, unless the key exists. `crc64nvme` is the checksum of the full object. A
    /// granted answer may have the checksum of what S3 now holds.
    pub async fn complete_multipart(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[Part],
        crc64nvme: Crc64Nvme,
    ) -> Answer<Option<Crc64Nvme>> {
        let parts = parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(part.number)
                .e_tag(&part.etag)
                .checksum_crc64_nvme(part.crc64nvme.to_string())
                .build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let call = self
            .client
            .complete_multipart_upload()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .upload_id(upload_id)
            .if_none_match("*")
            .checksum_type(ChecksumType::FullObject)
            .checksum_crc64_nvme(crc64nvme.to_string())
            .multipart_upload(parts)
            .send();
        let result = in_time(ASSEMBLY, call).await;
        let answer = answer(result).map(|output| full_object(output.checksum_crc64_nvme()));
        self.calls.count("CompleteMultipartUpload", answer)
    }

    pub async fn abort_multipart(&self, key: &str, upload_id: &str) -> Answer {
        let call = self
            .client
            .abort_multipart_upload()
            .bucket(&self.target.bucket)
            .key(key)
            .expected_bucket_owner(&self.target.expected_bucket_owner)
            .upload_id(upload_id)
            .send();
        let result = in_time(Duration::ZERO, call).await;
        self.calls.count("AbortMultipartUpload", answer(result).map(|_| ()))
    }
}
