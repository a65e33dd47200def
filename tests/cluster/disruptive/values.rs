//! What the chart's values change in a release that runs.

use std::time::Duration;

use serde_json::{Value, json};

use super::lifecycle::{PRESENT, Values};
use crate::environment_or_skip;
use crate::ordinary_users::Actor;
use crate::ordinary_users::namespaces::check_who_binds;
use crate::support::Tenant;

#[test]
fn only_the_groups_in_the_charts_value_bind_namespaces() {
    environment_or_skip!();
    let values = Values::of_release();
    let groups = r#"--set-json=tenancy.bindingGroups=["platform-admins", "o'brien's \"team\""]"#;
    values.install(PRESENT, &[groups]).expect_ok();
    for group in ["platform-admins", "o'brien's \"team\""] {
        let developer = Actor::user("namespace-developer").in_group("system:masters");
        check_who_binds(&developer, &Actor::user("binder").in_group(group));
    }
}

#[test]
fn the_newest_destinations_beyond_the_charts_limit_are_told_and_not_validated() {
    environment_or_skip!();
    let values = Values::of_release();
    values.install(PRESENT, &["--set=destinations.maxPerNamespace=2"]).expect_ok();
    let tenant = Tenant::new("crowded");
    tenant.apply_secret(&tenant.external_id);
    for name in ["first", "second", "third"] {
        tenant.apply_destination(name, json!({"prefix": format!("{name}/")}));
        // Creation times are whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
    }
    tenant.wait_reason("third", "False", "TooManyDestinations");
    let version =
        || tenant.get(&["recordingdestination", "third"]).unwrap()["metadata"]["resourceVersion"].clone();
    let written = version();
    tenant.wait_ready("first");
    tenant.wait_ready("second");
    assert!(tenant.describe().contains("destinations.maxPerNamespace"), "the remedy");
    assert_eq!(tenant.condition("third", "RoleAssumable").unwrap()["reason"], "NotEvaluated");
    assert_eq!(version(), written, "its status is written once");

    tenant.kubectl(&["delete", "recordingdestination", "first"]).expect_ok();
    tenant.wait_ready("third");
}

#[test]
fn under_enforcement_warn_an_open_role_is_ready_with_a_warning() {
    environment_or_skip!();
    let tenant = Tenant::new("tolerated");
    tenant.customer(&["trust-open"]).expect_ok();
    tenant.apply_secret(&tenant.external_id);
    tenant.apply_destination("acme", json!({}));
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");

    let values = Values::of_release();
    values.install(PRESENT, &["--set=enforcement=warn"]).expect_ok();
    tenant.wait_ready("acme");
    let enforced = tenant.condition("acme", "ExternalIDEnforced").unwrap();
    assert_eq!(
        (&enforced["status"], &enforced["reason"]),
        (&json!("False"), &json!("ExternalIDNotEnforced"))
    );
    let status = tenant.get(&["recordingdestination", "acme"]).unwrap()["status"].clone();
    assert_eq!(status["establishedTime"], Value::Null, "it holds no claim");

    drop(values);
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");
}
