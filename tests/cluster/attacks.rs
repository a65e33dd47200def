//! What tenants and strangers may try, generated from the CRD and the installed chart: a new field, port, policy or
//! right without a case fails the suite.

mod bounds;
mod inventory;
mod names;

use serde_json::Value;

use crate::support::get;

/// The schema of a destination's spec, as the API server has it.
fn spec_schema() -> Value {
    let crd = get(&["customresourcedefinition", "recordingdestinations.recordings.revenue.io"]).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// Each field of a schema that holds a value, by its path: `externalIDSecretRef.name`. A list is one field.
fn leaves(path: &str, schema: &Value) -> Vec<(String, Value)> {
    let Some(properties) = schema["properties"].as_object() else {
        return vec![(path.to_owned(), schema.clone())];
    };
    let below = properties.iter().flat_map(|(name, field)| {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        leaves(&path, field)
    });
    below.collect()
}
