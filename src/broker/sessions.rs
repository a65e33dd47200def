//! The sessions of destinations: issued once for all pods of one, renewed early, kept to their end.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::time::timeout;

use super::cache::AnswerCache;
use super::flights::Flights;
use super::ports::IssueSession;
use crate::api::RecordingDestination;
use crate::domain::grant::{self, NotIssued, RefusedSessions, SessionKey};
use crate::secret::SessionCredentials;

/// The longest session that a destination can ask for.
const SESSION_LIFE: Duration = Duration::from_secs(3600);
/// Cached sessions: one for each destination.
const SESSIONS: u64 = 20_000;
/// How long a request waits for a session. Issuing it goes on meanwhile, also while it waits for its turn behind the
/// sessions of thousands of other destinations.
const ISSUE_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_ISSUE: Duration = Duration::from_secs(600);

type Cache = AnswerCache<SessionKey, Arc<SessionCredentials>, NotIssued>;
/// A session with the time for which it is used, or why there is none.
type Issued = Result<(Arc<SessionCredentials>, Duration), NotIssued>;

pub(super) struct Sessions<I> {
    issuer: Arc<I>,
    clock: fn() -> Timestamp,
    cache: Arc<Cache>,
    issuing: Flights<SessionKey, Issued>,
    refused: Mutex<RefusedSessions>,
}

impl<I: IssueSession> Sessions<I> {
    pub(super) fn new(issuer: I, sts_calls_per_second: NonZeroU32, clock: fn() -> Timestamp) -> Self {
        Sessions {
            issuer: Arc::new(issuer),
            clock,
            cache: Arc::new(AnswerCache::new(SESSIONS, SESSION_LIFE)),
            issuing: Flights::new(),
            refused: RefusedSessions::new(sts_calls_per_second.get()).into(),
        }
    }

    /// The destination's session: one for all its pods, renewed early. While renewal fails the session is served to its
    /// end. `refused` is the access key ID of a session that AWS refuses its caller: where it is the one that is held, it is
    /// renewed.
    pub(super) async fn of(
        &self,
        destination: &Arc<RecordingDestination>,
        refused: Option<&str>,
    ) -> Result<Arc<SessionCredentials>, NotIssued> {
        let key = SessionKey::from(&**destination);
        let is_refused = |session: &SessionCredentials| refused == Some(session.access_key_id.as_str());
        if self.cache.last(&key).await.is_some_and(|held| is_refused(&held)) && self.may_renew(destination) {
            self.cache.expire(&key).await;
        }
        let issue = async || {
            let begin = || {
                let (issuer, cache) = (self.issuer.clone(), self.cache.clone());
                issue(issuer, cache, key.clone(), destination.clone(), self.clock).boxed()
            };
            let issued = timeout(ISSUE_TIMEOUT, self.issuing.join(&key, begin)).await;
            let late = || Err(NotIssued::Unavailable("no session yet; one is being issued".to_owned()));
            issued.ok().flatten().unwrap_or_else(late)
        };
        let known = self.cache.get_or_ask(key.clone(), issue).await;
        let denied = matches!(known.failure, Some(NotIssued::Denied(_)));
        // A session that is refused is of no use where STS, too, refuses one.
        let is_useful = |session: &Arc<SessionCredentials>| {
            grant::is_servable(session.expiration, (self.clock)()) && !(denied && is_refused(session))
        };
        match known.last.filter(is_useful) {
            Some(session) => Ok(session),
            None => {
                // The wall clock can be ahead of the monotonic one, as after a suspended machine.
                if known.failure.is_none() {
                    self.cache.invalidate(&key).await;
                }
                Err(known.failure.unwrap_or_else(|| NotIssued::Unavailable("the session has ended".into())))
            }
        }
    }

    fn may_renew(&self, destination: &RecordingDestination) -> bool {
        self.refused.lock().unwrap().may_renew(destination, (self.clock)())
    }
}

/// Issues a session and caches it, whether or not somebody still waits for it.
async fn issue<I: IssueSession>(
    issuer: Arc<I>,
    cache: Arc<Cache>,
    key: SessionKey,
    destination: Arc<RecordingDestination>,
    clock: fn() -> Timestamp,
) -> Issued {
    let issued = timeout(LONGEST_ISSUE, async { (issuer.issue(&destination).await, clock()) }).await;
    let (session, at) =
        issued.unwrap_or_else(|_| (Err(NotIssued::Unavailable("no session in time".into())), clock()));
    let session = session.inspect_err(|error| log_failure(&destination, error))?;
    log_session(&destination, &session);
    let renew = grant::renewal_time(at, session.expiration, rand::random());
    let life = Duration::try_from(renew.duration_since(at)).unwrap_or_default();
    let session = Arc::new(session);
    cache.insert(key, session.clone(), life).await;
    Ok((session, life))
}

/// The access key ID links this line to the sidecar's log and to the customer's CloudTrail.
fn log_session(destination: &RecordingDestination, session: &SessionCredentials) {
    let (namespace, name) = (&destination.metadata.namespace, &destination.metadata.name);
    let (access_key_id, role) = (&session.access_key_id, &destination.spec.role_arn);
    tracing::info!(access_key_id, namespace, name, role, "session issued");
}

/// Logged once for each attempt, also while a session that has not expired hides the failure from callers.
fn log_failure(destination: &RecordingDestination, error: &NotIssued) {
    let (namespace, name) = (&destination.metadata.namespace, &destination.metadata.name);
    tracing::warn!(namespace, name, %error, "issuing a session failed; an unexpired one is served to its end");
}
