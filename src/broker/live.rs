//! The broker's ports, on the real cluster and AWS.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use kube::{Client, ResourceExt as _};
use secrecy::SecretString;

use super::ports::{Cluster, IssueSession};
use crate::api::{ExternalIDSecretRef, RecordingDestination, RoleARN, Transition};
use crate::aws::{AssumeRole, Sts};
use crate::cluster::{
    self, CopyAge, DestinationCache, Events, Pods, Subscription, destinations, secrets, tokens,
};
use crate::concurrency::ConcurrencyLimiter;
use crate::domain::delivery::StatusUpdate;
use crate::domain::grant::{self, BoundPod, Denial, NotIssued};
use crate::domain::trust::{Purpose, Writes};
use crate::domain::verdict::SecretObservation;
use crate::secret::{ExternalID, SessionCredentials};

/// Secrets read at the same time.
const READS: usize = 32;
/// Those of one namespace, which leave most reads to others however slow theirs are.
const READS_OF_A_NAMESPACE: usize = 4;

pub(super) struct LiveCluster {
    pub(super) client: Client,
    pub(super) pods: Pods,
    pub(super) destinations: DestinationCache,
    pub(super) events: Events,
}

impl Cluster for LiveCluster {
    async fn review(&self, token: &SecretString) -> cluster::Result<TokenReviewStatus> {
        tokens::review(&self.client, token).await
    }

    async fn pod(&self, namespace: &str, name: &str) -> cluster::Result<Option<BoundPod>> {
        self.pods.get(namespace, name).await
    }

    fn destination(&self, namespace: &str, name: &str) -> Option<Arc<RecordingDestination>> {
        self.destinations.get(namespace, name)
    }

    fn with_uploaders(&self) -> Vec<(String, String)> {
        self.destinations.with_uploaders()
    }

    fn changes(&self, namespace: &str, name: &str) -> Subscription {
        self.destinations.changes(namespace, name)
    }

    fn age(&self) -> CopyAge {
        self.destinations.age()
    }

    async fn write_delivery(
        &self,
        destination: &RecordingDestination,
        update: &StatusUpdate,
    ) -> cluster::Result<bool> {
        let StatusUpdate { uploaders, last_losses, last_upload_time, .. } = update;
        let (uploaders, upload) = (uploaders.as_ref(), last_upload_time.as_ref());
        destinations::write_delivery(&self.client, destination, uploaders, last_losses, upload).await
    }

    async fn announce(
        &self,
        destination: &RecordingDestination,
        transition: &Transition,
    ) -> cluster::Result<()> {
        self.events.publish(destination, transition).await
    }
}

/// Sessions from STS. The External ID is read for each call, and dropped with it.
pub(super) struct LiveSessions {
    secrets: SecretReads,
    sts: Sts,
    writes: Writes,
}

impl LiveSessions {
    pub(super) fn new(client: Client, sts: Sts, writes: Writes) -> Self {
        LiveSessions { secrets: SecretReads::new(client), sts, writes }
    }
}

/// Reads Secrets, a limited number at a time: each takes 64 KiB, and thousands of sessions may begin together.
struct SecretReads {
    client: Client,
    limiter: ConcurrencyLimiter,
}

impl SecretReads {
    fn new(client: Client) -> Self {
        let limiter = ConcurrencyLimiter::per_key(READS_OF_A_NAMESPACE).with_total(READS);
        SecretReads { client, limiter }
    }

    async fn external_id(
        &self,
        namespace: &str,
        reference: &ExternalIDSecretRef,
    ) -> cluster::Result<(SecretObservation, Option<ExternalID>)> {
        let _permit = self.limiter.acquire(namespace).await;
        secrets::external_id(&self.client, namespace, reference).await
    }
}

