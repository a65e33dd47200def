//! Requests and limits of the sidecar in namespaces that ask for some.

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::Tenant;

/// A recorder with limits of its own, and these annotations for its sidecar.
fn recorder(tenant: &Tenant, name: &str, annotations: &[(&str, &str)]) -> Value {
    let mut pod = tenant.recorder(name);
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "100m", "memory": "64Mi"}});
    for (name, value) in annotations {
        pod["metadata"]["annotations"][format!("recordings.revenue.io/sidecar-{name}")] = json!(value);
    }
    pod
}

fn limits(tenant: &Tenant, pod: &str) -> Value {
    let pod = tenant.get(&["pod", pod]).unwrap();
    pod["spec"]["initContainers"][0]["resources"]["limits"].clone()
}

#[test]
fn where_a_quota_asks_for_a_cpu_limit_an_annotation_gives_one() {
    environment_or_skip!();
    let tenant = Tenant::new("quota");
    tenant.apply_destination("acme", json!({}));
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "limits"},
        "spec": {"hard": {"limits.cpu": "8", "limits.memory": "8Gi"}}});
    tenant.apply(&quota).expect_ok();
    let refused = tenant.apply(&recorder(&tenant, "without", &[]));
    assert!(!refused.ok && refused.stderr.contains("must specify limits.cpu"), "{}", refused.stderr);
    let annotations = [("cpu-limit", "500m"), ("memory-limit", "128Mi"), ("log-level", "debug")];
    tenant.start(&recorder(&tenant, "with", &annotations));
    assert_eq!(limits(&tenant, "with"), json!({"cpu": "500m", "memory": "128Mi"}));
    let debugs = || tenant.kubectl(&["logs", "with", "--container=recording-uploader"]);
    assert!(debugs().ok, "{}", debugs().stderr);
}

#[test]
fn amounts_up_to_the_bounds_are_admitted_and_beyond_them_refused() {
    environment_or_skip!();
    let tenant = Tenant::new("bounds");
    tenant.apply_destination("acme", json!({}));
    for (name, annotation, value, says) in [
        ("a", "cpu-limit", "4", None),
        ("b", "cpu-limit", "5", Some("at most 4")),
        ("c", "memory-limit", "64Mi", None),
        ("d", "memory-limit", "63Mi", Some("no less than 64Mi")),
        ("e", "memory-request", "512Mi", Some("more than the sidecar's limit of 256Mi")),
        ("f", "log-level", "trace", Some("set it to error, warn, info or debug")),
    ] {
        let done = tenant.apply(&recorder(&tenant, name, &[(annotation, value)]));
        assert_eq!(done.ok, says.is_none(), "{annotation} {value}: {}", done.stderr);
        assert!(says.is_none_or(|says| done.stderr.contains(says)), "{annotation} {value}: {}", done.stderr);
    }
}

#[test]
fn what_a_limit_range_gives_the_sidecar_is_brought_within_the_bounds() {
    environment_or_skip!();
    let tenant = Tenant::new("limit-range");
    tenant.apply_destination("acme", json!({}));
    for (name, default, expected) in [("usual", "200m", "200m"), ("much", "64", "4")] {
        let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"},
            "spec": {"limits": [{"type": "Container", "default": {"cpu": default}, "defaultRequest": {"cpu": "10m"}}]}});
        tenant.apply(&range).expect_ok();
        tenant.apply(&recorder(&tenant, name, &[])).expect_ok();
        assert_eq!(limits(&tenant, name)["cpu"], expected, "{default}");
    }
}

#[test]
fn the_sidecar_is_told_what_volume_its_spool_is_on() {
    environment_or_skip!();
    let tenant = Tenant::new("volume");
    tenant.apply_destination("acme", json!({}));
    let mut pod = tenant.recorder("sized");
    pod["spec"]["volumes"] = json!([{"name": "recordings", "emptyDir": {"sizeLimit": "100Mi"}}]);
    tenant.apply(&pod).expect_ok();
    let pod = tenant.get(&["pod", "sized"]).unwrap();
    let variables = pod["spec"]["initContainers"][0]["env"].as_array().unwrap();
    let value = |name: &str| variables.iter().find(|it| it["name"] == name).map(|it| it["value"].clone());
    assert_eq!(value("RECORDINGS_SPOOL_VOLUME"), Some(json!("emptyDir")));
    assert_eq!(value("RECORDINGS_SPOOL_SIZE_LIMIT"), Some(json!("104857600")));
}
