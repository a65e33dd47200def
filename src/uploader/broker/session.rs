//! The session in use: fetched once, renewed before its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::{DestinationDocument, RefusedCall, UploadRefusal};
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
    refused_keys: RefusedKeys,
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
pub struct NoSession {
    pub why: String,
    /// Set where AWS refuses the destination's role.
    pub refusal: Option<UploadRefusal>,
}

/// The access key IDs of sessions that S3 did not take, which the broker is told of, as it may hold them for an hour.
#[derive(Default)]
struct RefusedKeys {
    /// For the next request.
    next: RefCell<Option<String>>,
    last: RefCell<Option<String>>,
    /// When S3 last took a recording.
    taken: Cell<Option<Instant>>,
    /// Whether a key was named because S3 denied everything, and nothing has been taken since: then it is not the session.
    is_vain: Cell<bool>,
}

impl<B: Broker, S: Storage> Sessions<B, S> {
    pub fn new(broker: Rc<B>, storage: S) -> Self {
        Sessions {
            broker,
            storage,
            current: Mutex::new(None),
            is_stale: Cell::new(false),
            refused_keys: RefusedKeys::default(),
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
        let refused = self.refused_keys.next.take();
        match (self.broker.credentials(refused.as_deref()).await, &mut *current) {
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
            (BrokerReply::Unavailable(_) | BrokerReply::RoleRefused(_), Some(session))
                if now < session.ends =>
            {
                session.renew_from = now + RETRY_INTERVAL;
                Ok(session.bucket.clone())
            }
            (BrokerReply::Unavailable(cause), _) => {
                // The broker has not heard of it yet.
                self.refused_keys.next.replace(refused);
                Err(self.failed(format!("no credentials: {cause}"), None))
            }
            (BrokerReply::RoleRefused(code), _) => {
                let refusal = UploadRefusal {
                    call: RefusedCall::AssumeRole,
                    status: 0,
                    code: code.to_owned(),
                    policy: None,
                    files: 1,
                };
                Err(self.failed(format!("no credentials: AWS refuses AssumeRole with {code}"), Some(refusal)))
            }
            (BrokerReply::Refused, current) => {
                *current = None;
                Err(self.failed(NO_CREDENTIALS.to_owned(), None))
            }
        }
    }

    fn failed(&self, why: String, refusal: Option<UploadRefusal>) -> NoSession {
        let mut failed = self.failed.borrow_mut();
        *failed = (failed.0 + 1, NoSession { why, refusal });
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

    /// Drops a session that is over, unless it has been replaced since. The broker is told which one.
    pub async fn expired(&self, bucket: &Rc<S::Bucket>) {
        let is_it = |session: &mut Session<S::Bucket>| Rc::ptr_eq(&session.bucket, bucket);
        if let Some(session) = self.current.lock().await.take_if(is_it) {
            self.refused_keys.name(session.credentials.access_key_id);
        }
    }

    /// Drops a session under which S3 refused a recording, unless it is so new that another would be no better: each of
    /// many recordings that S3 refuses would cost the broker a session. Whether it was dropped. The broker is told which
    /// one where S3 does not know it, or denies everything under it.
    pub async fn doubt(&self, bucket: &Rc<S::Bucket>, refusal: Option<&UploadRefusal>) -> bool {
        let is_unknown = refusal.is_some_and(|refusal| {
            matches!(refusal.code.as_str(), "InvalidAccessKeyId" | "InvalidToken" | "InvalidClientTokenId")
        });
        let keys = &self.refused_keys;
        let is_doubtful = |session: &mut Session<S::Bucket>| {
            let is_new = session.fetched.elapsed() < NEW;
            Rc::ptr_eq(&session.bucket, bucket)
                && (!is_new || is_unknown && !keys.was_named(&session.credentials.access_key_id))
        };
        let Some(session) = self.current.lock().await.take_if(is_doubtful) else { return false };
        let key = session.credentials.access_key_id;
        if is_unknown {
            keys.name(key);
        } else if refusal.is_some_and(|refusal| refusal.status == 403) && keys.all_is_denied() {
            keys.is_vain.set(true);
            keys.name(key);
        }
        true
    }

    /// S3 holds a recording that was sent under the current session.
    pub fn taken(&self) {
        self.refused_keys.taken.set(Some(Instant::now()));
        self.refused_keys.is_vain.set(false);
    }

    /// Makes the next use fetch a new session; the current one serves if the broker gives none.
    pub fn request_renewal(&self) {
        self.is_stale.set(true);
    }
}

impl RefusedKeys {
    fn name(&self, key: String) {
        self.last.replace(Some(key.clone()));
        self.next.replace(Some(key));
    }

    fn was_named(&self, key: &str) -> bool {
        self.last.borrow().as_deref() == Some(key)
    }

    /// Whether S3 has taken nothing for a while, and another session has not been tried for that.
    fn all_is_denied(&self) -> bool {
        !self.is_vain.get() && self.taken.get().is_none_or(|taken| taken.elapsed() >= NEW)
    }
}
