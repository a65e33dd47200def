//! Buckets: what a transfer needs of S3, and Amazon S3.

use crate::api::{Answer, Crc64Nvme, DestinationDocument, Head, Part};
use crate::aws::{self, Body};
use crate::secret::SessionCredentials;

/// Opens buckets.
pub trait Storage {
    type Bucket: Bucket;
    /// The bucket of a destination, under one session.
    fn bucket(&self, destination: &DestinationDocument, session: &SessionCredentials) -> Self::Bucket;
}

/// One bucket, under one session.
pub trait Bucket {
    /// Puts an object unless the key exists.
    fn put_if_absent(
        &self,
        key: &str,
        body: Body,
        crc64nvme: Crc64Nvme,
    ) -> impl Future<Output = Answer<Option<Crc64Nvme>>>;
    /// Begins an upload in parts; the answer is its ID.
    fn create_multipart(&self, key: &str) -> impl Future<Output = Answer<String>>;
    /// Uploads one part.
    fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: i32,
        body: Body,
        crc64nvme: Crc64Nvme,
    ) -> impl Future<Output = Answer<Part>>;
    /// Makes the parts one object unless the key exists.
    fn complete_multipart(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[Part],
        crc64nvme: Crc64Nvme,
    ) -> impl Future<Output = Answer<Option<Crc64Nvme>>>;
    /// Drops an upload and its parts.
    fn abort_multipart(&self, key: &str, upload_id: &str) -> impl Future<Output = Answer>;
    /// What is under a key.
    fn head(&self, key: &str) -> impl Future<Output = Answer<Head>>;
    /// The checksum of the bytes under a key.
    fn read_back(&self, key: &str) -> impl Future<Output = Answer<Crc64Nvme>>;
}

/// Amazon S3.
#[derive(Debug, Default)]
pub struct S3 {
    /// The connections in use, which last over sessions.
    connection: std::cell::RefCell<Option<aws::Connection>>,
    calls: aws::Calls,
}

impl S3 {
    /// Counts its calls in `calls`.
    pub fn counted_by(calls: aws::Calls) -> Self {
        S3 { calls, ..S3::default() }
    }

    /// Over a connection that is there already.
    pub fn over(connection: aws::Connection) -> Self {
        S3 { connection: Some(connection).into(), calls: aws::Calls::default() }
    }
}

impl Storage for S3 {
    type Bucket = aws::ObjectStore;

    fn bucket(&self, destination: &DestinationDocument, session: &SessionCredentials) -> Self::Bucket {
        let mut held = self.connection.borrow_mut();
        let endpoint = &destination.endpoint;
        if held.as_ref().is_none_or(|connection| connection.endpoint() != endpoint.as_ref()) {
            *held = None;
        }
        let connection =
            held.get_or_insert_with(|| aws::Connection::new(endpoint.clone()).counted_by(self.calls.clone()));
        aws::ObjectStore::new(connection, destination.target.clone(), session)
    }
}

impl Bucket for aws::ObjectStore {
    async fn put_if_absent(&self, key: &str, body: Body, crc64nvme: Crc64Nvme) -> Answer<Option<Crc64Nvme>> {
        aws::ObjectStore::put_if_absent(self, key, body, crc64nvme).await
    }

    async fn create_multipart(&self, key: &str) -> Answer<String> {
        aws::ObjectStore::create_multipart(self, key).await
    }

    async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: i32,
        body: Body,
        crc64nvme: Crc64Nvme,
    ) -> Answer<Part> {
        aws::ObjectStore::upload_part(self, key, upload_id, number, body, crc64nvme).await
    }

    async fn complete_multipart(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[Part],
        crc64nvme: Crc64Nvme,
    ) -> Answer<Option<Crc64Nvme>> {
        aws::ObjectStore::complete_multipart(self, key, upload_id, parts, crc64nvme).await
    }

    async fn abort_multipart(&self, key: &str, upload_id: &str) -> Answer {
        aws::ObjectStore::abort_multipart(self, key, upload_id).await
    }

    async fn head(&self, key: &str) -> Answer<Head> {
        aws::ObjectStore::head(self, key).await
    }

    async fn read_back(&self, key: &str) -> Answer<Crc64Nvme> {
        aws::ObjectStore::read_back(self, key).await
    }
}
