//! The broker's work: from a token to an answer, one link of the chain after the other.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::memory::{Memory, Recalled};
use super::ports::{Cluster, IssueSession};
use super::reports::Reports;
use super::token::{TokenHash, hash};
use crate::api::{DeliveryReport, DestinationDocument, Endpoint, RecordingDestination, RoleARN};
use crate::domain::delivery::Heard;
use crate::domain::grant::{self, Denial, Identity, NotIssued, PodClaim, SessionKey};
use crate::secret::SessionCredentials;

/// How long a decision about a token stands.
const DECISION_LIFE: Duration = Duration::from_secs(30);
/// How long a known pod is let in while the API server cannot be asked.
const DECISION_LIFE_UNASKED: Duration = Duration::from_secs(300);
/// Tokens of known pods remembered. About 300 bytes each.
const DECISIONS: u64 = 20_000;
/// Tokens remembered that were never accepted. Apart, so that no number of them makes a known pod forgotten.
const STRANGERS: u64 = 2_000;
/// Questions to the API server about such tokens, at the same time.
const STRANGERS_ASKED_ABOUT: usize = 16;
/// Longest life of a session.
const SESSION_LIFE: Duration = Duration::from_secs(3600);
/// Sessions remembered: more than the destinations of any cluster seen.
const SESSIONS: u64 = 20_000;
/// Time that the API server has to answer.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which a session must be issued.
const ISSUE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request is not served.
#[derive(Debug)]
pub(super) enum Unserved {
    /// The caller has no right to it.
    Refused(Denial, Subject),
    /// We could not find out. The text is for the log.
    Unavailable(String, Subject),
}

/// As much of the caller as is known, for the log. Empty where it is not.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) destination: String,
}

/// A decision about a token.
#[derive(Clone)]
struct Decision {
    /// When the question was put: the decision is no newer than that.
    asked: Instant,
    outcome: Result<Arc<Identity>, (Denial, Subject)>,
}

/// Decides who gets what. Nothing is shared between replicas.
pub(super) struct Grants<C, I> {
    cluster: C,
    issuer: I,
    /// The broker's CA certificates, PEM, which are replaced while we run.
    authorities: watch::Receiver<String>,
    /// S3 endpoint that sidecars are to use instead of AWS's.
    endpoint: Option<Endpoint>,
    clock: fn() -> Timestamp,
    decisions: Memory<TokenHash, Decision, String>,
    strangers: Memory<TokenHash, Decision, String>,
    strangers_asked_about: Semaphore,
    sessions: Memory<SessionKey, Arc<SessionCredentials>, NotIssued>,
    reports: Reports,
}

impl<C: Cluster, I: IssueSession> Grants<C, I> {
    /// Nothing decided and no session yet.
    pub(super) fn new(
        cluster: C,
        issuer: I,
        authorities: watch::Receiver<String>,
        endpoint: Option<Endpoint>,
        clock: fn() -> Timestamp,
    ) -> Self {
        Grants {
            cluster,
            issuer,
            authorities,
            endpoint,
            clock,
            decisions: Memory::new(DECISIONS, DECISION_LIFE_UNASKED),
            strangers: Memory::new(STRANGERS, DECISION_LIFE),
            strangers_asked_about: Semaphore::new(STRANGERS_ASKED_ABOUT),
            sessions: Memory::new(SESSIONS, SESSION_LIFE),
            reports: Reports::default(),
        }
    }

    /// The container-credentials document for the pod that the token is bound to.
    pub(super) async fn credentials(&self, token: &SecretString) -> Result<SecretString, Unserved> {
        let identity = self.identify(token).await?;
        let destination = self.destination_of(&identity)?;
        grant::may_have_credentials(&destination).map_err(|denial| refused(denial, &identity))?;
        let session = self.session_of(&destination).await.map_err(|failure| match failure {
            NotIssued::Denied(denial) => refused(denial, &identity),
            NotIssued::Unavailable(cause) => Unserved::Unavailable(cause, Subject::from(&*identity)),
        })?;
        let Identity { namespace, pod, uid, destination: name, .. } = &*identity;
        let access_key_id = &session.access_key_id;
        tracing::info!(access_key_id, namespace, pod, uid, destination = name, "credentials served");
        // The CRD admits no other text than a role's ARN.
        let account = destination.spec.role_arn.parse::<RoleARN>().map(|role| role.account).ok();
        Ok(session.to_container_json(account.as_deref()))
    }

