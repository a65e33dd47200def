//! The broker's decisions: from a token to a pod, its destination and a session.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::cache::{AnswerCache, Cached};
use super::ports::{Cluster, IssueSession};
use super::reports::Reports;
use super::sessions::Sessions;
use super::token::{TokenHash, hash};
use crate::api::{DeliveryReport, DestinationDocument, Endpoint, RecordingDestination, RoleARN};
use crate::cluster::{self, CopyAge};
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::delivery::PodReport;
use crate::domain::grant::{self, Denial, NotIssued, PodClaim, PodIdentity};

/// How long a decision about a token is used without a new TokenReview.
const DECISION_LIFE: Duration = Duration::from_secs(30);
/// How long a known pod is served while the API server cannot be reached.
const DECISION_LIFE_WITHOUT_API_SERVER: Duration = Duration::from_secs(300);
/// Cached decisions about tokens of known pods, of about 300 bytes each.
const DECISIONS: u64 = 20_000;
/// Cached decisions about tokens that were never accepted. They have a cache of their own, so that no number of them
/// evicts a known pod.
const UNKNOWN_TOKENS: u64 = 2_000;
/// Reviews of such tokens under way at the same time.
const REVIEWS_OF_UNKNOWN_TOKENS: usize = 16;
/// Of these, reviews of one caller: an address, or the namespace of a pod.
const REVIEWS_OF_ONE_CALLER: usize = 4;
/// Tokens of one caller that are under review or wait for it.
const QUEUE_OF_ONE_CALLER: usize = 16;
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request is not served.
#[derive(Debug)]
pub(super) enum Unserved {
    Refused(Denial, Subject),
    Undecided(Undecided, Subject),
}

/// Why a request could not be decided. The name is the result in the metric, and an alert of the platform's hangs on it:
/// `Unavailable` is what no tenant and no stranger can bring about. The text is for the log.
#[derive(Clone, Debug, thiserror::Error, strum::IntoStaticStr)]
pub(super) enum Undecided {
    /// The API server does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// STS gives no session of this destination, or its Secret cannot be read.
    #[error("{0}")]
    SessionUnavailable(String),
    #[error("too many tokens that were never accepted are under review")]
    TooManyUnknownTokens,
}

/// What is known of the caller, for the log; a field that is not known is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    pub(super) namespace: String,
    pub(super) pod: String,
    /// Name of the destination.
    pub(super) name: String,
}

#[derive(Clone)]
struct Decision {
    /// When the review began: the decision is no newer than that.
    reviewed: Instant,
    result: Result<Arc<PodIdentity>, (Denial, Subject)>,
}

/// Decides what each pod gets. Replicas share nothing.
pub(super) struct Grants<C, I> {
    cluster: C,
    /// The broker's CA certificates, PEM, which are replaced while the process runs.
    authorities: watch::Receiver<String>,
    /// S3 endpoint that sidecars are to use instead of AWS's.
    endpoint: Option<Endpoint>,
    clock: fn() -> Timestamp,
    decisions: AnswerCache<TokenHash, Decision, Undecided>,
    unknown_tokens: AnswerCache<TokenHash, Decision, Undecided>,
    reviews_of_unknown_tokens: ConcurrencyLimiter,
    sessions: Sessions<I>,
    reports: Reports,
}

impl<C: Cluster, I: IssueSession> Grants<C, I> {
    pub(super) fn new(
        cluster: C,
        sessions: Sessions<I>,
        authorities: watch::Receiver<String>,
        endpoint: Option<Endpoint>,
        clock: fn() -> Timestamp,
    ) -> Self {
        Grants {
            cluster,
            authorities,
            endpoint,
            clock,
            decisions: AnswerCache::new(DECISIONS, DECISION_LIFE_WITHOUT_API_SERVER),
            unknown_tokens: AnswerCache::new(UNKNOWN_TOKENS, DECISION_LIFE),
            reviews_of_unknown_tokens: ConcurrencyLimiter::per_key(REVIEWS_OF_ONE_CALLER)
                .with_total(REVIEWS_OF_UNKNOWN_TOKENS),
            sessions,
            reports: Reports::default(),
        }
    }

