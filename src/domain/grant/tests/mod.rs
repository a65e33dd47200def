//! The chain from token to credentials. Every row differs from the one accepted world in one respect.

mod destination;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use serde_json::{Value, json};

use super::Denial::*;
use super::*;
use crate::api::RecordingDestination;

/// Everything a decision is made from, as JSON that a row can change.
struct World {
    review: Value,
    pod: Value,
    destination: Value,
}

impl World {
    /// A live, injected pod of the tenant, and its proved destination.
    fn accepted() -> Self {
        World {
            review: json!({
                "authenticated": true,
                "audiences": ["recordings.revenue.io"],
                "user": {
                    "username": "system:serviceaccount:tenant-acme:recorder",
                    "groups": ["system:serviceaccounts", "system:serviceaccounts:tenant-acme"],
                    "extra": {
                        "authentication.kubernetes.io/pod-name": ["recorder-0"],
                        "authentication.kubernetes.io/pod-uid": ["pod-uid-1"],
                    },
                },
            }),
            pod: json!({
                "metadata": {
                    "namespace": "tenant-acme",
                    "name": "recorder-0",
                    "uid": "pod-uid-1",
                    "labels": {"recordings.revenue.io/inject": "true"},
                    "annotations": {"recordings.revenue.io/destination": "acme"},
                },
                "spec": {
                    "serviceAccountName": "recorder",
                    "containers": [{"name": "recorder"}],
                    "volumes": [{"name": "recordings", "emptyDir": {}}],
                    "initContainers": [{
                        "name": "recording-uploader", "restartPolicy": "Always", "command": ["/recording-uploader"],
                    }],
                },
                "status": {"phase": "Running"},
            }),
            destination: json!({
                "apiVersion": "recordings.revenue.io/v1alpha1",
                "kind": "RecordingDestination",
                "metadata": {"namespace": "tenant-acme", "name": "acme", "uid": "dest-uid-1", "generation": 3},
                "spec": {
                    "bucket": "acme-recordings",
                    "region": "us-east-1",
                    "roleARN": "arn:aws:iam::111111111111:role/revenue-call-recording-writer",
                    "externalIDSecretRef": {"name": "acme-external-id"},
                    "prefix": "calls/",
                },
                "status": {"observedGeneration": 3, "conditions": [{
                    "type": "Ready", "status": "True", "reason": "Validated", "message": "Proved.",
                    "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z",
                }]},
            }),
        }
    }

    /// The accepted world with one field set, by JSON pointer; the empty pointer is the whole object.
    fn with(part: Part, pointer: &str, value: Value) -> Self {
        let mut world = World::accepted();
        let part = match part {
            Part::Review => &mut world.review,
            Part::Pod => &mut world.pod,
            Part::Destination => &mut world.destination,
        };
        if pointer.is_empty() {
            *part = value;
            return world;
        }
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = part.pointer_mut(parent).unwrap();
        let field = field.replace("~1", "/");
        match parent.as_array_mut() {
            Some(items) => items[field.parse::<usize>().unwrap()] = value,
            None => drop(parent.as_object_mut().unwrap().insert(field, value)),
        }
        world
    }

    fn destination(&self) -> Option<Box<RecordingDestination>> {
        serde_json::from_value(self.destination.clone()).unwrap()
    }

    /// The way that the broker goes for credentials.
    fn credentials(&self) -> Result<PodIdentity, Denial> {
        let review: TokenReviewStatus = serde_json::from_value(self.review.clone()).unwrap();
        let pod = Some(&self.pod).filter(|pod| !pod.is_null());
        let pod = pod.map(|pod| BoundPod::from_json(pod.to_string().as_bytes()).unwrap());
        let identity = identify(claimed_pod(&review)?, pod.as_ref())?;
        let destination = may_use(&identity, self.destination())?;
        may_have_credentials(&destination)?;
        Ok(identity)
    }
}

#[derive(Clone, Copy)]
enum Part {
    Review,
    Pod,
    Destination,
}

#[test]
fn there_is_one_way_to_credentials() {
    let accepted = PodIdentity {
        namespace: "tenant-acme".into(),
        pod: "recorder-0".into(),
        uid: "pod-uid-1".into(),
        service_account: "recorder".into(),
        destination: "acme".into(),
        spool: "emptyDir".into(),
    };
    assert_eq!(World::accepted().credentials(), Ok(accepted));
}

/// Each row: the rule, the one field that differs, its value, and the denial.
fn assert_refused<const N: usize>(part: Part, rows: [(&str, &str, Value, Denial); N]) {
    for (rule, field, value, denial) in rows {
        assert_eq!(World::with(part, field, value).credentials(), Err(denial), "{rule}");
    }
}

