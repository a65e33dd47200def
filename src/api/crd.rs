//! The CustomResourceDefinition, as it is written to `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt as _;

use super::RecordingDestination;

/// The CustomResourceDefinition of [`RecordingDestination`].
pub fn crd() -> CustomResourceDefinition {
    let mut crd = RecordingDestination::crd();
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        // kstatus calls an object without conditions current; a generation that cannot be makes it wait for us.
        if let Some(status) = status {
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
        }
    }
    crd
}
