//! Files that are made from the code are what the code makes.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_crd_file_is_what_the_types_say() {
    let made = serde_yaml::to_string(&recording_operator::api::crd()).unwrap();
    assert!(read("crds/recordingdestinations.yaml") == made, "crds/ is stale: run `make generate`");
}

#[test]
fn the_chart_carries_the_same_crd() {
    let chart = read("charts/recording-operator/files/crds/recordingdestinations.yaml");
    assert!(
        chart == read("crds/recordingdestinations.yaml"),
        "the chart's CRD is stale: run `make generate`"
    );
}
