//! The memory that a review takes, counted by the allocator of the tests.

use super::super::weight::weigh;
use super::*;
use crate::allocations::most;

#[test]
fn a_review_never_takes_more_memory_than_was_reckoned() {
    let lists = |pointer: &str, entry: Value| {
        let mut pod = recorder();
        pod["metadata"]["annotations"]["recordings.revenue.io/credentials"] = "loopback".into();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let list = pod.pointer_mut(parent).unwrap()[field].take();
        let entries = list.as_array().cloned().unwrap_or_default();
        pod.pointer_mut(parent).unwrap()[field] = [entries, vec![entry; 1500]].concat().into();
        pod
    };
    let mut displaced = lists("/spec/initContainers", json!({"name": "other", "args": ["a", "b"]}));
    displaced["spec"]["initContainers"][0] = json!({"name": "recording-uploader"});
    let mut annotated = recorder();
    annotated["metadata"]["annotations"]["x"] = "x".repeat(500_000).into();
    let container = "/spec/containers/0";
    for (what, pod) in [
        ("the usual", recorder()),
        ("a long text", annotated),
        ("volumes of nothing", lists("/spec/volumes", json!({}))),
        ("volumes", lists("/spec/volumes", json!({"name": "v", "emptyDir": {}}))),
        ("containers", lists("/spec/containers", json!({}))),
        ("init containers", lists("/spec/initContainers", json!({}))),
        ("init containers after the sidecar", displaced),
        ("ephemeral containers", lists("/spec/ephemeralContainers", json!({}))),
        ("variables", lists(&format!("{container}/env"), json!({"name": ""}))),
        ("mounts", lists(&format!("{container}/volumeMounts"), json!({}))),
        ("arguments", lists(&format!("{container}/args"), json!(""))),
        ("tolerations", lists("/spec/tolerations", json!({"key": ""}))),
        ("lists of numbers", lists("/spec/unknown", json!([0]))),
        ("managed fields", lists("/metadata/managedFields", json!({"fieldsV1": {"f:a": {"f:b": {}}}}))),
    ] {
        let text = review("calls", &pod).to_string();
        let bench = bench();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reckoned = weigh(text.as_bytes());
        // What is there beside any review, such as the answer of the CA's file and buffers.
        let beside = 128 * 1024;
        let taken = most(|| {
            let (status, answer) = runtime.block_on(bench.post(text));
            assert_eq!(status, StatusCode::OK, "{what}: {answer}");
        });
        println!("{what}: {taken} of {reckoned}");
        assert!(taken <= reckoned + beside, "{what}: {taken} bytes, reckoned {reckoned}");
    }
}

#[tokio::test]
async fn a_review_that_would_fill_the_memory_is_refused_unread() {
    let bench = bench();
    let mut pod = recorder();
    pod["spec"]["volumes"] = json!(vec![json!({}); 75_000]);
    let (status, message) = bench.post(review("calls", &pod).to_string()).await;
    assert_eq!(
        (status, message.contains("too many entries")),
        (StatusCode::PAYLOAD_TOO_LARGE, true),
        "{message}"
    );
    pod["spec"]["volumes"] = json!(vec![recorder()["spec"]["volumes"][0].clone(); 1000]);
    assert_eq!(bench.ask("calls", &pod).await["allowed"], true);
}

#[tokio::test]
async fn a_patch_is_refused_that_is_larger_than_any_pod_needs() {
    let bench = bench();
    let mut pod = recorder();
    pod["metadata"]["annotations"]["recordings.revenue.io/credentials"] = "loopback".into();
    for (containers, allowed) in [(100, true), (1000, false)] {
        pod["spec"]["containers"] = json!(vec![json!({"name": "c"}); containers]);
        let response = bench.ask("calls", &pod).await;
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert_eq!(
            (&response["allowed"], message.contains("256 KiB")),
            (&json!(allowed), !allowed),
            "{message}"
        );
    }
}
