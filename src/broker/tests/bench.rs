//! A broker whose cluster and STS the test controls. Time is tokio's, paused.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::super::grants::Grants;
use super::super::metrics::Requests;
use super::super::ports::{Cluster, IssueSession};
use super::super::routes::{Broker, router};
use super::super::sessions::Sessions;
use crate::api::{CREDENTIALS_PATH, REPORT_PATH, RecordingDestination, Transition};
use crate::cluster::{self, CallError, CopyAge, KeyedChanges, Subscription};
use crate::domain::delivery::StatusUpdate;
use crate::domain::grant::{self, BoundPod, NotIssued};
use crate::secret::SessionCredentials;
use crate::serve::Caller;
use crate::telemetry::{LineLimit, Metrics};

/// The API server and STS of a test. [`spelled`] makes the tokens.
#[derive(Default)]
pub(super) struct World {
    pub(super) away: AtomicBool,
    pub(super) reviews: AtomicUsize,
    pub(super) review_takes: Mutex<Duration>,
    pub(super) pods: Mutex<HashMap<String, Value>>,
    pub(super) destination: Mutex<Option<Arc<RecordingDestination>>>,
    pub(super) changed: KeyedChanges,
    /// Of the copy of the destinations.
    pub(super) age: Mutex<CopyAge>,
    /// Writes of reports, and how many of the next run into a change.
    pub(super) writes: AtomicUsize,
    pub(super) write_conflicts: AtomicUsize,
    /// Reasons of the Events raised.
    pub(super) announced: Mutex<Vec<String>>,
    /// Of the Secret with the External ID.
    pub(super) secret_version: Mutex<String>,
    /// Why STS grants nothing; `None` when it does.
    pub(super) sts_fails: Mutex<Option<NotIssued>>,
    pub(super) session_seconds: AtomicUsize,
    pub(super) assumed: AtomicUsize,
    /// How long AssumeRole takes, its wait for the rate included.
    pub(super) sts_takes: Mutex<Duration>,
}

pub(super) struct Fake(Arc<World>);

/// Namespace and name of the destination.
pub(super) fn acme() -> (String, String) {
    ("tenant-acme".to_owned(), "acme".to_owned())
}

