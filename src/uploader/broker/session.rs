//! The session in use: fetched once, renewed before its end.

use std::cell::Cell;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::uploader::storage::{Broker, Storage, Told};
use crate::api::DestinationDocument;
use crate::domain::delivery::renew_at;
use crate::secret::SessionCredentials;

/// How long a broker that failed is left alone while the present session still serves.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// Sessions from the broker, and the bucket opened with the present one.
pub struct Sessions<B, S: Storage> {
    broker: Rc<B>,
    storage: S,
    /// Locked while it is fetched, so that it is fetched once.
    present: Mutex<Option<Present<S::Bucket>>>,
    stale: Cell<bool>,
}

struct Present<T> {
    destination: Rc<DestinationDocument>,
    credentials: SessionCredentials,
    bucket: Rc<T>,
    expiration: Timestamp,
    renew_at: Timestamp,
}

/// No session, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSession(pub String);

impl<B: Broker, S: Storage> Sessions<B, S> {
    /// No session yet.
    pub fn new(broker: Rc<B>, storage: S) -> Self {
        Sessions { broker, storage, present: Mutex::new(None), stale: Cell::new(false) }
    }

    /// The bucket of a destination, under a session that lasts.
    pub async fn bucket(&self, destination: &Rc<DestinationDocument>) -> Result<Rc<S::Bucket>, NoSession> {
        let mut present = self.present.lock().await;
        let now = Timestamp::now();
        if present.as_ref().is_some_and(|held| held.destination != *destination) {
            *present = None;
        }
        let stale = self.stale.replace(false);
        if let Some(held) = present.as_ref().filter(|held| now < held.renew_at && !stale) {
            return Ok(held.bucket.clone());
        }
        match (self.broker.credentials().await, &mut *present) {
            (Told::Granted(credentials), present) => {
                let (access_key_id, until) = (&credentials.access_key_id, credentials.expiration);
                tracing::info!(access_key_id, %until, "The broker gave a session");
                let bucket = Rc::new(self.storage.bucket(destination, &credentials));
                *present = Some(Present {
                    destination: destination.clone(),
                    bucket: bucket.clone(),
                    expiration: credentials.expiration,
                    renew_at: renew_at(now, credentials.expiration),
                    credentials,
                });
                Ok(bucket)
            }
            (Told::Unavailable(_), Some(held)) if now < held.expiration => {
                held.renew_at = now + ASK_AGAIN;
                Ok(held.bucket.clone())
            }
            (Told::Unavailable(cause), _) => Err(NoSession(format!("no credentials: {cause}"))),
            (Told::Refused, present) => {
                *present = None;
                Err(NoSession("the broker refuses credentials for this pod".to_owned()))
            }
        }
    }

    /// Another bucket under the present session, which may have no right there; `None` without a session.
    pub async fn elsewhere(&self, destination: &DestinationDocument) -> Option<Rc<S::Bucket>> {
        let present = self.present.lock().await;
        present.as_ref().map(|held| Rc::new(self.storage.bucket(destination, &held.credentials)))
    }

    /// Drops a session that S3 did not take, unless it has been replaced since.
    pub async fn discard(&self, bucket: &Rc<S::Bucket>) {
        self.present.lock().await.take_if(|held| Rc::ptr_eq(&held.bucket, bucket));
    }

    /// Makes the next use fetch a session anew; the present one serves if none is to be had.
    pub fn freshen(&self) {
        self.stale.set(true);
    }
}
