//! Every field, port, policy and right to write that the product has, and the test that attacks it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{leaves, spec_schema};
use crate::environment_or_skip;
use crate::support::{Tenant, get, repository};

/// What is attacked → the test that does it.
type Cases = &'static [(&'static str, &'static str)];

/// A field that names something that others may own is tried against other namespaces; every field is tried at its
/// bounds.
const FIELDS: Cases = &[
    ("bucket", "a_name_of_anothers_gives_nothing_away"),
    ("encryption.kmsKeyARN", "a_name_of_anothers_gives_nothing_away"),
    ("encryption.type", "each_field_is_accepted_at_its_bound_and_refused_beyond"),
    ("expectedBucketOwner", "a_name_of_anothers_gives_nothing_away"),
    ("externalIDSecretRef.key", "a_name_of_anothers_gives_nothing_away"),
    ("externalIDSecretRef.name", "a_name_of_anothers_gives_nothing_away"),
    ("objectACL", "each_field_is_accepted_at_its_bound_and_refused_beyond"),
    ("prefix", "a_later_claim_is_refused_until_the_first_is_deleted"),
    ("region", "each_field_is_accepted_at_its_bound_and_refused_beyond"),
    ("roleARN", "a_name_of_anothers_gives_nothing_away"),
    ("serviceAccountNames", "a_pod_never_gets_another_namespaces_destination_of_the_same_name"),
    ("sessionDurationSeconds", "each_field_is_accepted_at_its_bound_and_refused_beyond"),
    ("storageClass", "each_field_is_accepted_at_its_bound_and_refused_beyond"),
    ("suspend", "each_field_is_accepted_at_its_bound_and_refused_beyond"),
    ("validation.enforcementIntervalSeconds", "each_field_is_accepted_at_its_bound_and_refused_beyond"),
    ("validation.intervalSeconds", "each_field_is_accepted_at_its_bound_and_refused_beyond"),
];

/// Ports of the operator's pods and of the sidecar.
const PORTS: Cases = &[
    ("broker https 8443", "only_the_token_of_a_live_injected_pod_is_accepted"),
    ("broker metrics 8080", "floods_of_every_port_restart_no_pod"),
    ("controller metrics 8080", "floods_of_every_port_restart_no_pod"),
    ("recording-uploader uploader-http 19095", "floods_of_every_port_restart_no_pod"),
    ("webhook https 8443", "floods_of_every_port_restart_no_pod"),
    ("webhook metrics 8080", "floods_of_every_port_restart_no_pod"),
];

/// Admission policies, with the number of their rules.
const POLICIES: Cases = &[
    (
        "recording-operator-account-binding 1",
        "anyone_with_rbac_may_edit_namespaces_except_the_binding_annotation",
    ),
    ("recording-operator-controller-events 1", "neither_controller_nor_broker_writes_events_of_others"),
    ("recording-operator-controller-secrets 1", "the_controller_writes_no_secrets_but_its_own_and_no_tokens"),
    ("recording-operator-controller-webhooks 2", "the_controller_changes_only_ca_and_path_of_its_webhook"),
    ("recording-operator-debuggers 3", "a_debug_container_may_target_the_recorder_but_not_the_sidecar"),
    (
        "recording-operator-destination-metadata 5",
        "metadata_that_fills_memories_is_refused_and_what_people_write_is_not",
    ),
    ("recording-operator-identity 3", "label_annotations_and_sidecar_of_a_running_pod_cannot_be_changed"),
    ("recording-operator-label 1", "a_label_that_asks_for_nothing_is_refused_and_its_pods_end_in_peace"),
    ("recording-operator-sidecar 8", "a_new_pod_with_an_altered_sidecar_is_refused_with_the_reason"),
    ("recording-operator-status-writers 2", "anyone_with_rbac_may_edit_destinations_except_the_status"),
    ("recording-operator-unlabelled 5", "whoever_applies_annotations_without_the_label_is_warned"),
];

