//! What a customer breaks while recordings are sent: seen within ten seconds of the first refusal, and gone once it is
//! mended.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::customer::{ALL_FOUR, PLATFORM};
use crate::environment_or_skip;
use crate::logs::{ControllerWrites, Written, aws_calls};
use crate::support::{ROLE, Tenant, wait_for};

/// From the first refusal that an uploader meets to the status that says so.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// A way to break a destination that is in use.
struct Break {
    name: &'static str,
    /// What Ready and Delivering say then.
    reason: &'static str,
    apply: fn(&Tenant),
    mend: fn(&Tenant),
}

/// Removing s3:GetObject is none of them: an uploader reads only where a put's answer has no checksum, so that the next
/// validation finds it.
const BREAKS: [Break; 3] = [
    Break {
        name: "role-deleted",
        reason: "AssumeRoleDenied",
        apply: |tenant| _ = tenant.customer(&["delete-role"]).expect_ok(),
        mend: create_role,
    },
    Break {
        name: "no-acl",
        reason: "ACLDenied",
        apply: |tenant| tenant.permit(&["s3:PutObject", "s3:GetObject", "s3:DeleteObject"]),
        mend: |tenant| tenant.permit(&ALL_FOUR),
    },
    Break {
        name: "bucket-deleted",
        reason: "BucketNotFound",
        apply: Tenant::delete_bucket,
        mend: create_bucket,
    },
];

fn create_role(tenant: &Tenant) {
    tenant.customer_with(&["create-role", "--role", ROLE], &tenant.trust_policy(PLATFORM)).expect_ok();
    tenant.permit(&ALL_FOUR);
}

fn create_bucket(tenant: &Tenant) {
    let create = ["create", "--bucket", &tenant.bucket, "--external-id", "-", "--role", "of-the-new-bucket"];
    tenant.customer_with(&create, &tenant.external_id).expect_ok();
}

#[test]
fn what_breaks_while_recording_is_seen_within_ten_seconds_and_mended() {
    environment_or_skip!();
    std::thread::scope(|scope| {
        for broken in &BREAKS {
            scope.spawn(|| tries(broken));
        }
    });
}

fn tries(broken: &Break) {
    let log = ControllerWrites::from_now();
    let tenant = Tenant::ready(broken.name);
    tenant.start_recorder("recorder");
    let records = "cd /recordings; (i=0; while :; do i=$((i+1)); echo $i > .part; mv .part call-$i.wav; sleep 1; done) \
                   >/dev/null 2>&1 &";
    tenant.shell("recorder", records).expect_ok();
    wait_for(
        "recordings that arrive",
        || tenant.describe(),
        || (condition(&tenant, "Delivering")["status"] == "True").then_some(()),
    );

    let begun = Timestamp::now();
    (broken.apply)(&tenant);
    let refused = wait_for(
        &format!("{}: a refusal", broken.name),
        || tenant.describe(),
        || first_refusal(&tenant.account, begun),
    );
    let is_said = |written: &Written| {
        ["Ready", "Delivering"].iter().all(|kind| written.condition(kind) == ("False", broken.reason))
    };
    let said = log.wait_for(&tenant, &format!("{}: Ready and Delivering say so", broken.name), is_said);
    let took = said.time.parse::<Timestamp>().unwrap().duration_since(refused);
    println!("{}: said {took:#} after the first refusal", broken.name);
    assert!(took <= SEEN_WITHIN, "{}: {took:#} after the first refusal at {refused}", broken.name);
    wait_for("the Event", || tenant.describe(), || has_event(&tenant, broken.reason));

    (broken.mend)(&tenant);
    tenant.wait_ready("acme");
    wait_for(
        &format!("{}: recordings that arrive again", broken.name),
        || tenant.describe(),
        || (condition(&tenant, "Delivering")["status"] == "True").then_some(()),
    );
}

fn condition(tenant: &Tenant, kind: &str) -> Value {
    tenant.condition("acme", kind).unwrap_or_default()
}

/// When AWS first refused the uploader, or the broker for it.
fn first_refusal(account: &str, since: Timestamp) -> Option<Timestamp> {
    let calls = aws_calls(account).into_iter();
    let refused =
        calls.filter(|call| call["status"].as_u64().is_some_and(|status| (400..500).contains(&status)));
    refused.map(|call| call["time"].as_str().unwrap().parse().unwrap()).filter(|time| *time >= since).min()
}

fn has_event(tenant: &Tenant, reason: &str) -> Option<()> {
    let events = tenant.get(&["events.events.k8s.io"])?;
    let of = |event: &Value| event["reason"] == reason && event["regarding"]["name"] == "acme";
    events["items"].as_array()?.iter().any(of).then_some(())
}