impl Cluster for Fake {
    async fn review(&self, token: &SecretString) -> cluster::Result<TokenReviewStatus> {
        self.0.reviews.fetch_add(1, SeqCst);
        let takes = *self.0.review_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        if self.0.away.load(SeqCst) {
            let error = kube::Error::Service("connection refused".into());
            return Err(CallError::cluster_wide("create", "tokenreview", "", error));
        }
        let (claims, signature) = token.expose_secret().rsplit_once('.').unwrap();
        if signature != SIGNATURE {
            return Ok(TokenReviewStatus::default());
        }
        let claims = URL_SAFE_NO_PAD.decode(claims.split('.').next_back().unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let pod = &claims["kubernetes.io"]["pod"];
        Ok(serde_json::from_value(json!({
            "authenticated": true,
            "audiences": ["recordings.revenue.io"],
            "user": {
                "username": claims["sub"],
                "extra": {
                    "authentication.kubernetes.io/pod-name": [pod["name"]],
                    "authentication.kubernetes.io/pod-uid": [pod["uid"]],
                },
            },
        }))
        .unwrap())
    }

    async fn pod(&self, namespace: &str, name: &str) -> cluster::Result<Option<BoundPod>> {
        assert_eq!(namespace, "tenant-acme");
        let pods = self.0.pods.lock().unwrap();
        let pod = pods.get(name).map(|pod| BoundPod::from_json(pod.to_string().as_bytes())).transpose();
        pod.map_err(|error| CallError::on("get", "pod", namespace, name, kube::Error::SerdeError(error)))
    }

    fn destination(&self, namespace: &str, name: &str) -> Option<Arc<RecordingDestination>> {
        assert_eq!(namespace, "tenant-acme");
        self.0.destination.lock().unwrap().clone().filter(|_| name == "acme")
    }

    fn with_uploaders(&self) -> Vec<(String, String)> {
        let destination = self.0.destination.lock().unwrap().clone();
        let has_uploaders =
            destination.is_some_and(|it| it.status.as_ref().is_some_and(|it| it.uploaders.is_some()));
        has_uploaders.then(acme).into_iter().collect()
    }

    fn changes(&self, namespace: &str, name: &str) -> Subscription {
        self.0.changed.subscribe(namespace, name)
    }

    fn age(&self) -> CopyAge {
        *self.0.age.lock().unwrap()
    }

    async fn write_delivery(
        &self,
        seen: &RecordingDestination,
        update: &StatusUpdate,
    ) -> cluster::Result<bool> {
        self.0.writes.fetch_add(1, SeqCst);
        if self.0.write_conflicts.load(SeqCst) > 0 {
            self.0.write_conflicts.fetch_sub(1, SeqCst);
            return Ok(false);
        }
        let mut written = seen.clone();
        let status = written.status.as_mut().unwrap();
        status.uploaders.clone_from(&update.uploaders);
        status.last_upload_time.clone_from(&update.last_upload_time);
        status.last_losses.clone_from(&update.last_losses);
        *self.0.destination.lock().unwrap() = Some(Arc::new(written));
        self.0.changed.notify(&acme());
        Ok(true)
    }

    async fn announce(&self, _: &RecordingDestination, transition: &Transition) -> cluster::Result<()> {
        self.0.announced.lock().unwrap().push(transition.reason.clone());
        Ok(())
    }
}

impl IssueSession for Fake {
    async fn issue(&self, destination: &RecordingDestination) -> Result<SessionCredentials, NotIssued> {
        grant::may_send(&self.0.secret_version.lock().unwrap(), destination)?;
        let number = self.0.assumed.fetch_add(1, SeqCst) + 1;
        let takes = *self.0.sts_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        match self.0.sts_fails.lock().unwrap().clone() {
            Some(failure) => Err(failure),
            None => Ok(SessionCredentials {
                access_key_id: format!("ASIA{number}"),
                secret_access_key: "secret".into(),
                session_token: "session token".into(),
                expiration: now() + SignedDuration::from_secs(self.0.session_seconds.load(SeqCst) as i64),
            }),
        }
    }
}

/// What the API server signs with.
const SIGNATURE: &str = "c2lnbmVk";

/// The token that a test calls `token-of-` and the name of a pod, or `forged-` and anything; else the very text.
pub(super) fn spelled(token: &str) -> String {
    let (pod, signature) = match (token.strip_prefix("token-of-"), token.strip_prefix("forged")) {
        (Some(pod), _) => (pod, SIGNATURE),
        (None, Some(which)) => (which.trim_start_matches('-'), "Zm9yZ2Vk"),
        (None, None) => return token.to_owned(),
    };
    encoded(&claims(pod), signature)
}

/// The token of `recorder-0`, with `change` merged over what it says.
pub(super) fn signed(change: Value) -> String {
    let mut claims = claims("recorder-0");
    json_patch::merge(&mut claims, &change);
    encoded(&claims, SIGNATURE)
}

fn claims(pod: &str) -> Value {
    json!({
        "aud": ["recordings.revenue.io"], "exp": 4_000_000_000_u32, "sub": "system:serviceaccount:tenant-acme:recorder",
        "kubernetes.io": {"pod": {"name": pod, "uid": format!("uid-of-{pod}")}},
    })
}

fn encoded(claims: &Value, signature: &str) -> String {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.{signature}", part(&json!({"alg": "RS256"})), part(claims))
}

/// The wall clock, moved on by as much as tokio's was.
pub(super) fn now() -> Timestamp {
    let moved = tokio::time::Instant::now().into_std().saturating_duration_since(std::time::Instant::now());
    Timestamp::now() + SignedDuration::try_from(moved).unwrap()
}

/// An answer as the caller sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

pub(super) struct Bench {
    pub(super) broker: Arc<Broker<Fake, Fake>>,
    pub(super) world: Arc<World>,
    app: Router,
    pub(super) metrics: Metrics,
    pub(super) authorities: watch::Sender<String>,
}

impl Bench {
    /// A live, injected pod `recorder-0` and its proved destination.
    pub(super) fn new() -> Self {
        let world = Arc::new(World {
            session_seconds: 3600.into(),
            sts_takes: Mutex::new(Duration::from_millis(50)),
            secret_version: Mutex::new("812".to_owned()),
            ..World::default()
        });
        let (authorities, receiver) = watch::channel("the CA".to_owned());
        let mut registry = Registry::default();
        let requests = Requests::register(&mut registry);
        let fake = || Fake(world.clone());
        let sessions = Sessions::new(fake(), NonZeroU32::new(50).unwrap(), now);
        let grants = Grants::new(fake(), sessions, receiver, None, now);
        let broker = Arc::new(Broker { grants, requests, strangers: LineLimit::new(100) });
        let app = router(broker.clone());
        let reporting = broker.clone();
        tokio::spawn(async move { reporting.grants.write_reports().await });
        let bench = Bench { world, broker, app, metrics: Metrics::new(registry), authorities };
        bench.set_pod("recorder-0", json!({}));
        bench.set_destination(json!({}));
        bench
    }

