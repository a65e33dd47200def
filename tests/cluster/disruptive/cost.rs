//! What the operator does while nothing is due, and beside a tenant that keeps it busy.

use std::time::Instant;

use serde_json::{Value, json};

use super::{apply_many, restart_controller};
use crate::environment_or_skip;
use crate::logs::{ControllerWrites, aws_calls};
use crate::support::{Tenant, is_long, kubectl, wait_for};

#[test]
fn what_is_not_due_costs_nothing_and_what_is_due_costs_one_write() {
    environment_or_skip!();
    const COUNT: usize = 100;
    const ROUNDS: usize = 10;
    let log = ControllerWrites::from_now();
    let tenant = Tenant::new("quiet");
    tenant.apply_secret(&tenant.external_id);
    apply_many(
        &tenant,
        (1..=COUNT).map(|n| tenant.destination(&format!("d-{n:03}"), json!({"prefix": format!("p{n:03}/")}))),
    );
    tenant
        .kubectl(&["wait", "--for=condition=Ready", "--timeout=90s", "recordingdestination", "--all"])
        .expect_ok();
    for n in 1..=COUNT {
        let statuses = log.statuses(&tenant.namespace, &format!("d-{n:03}"));
        let said: Vec<_> = statuses.iter().map(|written| written.condition("Ready").0).collect();
        assert_eq!(said, ["True"], "d-{n:03}: one validation, one write");
    }

    let done = (log.in_namespace(&tenant.namespace).len(), aws_calls(&tenant.account).len());
    let spent = || {
        let (writes, calls) = (log.in_namespace(&tenant.namespace), aws_calls(&tenant.account));
        (writes[done.0..].to_vec(), calls[done.1..].to_vec())
    };
    for round in 0..ROUNDS {
        let label = format!("resync={round}");
        tenant.kubectl(&["label", "recordingdestination", "--all", "--overwrite", &label]).expect_ok();
    }
    restart_controller();
    assert_eq!(
        spent(),
        (vec![], vec![]),
        "{ROUNDS} times {COUNT} changes with nothing due, and a new controller"
    );

    // What shows that they were heard at all: the last of them has something due.
    let token = "recordings.revenue.io/revalidate=now";
    tenant.kubectl(&["annotate", "recordingdestination", "d-001", token]).expect_ok();
    let handled = || {
        let statuses = log.statuses(&tenant.namespace, "d-001");
        statuses.into_iter().find(|written| written.object["status"]["lastHandledRevalidate"] == "now")
    };
    wait_for("the look that was asked for", || tenant.describe(), handled);
    let (writes, calls) = spent();
    let written: Vec<_> = writes.iter().map(|write| &write["objectRef"]).collect();
    assert_eq!(written.len(), 1, "{written:#?}");
    assert_eq!((&written[0]["name"], &written[0]["subresource"]), (&json!("d-001"), &json!("status")));
    let about_it = |call: &Value| call.to_string().contains("@d-001");
    assert!(!calls.is_empty() && calls.iter().all(about_it), "{calls:#?}");
}

#[test]
fn a_tenant_with_hundreds_of_broken_destinations_does_not_delay_another() {
    environment_or_skip!();
    let count = if is_long() { 500 } else { 150 };
    let log = ControllerWrites::from_now();
    let (many, one) = (Tenant::new("many"), Tenant::new("one"));
    many.apply_secret(&many.external_id);
    one.apply_secret(&one.external_id);
    // Not allowed, so that no call is made before all are there; then all are due at once.
    let allow = |accounts: &str| {
        let annotation = format!("recordings.revenue.io/allowed-accounts={accounts}");
        kubectl(&["annotate", "--overwrite", "namespace", &many.namespace, &annotation]).expect_ok();
    };
    allow("999999999999");
    let no_role = format!("arn:aws:iam::{}:role/nobody", many.account);
    let broken = |n| {
        many.destination(&format!("d-{n:03}"), json!({"prefix": format!("p{n:03}/"), "roleARN": no_role}))
    };
    apply_many(&many, (1..=count).map(broken));
    let with_reason = |reason: &str| {
        let writes = log.in_namespace(&many.namespace);
        let statuses = writes.iter().filter(|write| write["objectRef"]["subresource"] == "status");
        statuses
            .filter(|write| write["responseObject"]["status"]["conditions"][0]["reason"] == reason)
            .count()
    };
    let waited = |reason: &'static str| {
        let all = || (with_reason(reason) == count).then_some(());
        wait_for(&format!("{count} times {reason}"), || with_reason(reason).to_string(), all);
    };
    waited("AccountNotAllowed");

    let began = Instant::now();
    allow(&many.account);
    one.apply_destination("acme", json!({}));
    one.wait_ready("acme");
    let (took, looked_at) = (began.elapsed(), with_reason("AssumeRoleDenied"));
    waited("AssumeRoleDenied");
    let all_took = began.elapsed();
    eprintln!(
        "Ready after {took:?}, with {looked_at} of {count} broken ones looked at; all of them after {all_took:?}"
    );
    assert!(looked_at < count / 3, "it had to wait for {looked_at} of another tenant: {took:?}");
}
