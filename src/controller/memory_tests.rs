//! The memory that a proved destination takes, counted by the allocator of the tests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::claims::Claims;
use super::queue::Schedule;
use super::reconcile::reconcile;
use super::reconcile_tests;
use crate::allocations::held;
use crate::api::{Answer, BucketCall, RecordingDestination, Refusal, WrongCaller};
use crate::cluster::{DestinationStore, NamespaceAccounts};
use crate::domain::ownership::AccountBinding;
use crate::domain::verdict::{
    BucketEvidence, Enforcement, EnforcementMode, Evidence, NegativeAnswer, Platform, Recent, RoleEvidence,
    Rules, SecretObservation, Texts, judge,
};
use crate::secret::ExternalID;

const COUNT: usize = 1_000;

/// As dev/bench/scale_report.py makes them, ten to a namespace.
fn destination(number: usize) -> RecordingDestination {
    serde_json::from_value(json!({
        "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
        "metadata": {
            "namespace": format!("scale-{:05}", number / 10), "name": format!("destination-{number:06}"),
            "uid": format!("5f0c2f7e-9a41-4a55-8a0e-{:012x}", number * 7_919_123), "generation": 1,
            "resourceVersion": (100_000 + number).to_string(), "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "bucket": format!("scale-{number:06}-recordings"), "region": "us-east-1",
            "roleARN": format!("arn:aws:iam::{}:role/revenue-call-recording-writer-{number:06}", 200_000_000_000 + number / 10),
            "externalIDSecretRef": {"name": format!("destination-{number:06}")}, "prefix": "calls/",
        },
    }))
    .unwrap()
}

/// A role and bucket with which nothing is wrong.
fn sound(version: usize) -> Evidence {
    let denied =
        || Answer::Refused(Refusal { status: 403, code: "AccessDenied".into(), ..Refusal::default() });
    let callers = [
        WrongCaller::AssumeRoleWithoutExternalID,
        WrongCaller::AssumeRoleWithRandomExternalID,
        WrongCaller::AssumeRoleWithExternalIDCaseFlipped,
    ];
    let calls = [
        BucketCall::PutObject,
        BucketCall::HeadObject,
        BucketCall::GetObject,
        BucketCall::CreateMultipartUpload,
        BucketCall::UploadPart,
        BucketCall::CompleteMultipartUpload,
        BucketCall::DeleteObject,
    ];
    let role = RoleEvidence {
        assumed: Answer::Granted(()),
        platform: Platform::AsConfigured,
        control: None,
        enforcement: Some(Enforcement {
            negatives: callers.map(|caller| NegativeAnswer { caller, answer: Some(denied()) }).into(),
            control: Vec::new(),
            assumed_again: Answer::Granted(()),
        }),
        bucket: Some(BucketEvidence {
            calls: calls.map(|call| (call, Answer::Granted(()))).into(),
            read_back_matches: Some(true),
            marker_left: false,
            uploaded_since: false,
        }),
    };
    let secret = SecretObservation::Resolved { version: version.to_string(), known: false };
    Evidence::Validated { secret, role: Some(Box::new(role)) }
}

/// What the targets of docs/scale.md leave: 64 MiB for 10,000, without what an empty controller takes, and with what an
/// allocator adds.
#[tokio::test]
async fn a_proved_destination_takes_less_than_3_kib() {
    let client = Client::new(
        tower::service_fn(async |_: axum::http::Request<Body>| {
            std::future::pending::<Result<axum::http::Response<Body>, std::convert::Infallible>>().await
        }),
        "default",
    );
    let (namespaces, _) = NamespaceAccounts::watch(client, |_| {});
    let rules = Rules { partition: "aws".into(), enforcement: EnforcementMode::Require };
    let texts = Texts {
        platform_principal: "arn:aws:iam::103850359708:user/RingDNA_Web".into(),
        trust_policy: "TRUST POLICY".into(),
        role_policy: "ROLE POLICY".into(),
    };
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let prove = |number: usize, claims: &Claims| {
        let (new, evidence) = (destination(number), sound(number));
        let id = ExternalID::parse(&format!("{number:08}-9a41-4a55")).unwrap();
        let verdict = claims.judge(&new, Some(claims.fingerprint(&id)), |standing| {
            judge(&new, &evidence, &texts, None, &rules, standing, now)
        });
        let after = Recent::after_validation(None, &new, &evidence, &verdict.status, now);
        (RecordingDestination { status: Some(verdict.status), ..new }, after)
    };
    let claims_among = |destinations| {
        let (wake, _) = mpsc::unbounded();
        Claims::new(AccountBinding::WhenPresent, namespaces.clone(), destinations, wake)
    };
    let none = claims_among(DestinationStore::default());
    let (store, of_store) = held(|| DestinationStore::of((0..COUNT).map(|number| prove(number, &none).0)));
    let claims = claims_among(store.clone());
    let (_recent, of_claims_and_recent) = held(|| {
        let all = (0..COUNT).map(|number| prove(number, &claims));
        let kept = all.map(|(proved, after)| (proved.metadata.uid.unwrap(), Box::new(after)));
        kept.collect::<HashMap<_, _>>()
    });
    let (_schedule, of_schedule) = held(|| {
        let mut schedule = Schedule::default();
        let now = tokio::time::Instant::now();
        store.keys().into_iter().for_each(|key| schedule.add(key, now + Duration::from_secs(900)));
        schedule
    });
    let each = |bytes: usize| bytes / COUNT;
    println!(
        "bytes of each: claims and recent {}, store {}, schedule {}",
        each(of_claims_and_recent),
        each(of_store),
        each(of_schedule)
    );
    let proved = store.get(&Arc::new(("scale-00001".to_owned(), "destination-000017".to_owned()))).unwrap();
    assert!(proved.is_ready() && proved.status.unwrap().checks.len() > 10, "it is a typical one");
    assert!(each(of_claims_and_recent + of_store + of_schedule) < 3 << 10);
}

/// Thousands may wait for a permit at a time.
#[tokio::test]
async fn a_reconciliation_takes_little_while_it_waits() {
    let suspended = || reconcile_tests::destination("7", true);
    let (context, _) = reconcile_tests::context(suspended(), suspended());
    let key = Arc::new(("tenant-acme".to_owned(), "acme".to_owned()));
    let bytes = size_of_val(&reconcile(key, context));
    println!("bytes of a reconciliation: {bytes}");
    assert!(bytes < 4 << 10, "{bytes}");
}