    /// The container-credentials document for the pod that the token is bound to. `refused_key` is the access key ID of a
    /// session that AWS refuses the pod.
    pub(super) async fn credentials(
        &self,
        token: &SecretString,
        refused_key: Option<&str>,
    ) -> Result<SecretString, Unserved> {
        let identity = self.identify(token).await?;
        let CopyAge { confirmed, answered } = self.cluster.age();
        if !grant::may_use_copy(confirmed, answered) {
            let error = format!("the copy of the destinations is {} s old", confirmed.as_secs());
            return Err(Unserved::Undecided(Undecided::Unavailable(error), Subject::from(&*identity)));
        }
        let destination = self.destination_of(&identity)?;
        grant::may_have_credentials(&destination).map_err(|denial| refused(denial, &identity))?;
        let session = self.sessions.of(&destination, refused_key).await.map_err(|failure| match failure {
            NotIssued::Denied(denial) => refused(denial, &identity),
            NotIssued::Unavailable(cause) => {
                Unserved::Undecided(Undecided::SessionUnavailable(cause), Subject::from(&*identity))
            }
        })?;
        let PodIdentity { namespace, pod, uid, destination: name, .. } = &*identity;
        let access_key_id = &session.access_key_id;
        tracing::info!(access_key_id, namespace, pod, uid, name, "credentials served");
        // The CRD admits no other text than a role's ARN.
        let account = destination.spec.role_arn.parse::<RoleARN>().map(|role| role.account).ok();
        Ok(session.to_container_json(account.as_deref()))
    }

    /// The destination document for the pod that the token is bound to: as soon as `is_changed` accepts it, else at `until`.
    pub(super) async fn wait_for_change(
        &self,
        token: &SecretString,
        is_changed: impl Fn(&DestinationDocument) -> bool,
        until: Instant,
    ) -> Result<DestinationDocument, Unserved> {
        let mut authorities = self.authorities.clone();
        loop {
            let identity = self.identify(token).await?;
            // Subscribed before the destination is read, so that no change is missed between the two.
            let mut edited = self.cluster.changes(&identity.namespace, &identity.destination);
            let destination = self.destination_of(&identity)?;
            let ca_bundle = authorities.borrow_and_update().clone();
            let document = grant::document(&destination, self.endpoint.as_ref(), &ca_bundle);
            if is_changed(&document) {
                return Ok(document);
            }
            let changed = async {
                tokio::select! {
                    () = edited.changed() => {}
                    _ = authorities.changed() => {}
                }
            };
            if timeout_at(until, changed).await.is_err() {
                return Ok(document);
            }
        }
    }

    /// Takes a report of the pod that the token is bound to, about its own destination. `read` is only polled once the
    /// pod is known.
    pub(super) async fn report<E>(
        &self,
        token: &SecretString,
        read: impl Future<Output = Result<DeliveryReport, E>>,
    ) -> Result<Result<(), E>, Unserved> {
        let identity = self.identify(token).await?;
        self.destination_of(&identity)?;
        let report = match read.await {
            Ok(report) => report,
            Err(error) => return Ok(Err(error)),
        };
        let PodIdentity { namespace, pod, uid, destination, spool, .. } = &*identity;
        let (pod, uid, spool) = (pod.clone(), uid.clone(), spool.clone());
        self.reports.add(namespace, destination, PodReport { pod, uid, spool, report, at: (self.clock)() });
        Ok(Ok(()))
    }

    /// Writes reports into statuses for as long as it is polled.
    pub(super) async fn write_reports(&self) -> Infallible {
        self.reports.write(&self.cluster, self.clock).await
    }

    /// The pod behind a token. Decisions are cached, and an accepted pod stays accepted for a while when the API server
    /// cannot be reached.
    async fn identify(&self, token: &SecretString) -> Result<Arc<PodIdentity>, Unserved> {
        self.identify_for("", token).await
    }

    /// The same for a token that has just come from this caller.
    pub(super) async fn identify_for(
        &self,
        caller: &str,
        token: &SecretString,
    ) -> Result<Arc<PodIdentity>, Unserved> {
        grant::may_pass(token.expose_secret(), (self.clock)())?;
        let key = hash(token);
        let known = match self.decisions.contains(&key) {
            true => self.decisions.get_or_ask(key, || self.review(token)).await,
            false => self.review_unknown(caller, token, key).await,
        };
        match (known.last, known.failure) {
            (Some(decision), None) => {
                decision.result.map_err(|(denial, subject)| Unserved::Refused(denial, subject))
            }
            (Some(Decision { reviewed, result: Ok(identity) }), Some(error))
                if reviewed.elapsed() < DECISION_LIFE_WITHOUT_API_SERVER =>
            {
                let PodIdentity { namespace, pod, .. } = &*identity;
                tracing::warn!(namespace, pod, %error, "accepted a known pod on an earlier decision");
                Ok(identity)
            }
            (_, error) => {
                let error = error.unwrap_or_else(|| Undecided::Unavailable(String::new()));
                Err(Unserved::Undecided(error, Subject::default()))
            }
        }
    }