    /// What the pod that the token is bound to is told of its destination: as soon as it is news to the caller, and at
    /// `until` though it is none.
    pub(super) async fn news(
        &self,
        token: &SecretString,
        is_news: impl Fn(&DestinationDocument) -> bool,
        until: Instant,
    ) -> Result<DestinationDocument, Unserved> {
        // Before the first look, so that no change is missed between the two.
        let (mut changes, mut authorities) = (self.cluster.changes(), self.authorities.clone());
        loop {
            let identity = self.identify(token).await?;
            let destination = self.destination_of(&identity)?;
            let ca_bundle = authorities.borrow_and_update().clone();
            let document = grant::document(&destination, self.endpoint.as_ref(), &ca_bundle);
            if is_news(&document) {
                return Ok(document);
            }
            // Most changes are of others' destinations.
            let edited = async {
                while changes.changed().await.is_ok() {
                    let now = self.cluster.destination(&identity.namespace, &identity.destination);
                    if !now.is_some_and(|now| Arc::ptr_eq(&now, &destination)) {
                        return;
                    }
                }
            };
            let changed = async {
                tokio::select! {
                    () = edited => {}
                    _ = authorities.changed() => {}
                }
            };
            if timeout_at(until, changed).await.is_err() {
                return Ok(document);
            }
        }
    }

