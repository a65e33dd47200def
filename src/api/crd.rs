//! The CustomResourceDefinition, as it is written to `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::destination::RecordingDestination;

/// The CustomResourceDefinition of [`RecordingDestination`].
pub fn crd() -> CustomResourceDefinition {
    let mut crd = serde_json::to_value(RecordingDestination::crd()).expect("a CRD serializes");
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        refuse_null(schema);
        // kstatus takes an object without conditions for current; an impossible generation makes it wait for the controller.
        schema["properties"]["status"]["default"] = json!({"observedGeneration": -1});
    }
    serde_json::from_value(crd).expect("what was a CRD still is one")
}

/// An optional field is absent, not null: the API server then drops a null, and CEL rules never see one.
fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("nullable");
            if let Some(Value::Array(values)) = fields.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            fields.values_mut().for_each(refuse_null);
        }
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        _ => {}
    }
}
