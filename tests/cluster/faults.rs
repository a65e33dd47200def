//! AWS out of order, Secrets and destinations that change under a look: Unknown, then right.

use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::logs::{ControllerWrites, Written, aws_calls};
use crate::support::{Tenant, is_long, wait_for};

/// Rows that run side by side. They mostly wait, but each hanging one has one of the controller's turns.
const AT_ONCE: usize = 12;

/// What AWS, or whatever lies between, does instead of answering: see dev/aws/faults.py.
const KINDS: [&str; 10] = [
    "throttle",
    "error",
    "unavailable",
    "reset",
    "lost-answer",
    "hang",
    "garbage",
    "drip",
    "proxy-403",
    "proxy-502",
];

/// The calls of a validation that a fault affects.
#[derive(Debug)]
struct FaultyCall {
    /// Options of `customer fault`.
    options: &'static [&'static str],
    /// The check that has to say so.
    check: &'static str,
}

const FIRST_CALL: FaultyCall = FaultyCall { options: &["--action", "AssumeRole"], check: "AssumeRole" };
/// All seven, and neither the call before them nor the one after.
const WRONG_CALLERS: FaultyCall = FaultyCall {
    options: &["--action", "AssumeRole", "--skip", "1", "--count", "7"],
    check: "AssumeRoleWithoutExternalID",
};
const LAST_CALL: FaultyCall =
    FaultyCall { options: &["--action", "AssumeRole", "--skip", "8"], check: "AssumeRoleAgain" };
const PUT: FaultyCall = FaultyCall { options: &["--action", "PutObject"], check: "PutObject" };
const HEAD: FaultyCall = FaultyCall { options: &["--action", "HeadObject"], check: "HeadObject" };
const GET: FaultyCall = FaultyCall { options: &["--action", "GetObject"], check: "GetObject" };
const CREATE: FaultyCall =
    FaultyCall { options: &["--action", "CreateMultipartUpload"], check: "CreateMultipartUpload" };
const PART: FaultyCall = FaultyCall { options: &["--action", "UploadPart"], check: "UploadPart" };
const COMPLETE: FaultyCall =
    FaultyCall { options: &["--action", "CompleteMultipartUpload"], check: "CompleteMultipartUpload" };
const DELETE: FaultyCall = FaultyCall { options: &["--action", "DeleteObject"], check: "DeleteObject" };

/// Sets a fault. A call whose connection failed is made twice: of faults that end the connection it takes two.
fn meet(tenant: &Tenant, kind: &str, options: &[&str]) {
    let twice = kind == "reset" || kind == "lost-answer";
    let count = |option| match option {
        "7" if twice => "14",
        "6" if twice => "12",
        other => other,
    };
    tenant.fault(kind, &options.iter().copied().map(count).collect::<Vec<_>>());
}

const PLACES: [FaultyCall; 9] =
    [FIRST_CALL, WRONG_CALLERS, LAST_CALL, PUT, HEAD, GET, CREATE, PART, COMPLETE];

#[test]
fn aws_faults_leave_unproved_destinations_unknown_and_proved_ones_ready() {
    environment_or_skip!();
    // Each kind once and each call once; whole, every kind at every call.
    let short = [
        ("hang", FIRST_CALL),
        ("drip", WRONG_CALLERS),
        ("throttle", LAST_CALL),
        ("lost-answer", PUT),
        ("proxy-403", HEAD),
        ("garbage", GET),
        ("error", CREATE),
        ("reset", PART),
        ("unavailable", COMPLETE),
        ("proxy-502", FIRST_CALL),
    ];
    let whole = || KINDS.into_iter().flat_map(|kind| PLACES.into_iter().map(move |call| (kind, call)));
    let rows = if is_long() { whole().collect() } else { Vec::from(short) };
    let log = ControllerWrites::from_now();
    side_by_side(rows, |(kind, call)| {
        let row = format!("{kind} at {}", call.check);
        let tenant = Tenant::new("fault");
        tenant.apply_secret(&tenant.external_id);
        meet(&tenant, kind, call.options);
        tenant.apply_destination("acme", json!({}));
        let first = log.wait_for(&tenant, &format!("{row}: a status"), |_| true);
        // The answer to a HEAD has no code: a throttle looks like any fault of AWS's own.
        let throttled = kind == "throttle" && call.check != "HeadObject";
        let reason = if throttled { "Throttled" } else { "ProbeInconclusive" };
        assert_eq!(first.condition("Ready"), ("Unknown", reason), "{row}: unproved\n{}", first.object);
        assert_eq!(first.check(call.check), ("Inconclusive", reason), "{row}: unproved");
        assert!(!first.object["status"].to_string().contains(&tenant.external_id), "{row}");
        assert_eq!(tenant.objects(), Vec::<String>::new(), "{row}: nothing of the probe stays");

        tenant.no_fault();
        let is_ready = |written: &Written| written.condition("Ready").0 == "True";
        let proved = log.wait_for(&tenant, &format!("{row}: Ready, by itself"), is_ready);
        let until_then = log.statuses(&tenant.namespace, "acme");
        let before = until_then.iter().take_while(|written| !is_ready(written));
        for written in before {
            assert_eq!(written.condition("Ready").0, "Unknown", "{row}: before it was proved");
        }

        meet(&tenant, kind, call.options);
        let again = revalidated(&log, &tenant, &row);
        assert_eq!(again.condition("Ready"), ("True", "Validated"), "{row}: the proof stands");
        assert_eq!(again.check(call.check), ("Inconclusive", reason), "{row}: proved");
        assert_eq!(since(&again), since(&proved), "{row}: it was Ready all the time");

        tenant.no_fault();
        let after = revalidated(&log, &tenant, &row);
        assert_eq!(after.condition("Ready"), ("True", "Validated"), "{row}: afterwards");
        assert_eq!(after.check(call.check).0, "Passed", "{row}: afterwards");
        assert_eq!(since(&after), since(&proved), "{row}: afterwards");
    });
}

