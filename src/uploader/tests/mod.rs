//! The driver with a real spool and real inotify, and with a broker and an S3 that do as they are told.

mod bandwidth;
mod broker;
mod conflicts;
mod crash;
mod drain;
mod fakes;
mod faults;
mod injections;
mod ledger;
mod multipart;
mod pickup;
mod refusals;
mod reports;
pub mod steps;
mod trouble;

use crate::api::{BucketTarget, DeliveryState, DestinationDocument, Encryption, ObjectACL};

/// An active destination with the prefix `calls/`.
pub fn destination() -> DestinationDocument {
    DestinationDocument {
        state: DeliveryState::Active,
        reason: None,
        target: BucketTarget {
            bucket: "acme-recordings".into(),
            region: "us-east-1".into(),
            prefix: "calls/".into(),
            expected_bucket_owner: "111111111111".into(),
            object_acl: ObjectACL::BucketOwnerFullControl,
            storage_class: None,
            encryption: Encryption::default(),
        },
        endpoint: None,
        ca_bundle: String::new(),
    }
}
