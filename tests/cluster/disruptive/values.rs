//! What the chart's values change in a release that runs.

use super::lifecycle::{PRESENT, Values};
use crate::environment_or_skip;
use crate::ordinary_users::Actor;
use crate::ordinary_users::namespaces::check_who_binds;

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
