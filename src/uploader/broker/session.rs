//! The session in use: fetched once, renewed before its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::DestinationDocument;
use crate::domain::delivery::{renewal, session_life};
use crate::secret::SessionCredentials;
use crate::uploader::broker::{Broker, BrokerReply};
use crate::uploader::storage::Storage;

/// What the broker's refusal of credentials means. It does not say which of these it is.
const NO_CREDENTIALS: &str = "the broker gives no credentials: the destination is not Ready or was deleted, or this pod may not use it";

/// Pause after a broker that failed, while the current session still serves.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// For how long a session is taken for as good as any.
const NEW: Duration = Duration::from_secs(60);

/// Sessions from the broker, and the bucket opened with the current one.
pub struct Sessions<B, S: Storage> {
    broker: Rc<B>,
    storage: S,
    /// Locked while a session is fetched, so that it is fetched once.
    current: Mutex<Option<Session<S::Bucket>>>,
    is_stale: Cell<bool>,
    /// How often there was none, and why not the last time.
    failed: RefCell<(u64, NoSession)>,
}

struct Session<T> {
    fetched: Instant,
    destination: Rc<DestinationDocument>,
    credentials: SessionCredentials,
    bucket: Rc<T>,
    ends: Instant,
    renew_from: Instant,
}

/// No session, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoSession(pub String);

impl<B: Broker, S: Storage> Sessions<B, S> {
    pub fn new(broker: Rc<B>, storage: S) -> Self {
        Sessions {
            broker,
            storage,
            current: Mutex::new(None),
            is_stale: Cell::new(false),
            failed: RefCell::default(),
        }
    }

    /// The bucket of a destination, under a session that lasts.
    pub async fn bucket(&self, destination: &Rc<DestinationDocument>) -> Result<Rc<S::Bucket>, NoSession> {
        let failures = self.failed.borrow().0;
        let mut current = self.current.lock().await;
        let now = Instant::now();
        if current.as_ref().is_some_and(|session| session.destination != *destination) {
            *current = None;
        }
        let is_stale = self.is_stale.replace(false);
        if let Some(session) = current.as_ref().filter(|session| now < session.renew_from && !is_stale) {
            return Ok(session.bucket.clone());
        }
        // The question that was under way when this one came is answered for both.
        if self.failed.borrow().0 != failures {
            return Err(self.failed.borrow().1.clone());
        }
        match (self.broker.credentials().await, &mut *current) {
            (BrokerReply::Granted(credentials), current) => {
                let (access_key_id, until) = (&credentials.access_key_id, credentials.expiration);
                tracing::info!(access_key_id, %until, "received a session");
                let bucket = Rc::new(self.storage.bucket(destination, &credentials));
                let life = session_life(Timestamp::now(), credentials.expiration);
                *current = Some(Session {
                    fetched: now,
                    destination: destination.clone(),
                    bucket: bucket.clone(),
                    ends: now + life,
                    renew_from: now + renewal(life),
                    credentials,
                });
                Ok(bucket)
            }
            (BrokerReply::Unavailable(_), Some(session)) if now < session.ends => {
                session.renew_from = now + RETRY_INTERVAL;
                Ok(session.bucket.clone())
            }
            (BrokerReply::Unavailable(cause), _) => Err(self.failed(format!("no credentials: {cause}"))),
            (BrokerReply::Refused, current) => {
                *current = None;
                Err(self.failed(NO_CREDENTIALS.to_owned()))
            }
        }
    }

    fn failed(&self, why: String) -> NoSession {
        let mut failed = self.failed.borrow_mut();
        *failed = (failed.0 + 1, NoSession(why));
        failed.1.clone()
    }

    /// Another bucket under the current session, which may have no rights there; `None` without a session.
    pub async fn elsewhere(&self, destination: &DestinationDocument) -> Option<Rc<S::Bucket>> {
        let current = self.current.lock().await;
        current.as_ref().map(|session| Rc::new(self.storage.bucket(destination, &session.credentials)))
    }

    /// Drops a session that S3 did not take, unless it has been replaced since.
    pub async fn discard(&self, bucket: &Rc<S::Bucket>) {
        self.current.lock().await.take_if(|session| Rc::ptr_eq(&session.bucket, bucket));
    }

    /// Drops a session under which S3 refused a recording, unless it is so new that another would be no better: each of
    /// many recordings that S3 refuses would cost the broker a session. Whether it was dropped.
    pub async fn doubt(&self, bucket: &Rc<S::Bucket>) -> bool {
        let is_doubtful = |session: &mut Session<S::Bucket>| {
            Rc::ptr_eq(&session.bucket, bucket) && session.fetched.elapsed() >= NEW
        };
        self.current.lock().await.take_if(is_doubtful).is_some()
    }

    /// Makes the next use fetch a new session; the current one serves if the broker gives none.
    pub fn request_renewal(&self) {
        self.is_stale.set(true);
    }
}