#[test]
fn a_probe_that_cannot_be_deleted_leaves_ready_unaffected() {
    environment_or_skip!();
    let short = vec!["throttle", "reset", "proxy-403"];
    // S3's own answer to a delete is empty: garbage under a 200 cannot be told from it.
    let whole = || KINDS.into_iter().filter(|kind| *kind != "garbage").collect();
    let log = ControllerWrites::from_now();
    side_by_side(if is_long() { whole() } else { short }, |kind| {
        let tenant = Tenant::new("undeleted");
        tenant.apply_secret(&tenant.external_id);
        tenant.fault(kind, DELETE.options);
        tenant.apply_destination("acme", json!({}));
        let first = log.wait_for(&tenant, &format!("{kind}: a status"), |_| true);
        assert_eq!(first.condition("Ready"), ("True", "Validated"), "{kind}\n{}", first.object);
        assert_eq!(first.check(DELETE.check).0, "Inconclusive", "{kind}");
        tenant.no_fault();
        assert_eq!(revalidated(&log, &tenant, kind).check(DELETE.check).0, "Passed", "{kind}: afterwards");
    });
}

#[test]
fn a_fault_at_the_wrong_callers_never_makes_an_open_role_look_closed() {
    environment_or_skip!();
    let short = vec!["throttle", "unavailable", "reset", "lost-answer", "proxy-403"];
    let kinds = if is_long() { KINDS.to_vec() } else { short };
    // Of the wrong callers all are met, or all but one.
    let rows: Vec<_> = kinds.into_iter().flat_map(|kind| [(kind, "7"), (kind, "6")]).collect();
    let log = ControllerWrites::from_now();
    side_by_side(rows, |(kind, met)| {
        let row = format!("{kind} at {met} wrong callers");
        let tenant = Tenant::new("open");
        tenant.apply_secret(&tenant.external_id);
        tenant.customer(&["trust-open"]).expect_ok();
        meet(&tenant, kind, &["--action", "AssumeRole", "--skip", "1", "--count", met]);
        tenant.apply_destination("acme", json!({}));
        let first = log.wait_for(&tenant, &format!("{row}: a status"), |_| true);
        let said = first.condition("Ready").0;
        assert!(said == "Unknown" || (met == "6" && said == "False"), "{row}: {said}\n{}", first.object);
        let found_out = |written: &Written| written.condition("Ready") == ("False", "ExternalIDNotEnforced");
        log.wait_for(&tenant, &format!("{row}: found out, by itself"), found_out);
        for written in log.statuses(&tenant.namespace, "acme") {
            assert_ne!(written.condition("Ready").0, "True", "{row}");
            assert_ne!(written.condition("ExternalIDEnforced").0, "True", "{row}");
        }
    });
}