    /// Decides about a token that is in no cache. Such tokens share a few reviews at a time, so that forged ones delay no
    /// known pod; callers take turns, so that they delay no newcomer for long.
    async fn review_unknown(
        &self,
        caller: &str,
        token: &SecretString,
        key: TokenHash,
    ) -> Cached<Decision, Undecided> {
        let review = async || {
            let until = Instant::now() + CLUSTER_TIMEOUT;
            let turn = self.reviews_of_unknown_tokens.acquire_unless_crowded(caller, QUEUE_OF_ONE_CALLER);
            let mut turn = std::pin::pin!(turn);
            let too_many = Undecided::TooManyUnknownTokens;
            let Some(permit) = turn.as_mut().now_or_never() else {
                let permit = timeout_at(until, turn).await.ok().flatten();
                let _permit = permit.ok_or(too_many.clone())?;
                return timeout_at(until, self.review(token)).await.unwrap_or(Err(too_many));
            };
            let _permit = permit.ok_or(too_many)?;
            self.review(token).await
        };
        let known = self.unknown_tokens.get_or_ask(key, review).await;
        if let Some(decision) = known.last.as_ref().filter(|decision| decision.result.is_ok()) {
            let left = DECISION_LIFE.saturating_sub(decision.reviewed.elapsed());
            self.decisions.insert(key, decision.clone(), left).await;
        }
        known
    }

    /// A new decision, and how long it is used.
    async fn review(&self, token: &SecretString) -> Result<(Decision, Duration), Undecided> {
        let reviewed = Instant::now();
        let error = match timeout(CLUSTER_TIMEOUT, self.decide(token)).await {
            Ok(Ok(result)) => return Ok((Decision { reviewed, result }, DECISION_LIFE)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer from the API server within {} s", CLUSTER_TIMEOUT.as_secs()),
        };
        Err(Undecided::Unavailable(error))
    }

    /// Asks the API server about a token and the pod behind it.
    async fn decide(
        &self,
        token: &SecretString,
    ) -> cluster::Result<Result<Arc<PodIdentity>, (Denial, Subject)>> {
        let claim = match grant::claimed_pod(&self.cluster.review(token).await?) {
            Ok(claim) => claim,
            Err(denial) => return Ok(Err((denial, Subject::default()))),
        };
        let subject = Subject::from(&claim);
        let pod = match self.cluster.pod(&claim.namespace, &claim.pod).await {
            // Whoever writes the pod wrote what cannot be decoded, so it is treated as absent.
            Err(error) if error.is_undecodable() => return Ok(Err((Denial::PodUndecodable, subject))),
            pod => pod?,
        };
        Ok(grant::identify(claim, pod.as_ref()).map(Arc::new).map_err(|denial| (denial, subject)))
    }

    /// The pod's destination as the watch last saw it; nothing about it is cached here.
    fn destination_of(&self, identity: &PodIdentity) -> Result<Arc<RecordingDestination>, Unserved> {
        let found = self.cluster.destination(&identity.namespace, &identity.destination);
        grant::may_use(identity, found).map_err(|denial| refused(denial, identity))
    }
}

fn refused(denial: Denial, identity: &PodIdentity) -> Unserved {
    Unserved::Refused(denial, Subject::from(identity))
}

impl From<&PodClaim> for Subject {
    fn from(claim: &PodClaim) -> Self {
        Subject { namespace: claim.namespace.clone(), pod: claim.pod.clone(), name: String::new() }
    }
}

impl From<&PodIdentity> for Subject {
    fn from(identity: &PodIdentity) -> Self {
        Subject {
            namespace: identity.namespace.clone(),
            pod: identity.pod.clone(),
            name: identity.destination.clone(),
        }
    }
}