impl IssueSession for LiveSessions {
    async fn issue(&self, destination: &RecordingDestination) -> Result<SessionCredentials, NotIssued> {
        let spec = &destination.spec;
        let namespace = destination.namespace().unwrap_or_default();
        // The CRD admits no other text than a role's ARN.
        let role: RoleARN =
            spec.role_arn.parse().map_err(|_| NotIssued::Denied(Denial::DestinationNotReady))?;
        let found = self.secrets.external_id(&namespace, &spec.external_id_secret_ref).await;
        let found = found.map_err(|error| NotIssued::Unavailable(error.to_string()))?;
        let (version, external_id) = match found {
            (SecretObservation::Resolved { version, .. }, Some(external_id)) => (version, external_id),
            (SecretObservation::Unreadable(status), _) => {
                let secret = &spec.external_id_secret_ref.name;
                let error = format!("get secret {namespace}/{secret} failed: HTTP {status}");
                return Err(NotIssued::Unavailable(error));
            }
            _ => return Err(NotIssued::Denied(Denial::ExternalIDUnusable)),
        };
        grant::may_send(&version, destination)?;
        let (partition, purpose) = (&role.partition, Purpose::Upload);
        let call = AssumeRole::of(destination, &external_id, partition, purpose, self.writes);
        grant::issued(self.sts.assume_role(call).await)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::num::NonZeroU32;
    use std::path::Path;
    use std::sync::Mutex;

    use futures::FutureExt as _;
    use jiff::Timestamp;
    use kube::client::Body;
    use prometheus_client::registry::Registry;
    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::super::grants::Grants;
    use super::super::sessions::Sessions;
    use super::*;
    use crate::aws::{Connection, CredentialsSource};
    use crate::cluster::{UndecodableObjects, compact};

    /// With the real clients, whose calls are large futures.
    #[tokio::test]
    async fn requests_wait_in_futures_without_room_for_the_calls() {
        let never = tower::service_fn(|_: axum::http::Request<Body>| {
            std::future::pending::<Result<axum::http::Response<Body>, Infallible>>()
        });
        let client = Client::new(never, "default");
        let undecodable = UndecodableObjects::register(&mut Registry::default(), "RecordingDestination");
        let (destinations, _watch) =
            DestinationCache::watch(client.clone(), compact::grants, None, undecodable);
        let (pods, events) = (Pods::new(client.clone()), Events::new(client.clone(), "recording-broker"));
        let cluster = LiveCluster { client: client.clone(), pods, destinations, events };
        let connection = Connection::new(None);
        let key =
            CredentialsSource::Secret.provider(&connection, "us-east-1", Path::new("/nowhere")).unwrap();
        let sts = Sts::new(&connection, "us-east-1", key, NonZeroU32::MIN);
        let issuer = LiveSessions::new(client, sts, Writes::new(false));
        let sessions = Sessions::new(issuer, NonZeroU32::MIN, Timestamp::now);
        let authorities = watch::channel(String::new()).1;
        let grants = Grants::new(cluster, sessions, authorities, None, Timestamp::now);

        let token = SecretString::from("token");
        let poll = size_of_val(&grants.wait_for_change(&token, |_| true, Instant::now()));
        let credentials = size_of_val(&grants.credentials(&token, None));
        assert!(poll < 4096 && credentials < 4096, "{poll} and {credentials} bytes");
    }

    #[tokio::test]
    async fn a_namespace_whose_secrets_do_not_come_leaves_reads_to_others() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = asked.clone();
        let never = tower::service_fn(move |request: axum::http::Request<Body>| {
            paths.lock().unwrap().push(request.uri().path().to_owned());
            std::future::pending::<Result<axum::http::Response<Body>, Infallible>>()
        });
        let reads = SecretReads::new(Client::new(never, "default"));
        let reference = ExternalIDSecretRef { name: "acme".into(), key: "externalID".into() };
        let mut waiting = Vec::new();
        for (namespace, secrets) in [("many", 500), ("one", 1)] {
            for _ in 0..secrets {
                let mut read = Box::pin(reads.external_id(namespace, &reference));
                assert!((&mut read).now_or_never().is_none());
                waiting.push(read);
            }
        }
        tokio::task::yield_now().await;
        waiting.iter_mut().for_each(|read| assert!(read.now_or_never().is_none()));
        let asked = asked.lock().unwrap();
        let of =
            |namespace: &str| asked.iter().filter(|path| path.contains(&format!("/{namespace}/"))).count();
        assert_eq!((of("many"), of("one")), (4, 1));
    }
}
