//! Sends a recording as a whole.

use std::time::Instant;

use crate::api::Crc64Nvme;
use crate::aws::Body;
use crate::domain::delivery::after_put;
use crate::uploader::broker::Broker;
use crate::uploader::storage::{Bucket, Storage};
use crate::uploader::transfer::body::stream;
use crate::uploader::transfer::concurrency::SizeClass;
use crate::uploader::transfer::context::{Transfer, TransferContext};
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::outcome::Stop;
use crate::uploader::transfer::verify::{Arrival, Question, ask, in_words, was_read};

/// From memory if the recording is small, else as a stream.
pub async fn put<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    job: &mut Job,
) -> Result<(Arrival, Crc64Nvme), Stop> {
    match SizeClass::of(transfer.recording.version.size) {
        SizeClass::Small => put_small(context, transfer, job).await,
        SizeClass::Large => put_stream(context, transfer, job).await,
    }
}

async fn put_small<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    job: &mut Job,
) -> Result<(Arrival, Crc64Nvme), Stop> {
    let bytes = job.unchanged(transfer.recording.read_small().await)?;
    let crc64nvme = Crc64Nvme::of(&bytes);
    let put = async |bucket: &S::Bucket| {
        if let Some(bandwidth) = &context.bandwidth {
            tokio::time::sleep(bandwidth.delay(bytes.len(), Instant::now())).await;
        }
        let answer = bucket.put_if_absent(transfer.key, Body::Bytes(bytes.clone()), crc64nvme).await;
        Ok((after_put(&answer, crc64nvme), in_words("PutObject", &answer)))
    };
    Ok((ask(context, Question::Make, put, transfer, crc64nvme, job).await?, crc64nvme))
}

async fn put_stream<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    job: &mut Job,
) -> Result<(Arrival, Crc64Nvme), Stop> {
    let Transfer { key, recording, .. } = transfer;
    let _permit = context.streams.acquire().await;
    let crc64nvme = job.checksum_of(recording).await?;
    let put = async |bucket: &S::Bucket| {
        let (body, read_error) = stream(recording, recording.range(), context.bandwidth.as_ref());
        let answer = bucket.put_if_absent(key, body, crc64nvme).await;
        was_read(&answer, &read_error)?;
        Ok((after_put(&answer, crc64nvme), in_words("PutObject", &answer)))
    };
    Ok((ask(context, Question::Make, put, transfer, crc64nvme, job).await?, crc64nvme))
}