#[test]
fn a_token_must_be_valid_for_us_and_bound_to_a_pod() {
    const USER: &str = "/user/username";
    const POD_NAME: &str = "/user/extra/authentication.kubernetes.io~1pod-name";
    const POD_UID: &str = "/user/extra/authentication.kubernetes.io~1pod-uid";
    assert_refused(
        Part::Review,
        [
            ("a token nobody knows", "/authenticated", json!(false), NotAuthenticated),
            ("a review that says nothing", "/authenticated", json!(null), NotAuthenticated),
            ("a review that failed", "/error", json!("token has expired"), NotAuthenticated),
            ("a review that names nobody", "/user", json!(null), NotAuthenticated),
            ("a token for the API server", "/audiences", json!(["https://kubernetes"]), WrongAudience),
            ("a reviewer that ignores audiences", "/audiences", json!(null), WrongAudience),
            ("a reviewer that confirms no audience", "/audiences", json!([]), WrongAudience),
            ("a node's token", USER, json!("system:node:node-1"), NotAServiceAccount),
            ("a person's token", USER, json!("alice"), NotAServiceAccount),
            ("one name too many", USER, json!("system:serviceaccount:tenant-acme:a:b"), NotAServiceAccount),
            ("no namespace", USER, json!("system:serviceaccount::recorder"), NotAServiceAccount),
            ("a token bound to nothing", "/user/extra", json!(null), NotBoundToAPod),
            ("a token without a pod's name", POD_NAME, json!([]), NotBoundToAPod),
            ("a token without a pod's UID", POD_UID, json!([]), NotBoundToAPod),
            ("a token with an empty pod UID", POD_UID, json!([""]), NotBoundToAPod),
            ("a token with two pod UIDs", POD_UID, json!(["pod-uid-1", "pod-uid-2"]), NotBoundToAPod),
        ],
    );
}