/// Rights that change something, by the role that has them.
const RIGHTS: Cases = &[
    ("broker create events", "neither_controller_nor_broker_writes_events_of_others"),
    ("broker create tokenreviews", "only_the_token_of_a_live_injected_pod_is_accepted"),
    ("broker patch events", "neither_controller_nor_broker_writes_events_of_others"),
    ("broker patch recordingdestinations/status", "anyone_with_rbac_may_edit_destinations_except_the_status"),
    ("controller create events", "neither_controller_nor_broker_writes_events_of_others"),
    ("controller patch events", "neither_controller_nor_broker_writes_events_of_others"),
    (
        "controller patch mutatingwebhookconfigurations",
        "the_controller_changes_only_ca_and_path_of_its_webhook",
    ),
    (
        "controller patch recordingdestinations/status",
        "anyone_with_rbac_may_edit_destinations_except_the_status",
    ),
    ("controller-certificates create secrets", "the_controller_writes_no_secrets_but_its_own_and_no_tokens"),
    ("controller-certificates patch secrets", "the_controller_writes_no_secrets_but_its_own_and_no_tokens"),
    ("controller-certificates update secrets", "the_controller_writes_no_secrets_but_its_own_and_no_tokens"),
];

/// Fails with what is there and has no case, and with cases of what is not there.
fn assert_covered(what: &str, found: BTreeSet<String>, cases: Cases) {
    let covered: BTreeSet<String> = cases.iter().map(|(attacked, _)| (*attacked).to_owned()).collect();
    assert_eq!(found, covered, "left: the {what} that there are; right: those with a case in {}", file!());
    let tests = names_of_tests(&repository().join("tests"));
    for (attacked, test) in cases {
        assert!(tests.contains(*test), "{attacked}: there is no test {test}");
    }
}

fn names_of_tests(below: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(names_of_tests(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let functions = text.split("#[test]\nfn ").skip(1);
            names.extend(functions.filter_map(|function| Some(function.split_once('(')?.0.to_owned())));
        }
    }
    names
}

fn of_release(kind: &str) -> Vec<Value> {
    let listed =
        get(&[kind, "--all-namespaces", "--selector=app.kubernetes.io/name=recording-operator"]).unwrap();
    listed["items"].as_array().unwrap().clone()
}

fn ports_of<'a>(component: &'a str, container: &'a Value) -> impl Iterator<Item = String> + 'a {
    let ports = container["ports"].as_array().into_iter().flatten();
    ports.map(move |port| {
        format!("{component} {} {}", port["name"].as_str().unwrap_or("-"), port["containerPort"])
    })
}

#[test]
fn every_field_port_policy_and_right_has_a_test_that_attacks_it() {
    environment_or_skip!();
    let fields = leaves("", &spec_schema()).into_iter().map(|(path, _)| path).collect();
    assert_covered("fields", fields, FIELDS);

    let mut ports = BTreeSet::new();
    for deployment in of_release("deployments") {
        let component =
            deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"].clone();
        for container in deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap() {
            ports.extend(ports_of(component.as_str().unwrap(), container));
        }
    }
    let tenant = Tenant::new("inventory");
    tenant.apply_destination("acme", serde_json::json!({}));
    tenant.apply(&tenant.recorder("recorder")).expect_ok();
    let pod = tenant.get(&["pod", "recorder"]).unwrap();
    ports.extend(ports_of("recording-uploader", &pod["spec"]["initContainers"][0]));
    assert_covered("ports", ports, PORTS);

    let policies = of_release("validatingadmissionpolicies").into_iter().map(|policy| {
        let rules = policy["spec"]["validations"].as_array().unwrap().len();
        format!("{} {rules}", policy["metadata"]["name"].as_str().unwrap())
    });
    assert_covered("policies", policies.collect(), POLICIES);

    let roles = [of_release("clusterroles"), of_release("roles")].concat();
    let writes = roles.iter().flat_map(|role| {
        let name = role["metadata"]["name"].as_str().unwrap().trim_start_matches("recording-operator-");
        // Whom the roles of users let edit destinations is their cluster's own matter.
        let ours = ["controller", "broker", "webhook"].iter().any(|component| name.starts_with(component));
        let rules = role["rules"].as_array().unwrap().iter().filter(move |_| ours);
        rules.flat_map(move |rule| {
            let words = |field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).unwrap() };
            let verbs =
                words("verbs").into_iter().filter(|verb| !["get", "list", "watch"].contains(&verb.as_str()));
            let resources = words("resources");
            verbs.flat_map(move |verb| {
                resources.clone().into_iter().map(move |it| format!("{name} {verb} {it}"))
            })
        })
    });
    assert_covered("rights", writes.collect(), RIGHTS);
}