#[test]
fn a_deleted_secret_is_reported_and_its_return_noticed() {
    environment_or_skip!();
    let tenant = Tenant::ready("gone");
    tenant.kubectl(&["delete", "secret", "acme-external-id"]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_reason("acme", "False", "SecretNotFound");
    tenant.apply_secret(&tenant.external_id);
    tenant.wait_ready("acme");
}

#[test]
fn a_recreated_secret_is_refused_until_it_holds_the_right_external_id() {
    environment_or_skip!();
    let tenant = Tenant::ready("exchanged");
    tenant.kubectl(&["delete", "secret", "acme-external-id"]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_reason("acme", "False", "SecretNotFound");
    tenant.apply_secret("another-External-ID");
    tenant.wait_reason("acme", "False", "AssumeRoleDenied");
    tenant.apply_secret(&tenant.external_id);
    tenant.wait_ready("acme");
}

#[test]
fn an_edit_during_a_validation_is_validated_before_it_is_reported() {
    environment_or_skip!();
    let log = ControllerWrites::from_now();
    // The look that is overtaken ends with no answer, or with a proof of the spec as it was.
    side_by_side(vec![("AssumeRole", "Unknown"), ("DeleteObject", "True")], |(action, outcome)| {
        let tenant = Tenant::new("edited");
        tenant.apply_secret(&tenant.external_id);
        tenant.fault("hang", &["--action", action, "--count", "1"]);
        tenant.apply_destination("acme", json!({"prefix": "before/"}));
        wait_for_hang(&tenant);
        tenant.apply_destination("acme", json!({"prefix": "after/"}));
        tenant.no_fault();
        tenant.wait_ready("acme");

        let statuses = log.statuses(&tenant.namespace, "acme");
        assert_eq!(statuses[0].condition("Ready").0, outcome, "{action}: of the spec as it was");
        assert_eq!(statuses[0].object["status"]["observedGeneration"], 1, "{action}");
        let calls = aws_calls(&tenant.account);
        let probe = calls.iter().find(|call| {
            call["action"] == "PutObject" && call["key"].as_str().unwrap_or_default().starts_with("after/")
        });
        let probed = probe.unwrap_or_else(|| panic!("{action}: no probe under the new prefix"));
        for Written { time, object } in statuses {
            let conditions = object["status"]["conditions"].as_array().unwrap();
            let says_so = |c: &&Value| c["type"] == "BucketWritable" || c["type"] == "Ready";
            for condition in conditions.iter().filter(says_so).filter(|c| c["status"] == "True") {
                // To the millisecond both are written alike.
                let looked_at = probed["time"].as_str().unwrap()[..23] < time[..23];
                assert!(condition["observedGeneration"] == 1 || looked_at, "{action}: {condition} at {time}");
            }
        }
    });
}

#[test]
fn what_was_seen_of_a_destination_is_never_said_of_its_namesake() {
    environment_or_skip!();
    let log = ControllerWrites::from_now();
    let tenant = Tenant::new("namesake");
    tenant.apply_secret(&tenant.external_id);
    // The look hangs at its last step, with all proved.
    tenant.fault("hang", &["--action", "DeleteObject", "--count", "1"]);
    tenant.apply_destination("acme", json!({}));
    wait_for_hang(&tenant);
    tenant.kubectl(&["delete", "recordingdestination", "acme"]).expect_ok();
    tenant.customer(&["trust-open"]).expect_ok();
    tenant.apply_destination("acme", json!({}));
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");
    for written in log.statuses(&tenant.namespace, "acme") {
        assert_ne!(written.condition("Ready").0, "True", "{}", written.object);
    }
    tenant.customer(&["trust-closed", "--external-id", &tenant.external_id]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_ready("acme");
}

/// Runs a table, some rows at a time; each says how long it took.
fn side_by_side<R: Send + std::fmt::Debug>(rows: Vec<R>, row: impl Fn(R) + Sync) {
    let rows = Mutex::new(rows.into_iter());
    let next = || rows.lock().unwrap().next();
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some(next) = next() {
                    let (name, began) = (format!("{next:?}"), Instant::now());
                    row(next);
                    eprintln!("{:>5.1} s  {name}", began.elapsed().as_secs_f64());
                }
            });
        }
    });
}

/// Asks for a validation, and gives the status that it came to.
#[track_caller]
fn revalidated(log: &ControllerWrites, tenant: &Tenant, row: &str) -> Written {
    tenant.revalidate("acme");
    let destination = tenant.get(&["recordingdestination", "acme"]).unwrap();
    let token = &destination["metadata"]["annotations"]["recordings.revenue.io/revalidate"];
    let handled = |written: &Written| written.object["status"]["lastHandledRevalidate"] == *token;
    log.wait_for(tenant, &format!("{row}: revalidated"), handled)
}

/// Since when Ready is what it is.
fn since(written: &Written) -> &Value {
    let conditions = written.object["status"]["conditions"].as_array().unwrap();
    &conditions.iter().find(|condition| condition["type"] == "Ready").unwrap()["lastTransitionTime"]
}

#[track_caller]
fn wait_for_hang(tenant: &Tenant) {
    let hangs = || aws_calls(&tenant.account).iter().any(|call| call["rule"] == "hang").then_some(());
    wait_for("a call that hangs", || tenant.describe(), hangs);
}
