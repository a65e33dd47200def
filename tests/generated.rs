//! Files that are made from the code are what the code makes.

use std::fs;
use std::path::Path;

use recording_operator::api::{Reason, Side};
use strum::IntoEnumIterator as _;

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

/// Reasons stand in the README by who can do something about them, as `kubectl recordings` says it.
#[test]
fn the_readme_says_of_each_reason_whose_it_is() {
    let rows = [
        ("| the customer's |", Side::Customer),
        ("| the tenant's YAML |", Side::Tenant),
        ("| the platform's |", Side::Platform),
        ("| nobody's, it is tried again |", Side::Nobody),
        ("| the pod's |", Side::Pod),
    ];
    let readme = read("README.md");
    let words = |row: &str| {
        let line =
            readme.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("no row {row}"));
        line.split('`').filter_map(|word| word.parse::<Reason>().ok()).collect::<Vec<_>>()
    };
    for (row, side) in rows {
        let listed = words(row);
        for reason in Reason::iter() {
            // No condition depends on it.
            let is_said = reason.side() == Some(side) && reason != Reason::DeleteObjectDenied;
            assert_eq!(listed.contains(&reason), is_said, "{reason} in the row {row}");
        }
    }
}
