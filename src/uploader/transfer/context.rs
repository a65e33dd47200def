//! What the attempts to deliver recordings share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::api::DestinationDocument;
use crate::domain::delivery::Sizes;
use crate::uploader::broker::Broker;
use crate::uploader::broker::session::Sessions;
use crate::uploader::spool::Spool;
use crate::uploader::spool::companions::Companions;
use crate::uploader::spool::recording::Recording;
use crate::uploader::storage::Storage;
use crate::uploader::transfer::bandwidth::BandwidthLimit;
use crate::uploader::transfer::concurrency::Concurrency;
use crate::uploader::transfer::outcome::Outcome;

pub struct TransferContext<B, S: Storage> {
    pub spool: Spool,
    pub companions: Companions,
    pub sessions: Sessions<B, S>,
    /// Which recordings go in parts.
    pub sizes: Sizes,
    pub bandwidth: Option<BandwidthLimit>,
    pub concurrency: Rc<Concurrency>,
    /// Whether the containers that recorded have ended.
    pub pod_ends: Cell<bool>,
    /// Where recordings go now, if they go.
    pub destination: RefCell<Option<Rc<DestinationDocument>>>,
    /// Bytes that S3 has in parts, of recordings that are being sent.
    pub bytes_in_parts: Rc<Cell<u64>>,
    /// Uploads in parts that may have been left in buckets.
    pub uploads_left_open: Cell<u64>,
}

/// What is sent: an open file, to a key of a destination.
#[derive(Clone, Copy)]
pub struct Transfer<'a> {
    pub destination: &'a Rc<DestinationDocument>,
    pub key: &'a str,
    pub recording: &'a Recording,
}

impl<B: Broker, S: Storage> TransferContext<B, S> {
    pub fn new(spool: Spool, sessions: Sessions<B, S>) -> Self {
        TransferContext {
            companions: Companions::new(&spool),
            spool,
            sessions,
            sizes: Sizes::default(),
            bandwidth: None,
            concurrency: Rc::default(),
            pod_ends: Cell::default(),
            destination: RefCell::default(),
            bytes_in_parts: Rc::default(),
            uploads_left_open: Cell::default(),
        }
    }

    /// The bucket, for as long as recordings go to this destination.
    pub async fn bucket(&self, destination: &Rc<DestinationDocument>) -> Result<Rc<S::Bucket>, Outcome> {
        if self.destination.borrow().as_ref() != Some(destination) {
            return Err(Outcome::Interrupted);
        }
        self.sessions.bucket(destination).await.map_err(Outcome::NoSession)
    }
}
