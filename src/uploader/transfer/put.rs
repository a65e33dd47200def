//! Sends a recording as a whole.

use std::cell::RefCell;
use std::io;
use std::time::Instant;

use crate::api::Crc64Nvme;
use crate::aws::Body;
use crate::domain::delivery::after_put;
use crate::uploader::broker::Broker;
use crate::uploader::storage::{Bucket, Storage};
use crate::uploader::transfer::body::stream;
use crate::uploader::transfer::concurrency::{Admission, BodyMemory, RequestPermit, SizeClass};
use crate::uploader::transfer::context::{Transfer, TransferContext};
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::outcome::Stop;
use crate::uploader::transfer::verify::{Arrival, NotRead, Question, ask, in_words, was_read};

/// From memory if the recording is small, else as a stream.
pub async fn put<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    admission: &mut Admission,
    job: &mut Job,
) -> Result<(Arrival, Crc64Nvme), Stop> {
    // A file that had another size when it was seen holds memory of another kind, or a place among those in parts.
    admission.in_parts = None;
    let class = SizeClass::of(transfer.recording.version.size).as_whole();
    let memory = match admission.memory.take() {
        Some(memory) if memory.class == class => memory,
        other => {
            drop(other);
            context.concurrency.memory(class).await
        }
    };
    let request = match admission.request.take() {
        Some(request) => request,
        None => context.concurrency.request_of_part().await,
    };
    match class {
        SizeClass::Small => put_small(context, transfer, &request, memory, job).await,
        SizeClass::Medium | SizeClass::Large => put_stream(context, transfer, &request, memory, job).await,
    }
}

async fn put_small<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    request: &RequestPermit,
    memory: BodyMemory,
    job: &mut Job,
) -> Result<(Arrival, Crc64Nvme), Stop> {
    let Transfer { key, recording, .. } = transfer;
    let written = memory.written();
    let bytes = job.unchanged(recording.read_small(memory.share()).await)?;
    let (crc64nvme, size) = (Crc64Nvme::of(&bytes), bytes.len());
    let read = RefCell::new(Some((bytes, written)));
    let put = async |bucket: &S::Bucket| {
        // Whoever waits for an answer keeps no bytes; a repeated call reads the file once more.
        let in_hand = read.borrow_mut().take();
        let (bytes, written) = match in_hand {
            Some(read) => read,
            None => {
                let memory = context.concurrency.memory(SizeClass::Small).await;
                let written = memory.written();
                match recording.read_small(memory.share()).await.map_err(NotRead)? {
                    Some(bytes) => (bytes, written),
                    None => return Err(NotRead(io::ErrorKind::UnexpectedEof.into())),
                }
            }
        };
        if let Some(bandwidth) = &context.bandwidth {
            tokio::time::sleep(bandwidth.delay(size, Instant::now())).await;
        }
        let call = bucket.put_if_absent(key, Body::Bytes(bytes), crc64nvme);
        let answer = request.call(size as u64, &written, call).await;
        Ok((after_put(&answer, crc64nvme), in_words("PutObject", &answer)))
    };
    Ok((ask(context, Question::Make, put, transfer, crc64nvme, job).await?, crc64nvme))
}

async fn put_stream<B: Broker, S: Storage>(
    context: &TransferContext<B, S>,
    transfer: Transfer<'_>,
    request: &RequestPermit,
    memory: BodyMemory,
    job: &mut Job,
) -> Result<(Arrival, Crc64Nvme), Stop> {
    let Transfer { key, recording, .. } = transfer;
    let crc64nvme = job.checksum_of(recording).await?;
    let first = RefCell::new(Some(memory));
    let put = async |bucket: &S::Bucket| {
        let in_hand = first.borrow_mut().take();
        let memory = match in_hand {
            Some(memory) => memory,
            None => context.concurrency.memory(SizeClass::Medium).await,
        };
        let written = memory.written();
        let (body, read_error) = stream(recording, recording.range(), context.bandwidth.as_ref(), memory);
        let call = bucket.put_if_absent(key, body, crc64nvme);
        let answer = request.call(recording.version.size, &written, call).await;
        was_read(&answer, &read_error)?;
        Ok((after_put(&answer, crc64nvme), in_words("PutObject", &answer)))
    };
    Ok((ask(context, Question::Make, put, transfer, crc64nvme, job).await?, crc64nvme))
}