    /// Takes what the pod that the token is bound to says of its own destination. `read` is only polled once the pod
    /// is known.
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
        let Identity { namespace, pod, uid, destination, .. } = &*identity;
        let heard = Heard { pod: pod.clone(), uid: uid.clone(), report, at: (self.clock)() };
        self.reports.take(namespace, destination, heard);
        Ok(Ok(()))
    }

    /// Writes what is reported.
    pub(super) async fn write_reports(&self) -> Infallible {
        self.reports.write(&self.cluster).await
    }

    /// The pod behind a token. Decisions are remembered; a decision to let in outlives an API
    /// server that cannot be asked.
    async fn identify(&self, token: &SecretString) -> Result<Arc<Identity>, Unserved> {
        grant::may_pass(token.expose_secret(), (self.clock)())?;
        let key = hash(token);
        let known = match self.decisions.holds(&key) {
            true => self.decisions.recall(key, self.ask(token)).await,
            false => self.meet(token, key).await,
        };
        match (known.last, known.failure) {
            (Some(decision), None) => {
                decision.outcome.map_err(|(denial, subject)| Unserved::Refused(denial, subject))
            }
            (Some(Decision { asked, outcome: Ok(identity) }), Some(cause))
                if asked.elapsed() < DECISION_LIFE_UNASKED =>
            {
                tracing::warn!(cause, pod = identity.pod, "a known pod is let in on an earlier decision");
                Ok(identity)
            }
            (_, cause) => Err(Unserved::Unavailable(cause.unwrap_or_default(), Subject::default())),
        }
    }

    /// Hears of a token that nobody is known by yet. Whoever makes up tokens waits in one line with others whom we do
    /// not know, and with nobody whom we do.
    async fn meet(&self, token: &SecretString, key: TokenHash) -> Recalled<Decision, String> {
        let ask = async {
            let asked = async {
                let _turn = self.strangers_asked_about.acquire().await.expect("it is never closed");
                self.ask(token).await
            };
            timeout(CLUSTER_TIMEOUT, asked)
                .await
                .unwrap_or_else(|_| Err("too many unknown tokens".to_owned()))
        };
        let met = self.strangers.recall(key, ask).await;
        if let Some(decision) = met.last.as_ref().filter(|decision| decision.outcome.is_ok()) {
            let left = DECISION_LIFE.saturating_sub(decision.asked.elapsed());
            self.decisions.keep(key, decision.clone(), left).await;
        }
        met
    }

    /// A new decision, and for how long it stands.
    async fn ask(&self, token: &SecretString) -> Result<(Decision, Duration), String> {
        let asked = Instant::now();
        match timeout(CLUSTER_TIMEOUT, self.decide(token)).await {
            Ok(Ok(outcome)) => Ok((Decision { asked, outcome }, DECISION_LIFE)),
            Ok(Err(error)) => Err(format!("the API server could not be asked: {error}")),
            Err(_) => Err("the API server did not answer in time".to_owned()),
        }
    }

    /// Asks the API server about a token and the pod behind it.
    async fn decide(&self, token: &SecretString) -> kube::Result<Result<Arc<Identity>, (Denial, Subject)>> {
        let claim = match grant::claimed_pod(&self.cluster.review(token).await?) {
            Ok(claim) => claim,
            Err(denial) => return Ok(Err((denial, Subject::default()))),
        };
        let pod = self.cluster.pod(&claim.namespace, &claim.pod).await?;
        let subject = Subject::from(&claim);
        Ok(grant::identify(claim, pod.as_ref()).map(Arc::new).map_err(|denial| (denial, subject)))
    }

    /// The pod's destination as it is at this moment: nothing of it is remembered.
    fn destination_of(&self, identity: &Identity) -> Result<Arc<RecordingDestination>, Unserved> {
        let found = self.cluster.destination(&identity.namespace, &identity.destination);
        grant::may_use(identity, found).map_err(|denial| refused(denial, identity))
    }

    /// The destination's session: one for all its pods, renewed early. While it cannot be renewed
    /// it is served for as long as it lives.
    async fn session_of(
        &self,
        destination: &RecordingDestination,
    ) -> Result<Arc<SessionCredentials>, NotIssued> {
        let key = SessionKey::from(destination);
        let ask = async {
            let asked = (self.clock)();
            let issued = timeout(ISSUE_TIMEOUT, self.issuer.issue(destination)).await;
            let session = issued.unwrap_or_else(|_| Err(NotIssued::Unavailable("no session in time".into())));
            let session = session.inspect_err(|cause| warn_of(destination, cause))?;
            tell_of(destination, &session);
            let renew = grant::renew_at(asked, session.expiration, rand::random());
            let life = Duration::try_from(renew.duration_since(asked)).unwrap_or_default();
            Ok((Arc::new(session), life))
        };
        let known = self.sessions.recall(key.clone(), ask).await;
        match known.last.filter(|session| grant::is_servable(session.expiration, (self.clock)())) {
            Some(session) => Ok(session),
            None => {
                // The wall clock can run ahead of ours, as after a suspended machine.
                if known.failure.is_none() {
                    self.sessions.forget(&key).await;
                }
                Err(known.failure.unwrap_or_else(|| NotIssued::Unavailable("the session has ended".into())))
            }
        }
    }
}

/// By the access key ID a line here, the sidecar's log and AWS's own records are found to be about the same session.
fn tell_of(destination: &RecordingDestination, session: &SessionCredentials) {
    let (namespace, name) = (&destination.metadata.namespace, &destination.metadata.name);
    let (access_key_id, role) = (&session.access_key_id, &destination.spec.role_arn);
    tracing::info!(access_key_id, namespace, destination = name, role, "session issued");
}

/// Said once for each attempt, also when a session that still lives hides it from the callers.
fn warn_of(destination: &RecordingDestination, cause: &NotIssued) {
    let (namespace, name) = (&destination.metadata.namespace, &destination.metadata.name);
    tracing::warn!(
        namespace,
        destination = name,
        %cause,
        "no new session; one that still lives is served until its end"
    );
}

fn refused(denial: Denial, identity: &Identity) -> Unserved {
    Unserved::Refused(denial, Subject::from(identity))
}

impl From<&PodClaim> for Subject {
    fn from(claim: &PodClaim) -> Self {
        Subject { namespace: claim.namespace.clone(), pod: claim.pod.clone(), destination: String::new() }
    }
}

impl From<&Identity> for Subject {
    fn from(identity: &Identity) -> Self {
        Subject {
            namespace: identity.namespace.clone(),
            pod: identity.pod.clone(),
            destination: identity.destination.clone(),
        }
    }
}
