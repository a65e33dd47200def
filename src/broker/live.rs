//! The broker's ports, on the real cluster and AWS.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use kube::{Client, ResourceExt as _};
use secrecy::SecretString;

use super::ports::{Cluster, IssueSession};
use crate::api::{RecordingDestination, RoleARN, Transition};
use crate::aws::{AssumeRole, Sts};
use crate::cluster::{
    self, CopyAge, DestinationCache, Events, Pods, Subscription, destinations, secrets, tokens,
};
use crate::domain::delivery::StatusUpdate;
use crate::domain::grant::{self, BoundPod, Denial, NotIssued};
use crate::domain::trust::Purpose;
use crate::domain::verdict::SecretObservation;
use crate::secret::SessionCredentials;

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
        let (uploaders, upload) = (update.uploaders.as_ref(), update.last_upload_time.as_ref());
        destinations::write_delivery(&self.client, destination, uploaders, upload).await
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
    pub(super) client: Client,
    pub(super) sts: Sts,
}

impl IssueSession for LiveSessions {
    async fn issue(&self, destination: &RecordingDestination) -> Result<SessionCredentials, NotIssued> {
        let spec = &destination.spec;
        let namespace = destination.namespace().unwrap_or_default();
        // The CRD admits no other text than a role's ARN.
        let role: RoleARN =
            spec.role_arn.parse().map_err(|_| NotIssued::Denied(Denial::DestinationNotReady))?;
        let found = secrets::external_id(&self.client, &namespace, &spec.external_id_secret_ref).await;
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
        let call = AssumeRole::of(destination, &external_id, &role.partition, Purpose::Upload);
        grant::issued(self.sts.assume_role(call).await)
    }
}