    /// Puts a pod there, with `change` merged over what makes it acceptable.
    pub(super) fn set_pod(&self, name: &str, change: Value) {
        let mut pod = json!({
            "metadata": {
                "namespace": "tenant-acme",
                "name": name,
                "uid": format!("uid-of-{name}"),
                "labels": {"recordings.revenue.io/inject": "true"},
                "annotations": {"recordings.revenue.io/destination": "acme"},
            },
            "spec": {
                "serviceAccountName": "recorder",
                "containers": [],
                "initContainers": [{
                    "name": "recording-uploader", "restartPolicy": "Always", "command": ["/recording-uploader"],
                }],
            },
            "status": {"phase": "Running"},
        });
        json_patch::merge(&mut pod, &change);
        self.world.pods.lock().unwrap().insert(name.to_owned(), pod);
    }

    /// Puts the destination there, likewise.
    pub(super) fn set_destination(&self, change: Value) {
        let mut destination = json!({
            "apiVersion": "recordings.revenue.io/v1alpha1",
            "kind": "RecordingDestination",
            "metadata": {"namespace": "tenant-acme", "name": "acme", "uid": "uid-of-acme", "generation": 3},
            "spec": {
                "bucket": "acme-recordings",
                "region": "us-east-1",
                "roleARN": "arn:aws:iam::111111111111:role/revenue-call-recording-writer",
                "externalIDSecretRef": {"name": "acme-external-id"},
            },
            "status": {
                "observedGeneration": 3,
                "externalIDSecretVersion": "812",
                "conditions": [ready("True")],
            },
        });
        json_patch::merge(&mut destination, &change);
        let destination = Arc::new(serde_json::from_value(destination).unwrap());
        *self.world.destination.lock().unwrap() = Some(destination);
        self.world.changed.notify(&acme());
    }

    /// Sends it on a connection of its own, from an address of its own.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Seen {
        static ADDRESSES: AtomicU32 = AtomicU32::new(0);
        let address = Ipv4Addr::from_bits(ADDRESSES.fetch_add(1, SeqCst));
        request.extensions_mut().insert(Caller::stranger(address.into()));
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Seen { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Seen {
        self.send(request(path, token).body(Body::empty()).unwrap()).await
    }

    /// Requests credentials as `recorder-0`: the access key ID, or the status of the refusal.
    pub(super) async fn key(&self) -> Result<String, StatusCode> {
        let seen = self.get(CREDENTIALS_PATH, "token-of-recorder-0").await;
        if seen.status != StatusCode::OK {
            return Err(seen.status);
        }
        let document: Value = serde_json::from_str(&seen.body).unwrap();
        Ok(document["AccessKeyId"].as_str().unwrap().to_owned())
    }

    /// Reports as the pod of that token.
    pub(super) async fn report(&self, token: &str, body: impl Into<Body>) -> Seen {
        let request =
            Request::post(REPORT_PATH).header("authorization", format!("Bearer {}", spelled(token)));
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(super) fn counted(&self, result: &str, times: usize) {
        self.shows(&format!("recording_operator_broker_requests_total{{result=\"{result}\"}} {times}\n"));
    }

    pub(super) fn shows(&self, line: &str) {
        let text = self.metrics.render();
        assert!(text.contains(line), "{line}{text}");
    }
}

pub(super) fn request(path: &str, token: &str) -> axum::http::request::Builder {
    Request::get(path).header("authorization", format!("Bearer {}", spelled(token)))
}

pub(super) fn ready(status: &str) -> Value {
    json!({
        "type": "Ready", "status": status, "reason": "R", "message": "M",
        "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}
