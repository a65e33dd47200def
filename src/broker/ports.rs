//! What the broker needs from outside: the cluster, and sessions of customers' roles.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use secrecy::SecretString;

use crate::api::{RecordingDestination, Transition};
use crate::cluster::{self, CopyAge, Subscription};
use crate::domain::delivery::StatusUpdate;
use crate::domain::grant::{BoundPod, NotIssued};
use crate::secret::SessionCredentials;

/// The Kubernetes API, as far as the broker needs it.
pub(super) trait Cluster: Send + Sync + 'static {
    /// Has the API server review a token.
    fn review(&self, token: &SecretString)
    -> impl Future<Output = cluster::Result<TokenReviewStatus>> + Send;

    /// The pod as the API server has it now.
    fn pod(
        &self,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = cluster::Result<Option<BoundPod>>> + Send;

    /// The destination as the watch last saw it. It is read at every request, so it must not wait.
    fn destination(&self, namespace: &str, name: &str) -> Option<Arc<RecordingDestination>>;

    /// Namespace and name of the destinations of which the status names uploaders.
    fn with_uploaders(&self) -> Vec<(String, String)>;

    /// Notified of every change of that destination.
    fn changes(&self, namespace: &str, name: &str) -> Subscription;

    /// How old what `destination` returns is.
    fn age(&self) -> CopyAge;

    /// Writes what uploaders have reported; `false` when the destination has changed since it was seen.
    fn write_delivery(
        &self,
        destination: &RecordingDestination,
        update: &StatusUpdate,
    ) -> impl Future<Output = cluster::Result<bool>> + Send;

    /// Raises an Event on a destination.
    fn announce(
        &self,
        destination: &RecordingDestination,
        transition: &Transition,
    ) -> impl Future<Output = cluster::Result<()>> + Send;
}

/// Issues sessions of customers' roles.
pub(super) trait IssueSession: Send + Sync + 'static {
    /// A new session of the destination's role, bounded to what its uploaders may do.
    fn issue(
        &self,
        destination: &RecordingDestination,
    ) -> impl Future<Output = Result<SessionCredentials, NotIssued>> + Send;
}