#[test]
fn a_token_that_no_api_server_could_accept_is_refused_first() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let claims = || {
        json!({
            "aud": ["recordings.revenue.io"], "exp": now.as_second() + 600, "iss": "https://kubernetes.default.svc",
            "kubernetes.io": {
                "namespace": "tenant-acme",
                "pod": {"name": "recorder-0", "uid": "pod-uid-1"},
                "serviceaccount": {"name": "recorder", "uid": "account-uid-1"},
            },
        })
    };
    let part = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let token = |claims: &Value| format!("{}.{}.c2ln", part(r#"{"alg":"RS256"}"#), part(&claims.to_string()));
    let good = token(&claims());
    assert_eq!(may_pass(&good, now), Ok(()));

    const AUDIENCE: &str = "/aud";
    const END: &str = "/exp";
    const BOUND: &str = "/kubernetes.io";
    const POD: &str = "/kubernetes.io/pod";
    const UID: &str = "/kubernetes.io/pod/uid";
    let ago = |seconds: i64| json!(now.as_second() - seconds);
    for (what, field, value, result) in [
        ("one audience, not in a list", AUDIENCE, json!("recordings.revenue.io"), Ok(())),
        ("ours among several", AUDIENCE, json!(["other", "recordings.revenue.io"]), Ok(())),
        (
            "the API server's audience",
            AUDIENCE,
            json!(["https://kubernetes.default.svc"]),
            Err(WrongAudience),
        ),
        ("no audience", AUDIENCE, json!(null), Err(WrongAudience)),
        ("an empty list", AUDIENCE, json!([]), Err(WrongAudience)),
        (
            "an audience within a list within the list",
            AUDIENCE,
            json!([["recordings.revenue.io"]]),
            Err(WrongAudience),
        ),
        ("a part of a second", END, json!(now.as_second() as f64 + 0.5), Ok(())),
        ("ended by a clock that is ahead", END, ago(299), Ok(())),
        ("ended", END, ago(301), Err(Expired)),
        ("ended long before", END, json!(-1e300), Err(Expired)),
        ("no end", END, json!(null), Err(Expired)),
        ("an end that is a text", END, json!("2030"), Err(Expired)),
        ("of no cluster", BOUND, json!(null), Err(NotBoundToAPod)),
        ("bound to nothing", POD, json!(null), Err(NotBoundToAPod)),
        ("bound to a pod in no object", POD, json!("recorder-0"), Err(NotBoundToAPod)),
        ("a pod without a name", "/kubernetes.io/pod/name", json!(""), Err(NotBoundToAPod)),
        ("a pod without a UID", UID, json!(null), Err(NotBoundToAPod)),
        ("a UID that is a number", UID, json!(1), Err(NotBoundToAPod)),
    ] {
        let mut claims = claims();
        *claims.pointer_mut(field).unwrap() = value;
        assert_eq!(may_pass(&token(&claims), now), result, "{what}");
    }

    let (header, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let list = part("[]");
    for (what, token) in [
        ("nothing", String::new()),
        ("no parts", "x".to_owned()),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{good}.c2ln")),
        ("no signature", format!("{header}.{claims}.")),
        ("no header", format!(".{claims}.{signature}")),
        ("a header that is no object", format!("{list}.{claims}.{signature}")),
        ("claims that are no object", format!("{header}.{list}.{signature}")),
        ("claims that are no JSON", format!("{header}.{}.{signature}", part("{"))),
        ("claims in base64 with padding", format!("{header}.{claims}=.{signature}")),
        ("a signature that is no base64", format!("{header}.{claims}.~")),
        ("claims nested without end", format!("{header}.{}.{signature}", part(&"[".repeat(5000)))),
    ] {
        assert_eq!(may_pass(&token, now), Err(NotAJWT), "{what}");
    }
}

#[test]
fn a_pod_must_be_the_tokens_alive_injected_and_name_a_destination() {
    const LABEL: &str = "/metadata/labels/recordings.revenue.io~1inject";
    const DESTINATION: &str = "/metadata/annotations/recordings.revenue.io~1destination";
    const RESTART: &str = "/spec/initContainers/0/restartPolicy";
    const COMMAND: &str = "/spec/initContainers/0/command";
    const ARGUMENTS: &str = "/spec/initContainers/0/args";
    assert_refused(
        Part::Pod,
        [
            ("a deleted pod", "", json!(null), PodGone),
            ("a pod made anew under the same name", "/metadata/uid", json!("pod-uid-2"), PodReplaced),
            ("a pod without a UID", "/metadata/uid", json!(null), PodReplaced),
            ("a pod that succeeded", "/status/phase", json!("Succeeded"), PodFinished),
            ("a pod that failed or was evicted", "/status/phase", json!("Failed"), PodFinished),
            ("another service account", "/spec/serviceAccountName", json!("other"), ServiceAccountMismatch),
            ("a pod without the label", "/metadata/labels", json!(null), NotInjected),
            ("a pod that declined injection", LABEL, json!("false"), NotInjected),
            ("a pod without init containers", "/spec/initContainers", json!(null), NoSidecar),
            ("another sidecar", "/spec/initContainers/0/name", json!("proxy"), NoSidecar),
            ("a plain init container of that name", RESTART, json!(null), NoSidecar),
            ("a sidecar that runs what its image says", COMMAND, json!(null), NoSidecar),
            ("a sidecar that runs something else", COMMAND, json!(["/bin/sh"]), NoSidecar),
            ("a command with an argument", COMMAND, json!(["/recording-uploader", "--once"]), NoSidecar),
            ("a command that runs ours", COMMAND, json!(["/wrapper", "/recording-uploader"]), NoSidecar),
            ("arguments", ARGUMENTS, json!(["--token-file=/etc/passwd"]), NoSidecar),
            ("a pod that names no destination", "/metadata/annotations", json!(null), NoDestinationNamed),
            ("a pod that names an empty destination", DESTINATION, json!(""), NoDestinationNamed),
        ],
    );
}

#[test]
fn a_destination_must_exist_allow_the_service_account_and_be_proved() {
    const READY: &str = "/status/conditions/0/status";
    const PROVED_GENERATION: &str = "/status/conditions/0/observedGeneration";
    const TYPE: &str = "/status/conditions/0/type";
    assert_refused(
        Part::Destination,
        [
            ("no such destination", "", json!(null), DestinationNotFound),
            ("other accounts", "/spec/serviceAccountNames", json!(["archiver"]), ServiceAccountNotAllowed),
            ("a suspended destination", "/spec/suspend", json!(true), DestinationSuspended),
            ("a destination never validated", "/status", json!(null), DestinationNotReady),
            ("a destination without conditions", "/status/conditions", json!([]), DestinationNotReady),
            ("a failed proof", READY, json!("False"), DestinationNotReady),
            ("an unclear proof", READY, json!("Unknown"), DestinationNotReady),
            ("an edit since the proof", "/metadata/generation", json!(4), DestinationNotReady),
            ("a proof of no generation", PROVED_GENERATION, json!(null), DestinationNotReady),
            ("another condition that is True", TYPE, json!("BucketWritable"), DestinationNotReady),
        ],
    );
}

#[test]
fn what_does_not_matter_does_not_shut_a_pod_out() {
    for (rule, part, pointer, value) in [
        ("a terminating pod", Part::Pod, "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        ("a pod that still starts", Part::Pod, "/status/phase", json!("Pending")),
        ("a pod whose node is out of touch", Part::Pod, "/status/phase", json!("Unknown")),
        ("a sidecar of an older release", Part::Pod, "/spec/initContainers/0/image", json!("uploader:0.1.0")),
        ("an empty list of arguments", Part::Pod, "/spec/initContainers/0/args", json!([])),
        (
            "a token of several audiences",
            Part::Review,
            "/audiences",
            json!(["other", "recordings.revenue.io"]),
        ),
        (
            "a service account that is listed",
            Part::Destination,
            "/spec/serviceAccountNames",
            json!(["archiver", "recorder"]),
        ),
    ] {
        assert!(World::with(part, pointer, value).credentials().is_ok(), "{rule}");
    }
}

#[test]
fn a_proof_and_a_spec_that_both_lack_a_generation_do_not_match() {
    let mut world = World::accepted();
    world.destination["metadata"]["generation"] = json!(null);
    world.destination["status"]["conditions"][0]["observedGeneration"] = json!(null);
    assert_eq!(world.credentials(), Err(Denial::DestinationNotReady));
}
