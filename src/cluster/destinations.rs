//! Destinations: read, and status written.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::api::{CONTROLLER_FIELD_MANAGER, RecordingDestination, RecordingDestinationStatus};

/// Destinations of all namespaces, to watch.
pub fn everywhere(client: &Client) -> Api<RecordingDestination> {
    Api::all(client.clone())
}

/// Whether the API server has a destination of that name.
pub async fn exists(client: &Client, namespace: &str, name: &str) -> kube::Result<bool> {
    let api = Api::<RecordingDestination>::namespaced(client.clone(), namespace);
    Ok(api.get_metadata_opt(name).await?.is_some())
}

/// The destination as the API server has it now; `None` when it is gone, or when another has
/// taken its name.
pub async fn fresh(
    client: &Client,
    seen: &RecordingDestination,
) -> kube::Result<Option<RecordingDestination>> {
    let found = api(client, seen).get_opt(&seen.name_any()).await?;
    Ok(found.filter(|found| found.metadata.uid == seen.metadata.uid))
}

/// Server-side-applies the controller's part of the status and returns the destination with it.
pub async fn apply_status(
    client: &Client,
    destination: &RecordingDestination,
    status: &RecordingDestinationStatus,
) -> kube::Result<RecordingDestination> {
    let patch = json!({
        "apiVersion": <RecordingDestination as kube::Resource>::api_version(&()),
        "kind": <RecordingDestination as kube::Resource>::kind(&()),
        // With the UID, a namesake that was created meanwhile is a conflict, not a victim.
        "metadata": {"name": destination.name_any(), "uid": destination.metadata.uid},
        "status": status,
    });
    let params = PatchParams::apply(CONTROLLER_FIELD_MANAGER).force();
    api(client, destination).patch_status(&destination.name_any(), &params, &Patch::Apply(patch)).await
}

fn api(client: &Client, destination: &RecordingDestination) -> Api<RecordingDestination> {
    Api::namespaced(client.clone(), destination.metadata.namespace.as_deref().unwrap_or_default())
}
