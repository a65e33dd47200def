//! The probe of a bucket: the calls that an uploader makes, each once.

use std::time::Duration;

use super::connection::Connection;
use super::objects::{Body, Deleted, ObjectStore};
use crate::api::{Answer, BucketCall, BucketTarget, Crc64Nvme, ObjectACL, PROBE_DIRECTORY, Silence};
use crate::domain::verdict::{BucketEvidence, Probe as Scope};
use crate::secret::SessionCredentials;

/// Time for S3 to assemble one small part; the time-out of an uploader would delay the validation too long.
const ASSEMBLY: Duration = Duration::from_secs(30);

/// Puts one object whole and one in parts as an uploader does, reads the first back, and deletes both; or only the one in
/// parts.
pub(super) async fn probe_bucket(
    connection: &Connection,
    target: BucketTarget,
    session: &SessionCredentials,
    scope: Scope,
) -> BucketEvidence {
    let nonce: u128 = rand::random();
    let key = |kind| format!("{}{PROBE_DIRECTORY}{nonce:032x}{kind}.probe", target.prefix);
    let content = format!(
        "recording-operator put this object to prove that recordings can be delivered; it may be deleted. {nonce:032x}\n"
    );
    let store = ObjectStore::new(connection, target.clone(), session);
    let probe = Probe { store, content: content.into_bytes() };
    let mut evidence = BucketEvidence::default();
    let (whole, parts) = (key(""), key("-parts"));

    if scope == Scope::Parts {
        evidence.uploaded_since = true;
        probe.put_in_parts(&parts, &mut evidence).await;
        if evidence.calls.iter().any(|(call, _)| *call == BucketCall::CompleteMultipartUpload) {
            let deleted = probe.delete(&parts).await;
            add_delete(&mut evidence, deleted);
        }
        return evidence;
    }
    let put = probe.put(&whole).await;
    evidence.calls.push((BucketCall::PutObject, put.clone()));
    match put {
        Answer::Granted(()) => {}
        Answer::Refused(refusal) => {
            if refusal.status == 403 && target.object_acl == ObjectACL::BucketOwnerFullControl {
                let without_acl = BucketTarget { object_acl: ObjectACL::None, ..target };
                let store = ObjectStore::new(connection, without_acl, session);
                let probe = Probe { store, content: probe.content };
                let put = probe.put(&whole).await;
                evidence.calls.push((BucketCall::PutObjectWithoutACL, put.clone()));
                let deleted = probe.delete(&whole).await;
                if matches!(put, Answer::Granted(())) {
                    add_delete(&mut evidence, deleted);
                }
            } else if refusal.is_server_fault() {
                // The object may exist all the same.
                probe.delete(&whole).await;
            }
            return evidence;
        }
        Answer::Silent(_) => {
            // The object may exist all the same.
            probe.delete(&whole).await;
            return evidence;
        }
    }
    probe.read(&whole, &mut evidence).await;
    probe.put_in_parts(&parts, &mut evidence).await;
    probe.delete_both(&whole, &parts, &mut evidence).await;
    evidence
}

struct Probe {
    store: ObjectStore,
    content: Vec<u8>,
}

impl Probe {
    fn checksum(&self) -> Crc64Nvme {
        Crc64Nvme::of(&self.content)
    }

    fn body(&self) -> Body {
        Body::Bytes(self.content.clone().into())
    }

    async fn put(&self, key: &str) -> Answer {
        self.store.put_if_absent(key, self.body(), self.checksum()).await.map(|_| ())
    }

    async fn delete(&self, key: &str) -> Answer<Deleted> {
        self.store.delete(key).await
    }

    async fn read(&self, key: &str, evidence: &mut BucketEvidence) {
        let head = self.store.head(key).await;
        let read = self.store.get(key, self.content.len() + 1).await;
        // S3 may hold an object without a checksum, but not with another one.
        let other_checksum =
            matches!(&head, Answer::Granted(head) if head.crc64nvme.is_some_and(|c| c != self.checksum()));
        if let Answer::Granted(bytes) = &read {
            evidence.read_back_matches = Some(*bytes == self.content && !other_checksum);
        }
        evidence.calls.push((BucketCall::HeadObject, head.map(|_| ())));
        evidence.calls.push((BucketCall::GetObject, read.map(|_| ())));
    }

    async fn put_in_parts(&self, key: &str, evidence: &mut BucketEvidence) {
        let created = self.store.create_multipart(key).await;
        evidence.calls.push((BucketCall::CreateMultipartUpload, created.clone().map(|_| ())));
        let Answer::Granted(upload) = created else { return };
        let part = self.store.upload_part(key, &upload, 1, self.body(), self.checksum()).await;
        evidence.calls.push((BucketCall::UploadPart, part.clone().map(|_| ())));
        if let Answer::Granted(part) = part {
            let parts = [part];
            let complete = self.store.complete_multipart(key, &upload, &parts, self.checksum());
            let complete =
                tokio::time::timeout(ASSEMBLY, complete).await.unwrap_or(Answer::Silent(Silence::Timeout));
            evidence.calls.push((BucketCall::CompleteMultipartUpload, complete.clone().map(|_| ())));
            if matches!(complete, Answer::Granted(_)) {
                return;
            }
        }
        // A role with only the four permissions may not abort; then the bucket's lifecycle rule ends the upload.
        self.store.abort_multipart(key, &upload).await;
    }

    async fn delete_both(&self, whole: &str, parts: &str, evidence: &mut BucketEvidence) {
        let mut first = self.delete(whole).await;
        let begun = evidence.calls.iter().any(|(call, _)| *call == BucketCall::CompleteMultipartUpload);
        if begun {
            let second = self.delete(parts).await;
            if matches!(first, Answer::Granted(_)) {
                first = second;
            }
        }
        add_delete(evidence, first);
    }
}

fn add_delete(evidence: &mut BucketEvidence, deleted: Answer<Deleted>) {
    evidence.marker_left = deleted == Answer::Granted(Deleted::MarkerLeft);
    evidence.calls.push((BucketCall::DeleteObject, deleted.map(|_| ())));
}
