mod anything;
mod memory;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::destinations::Destinations;
use super::*;

const PATH: &str = "/inject/0123456789abcdef0123456789abcdef";

/// Namespace `calls` has the destination `acme`; of namespace `unreachable` nothing can be learned.
struct Known;

impl Destinations for Known {
    async fn exists(&self, namespace: &str, name: &str) -> Result<bool, String> {
        match namespace {
            "unreachable" => Err("connection refused".to_owned()),
            _ => Ok((namespace, name) == ("calls", "acme")),
        }
    }
}

struct Bench {
    app: Router,
    metrics: Metrics,
    tls: TempDir,
}

fn bench() -> Bench {
    let tls = tempfile::tempdir().unwrap();
    let ca = rcgen::generate_simple_self_signed(["broker".to_owned()]).unwrap().cert.pem();
    std::fs::write(tls.path().join("ca.crt"), ca).unwrap();
    let mut registry = crate::telemetry::registry("webhook");
    let (_, present) = watch::channel(BTreeSet::from([webhook_paths::hash(PATH)]));
    let webhook = Webhook {
        destinations: Known,
        lookups: ConcurrencyLimiter::per_key(LOOKUPS),
        tls: TlsDirectory::new(tls.path()),
        settings: Settings {
            image_pull_policy: "Never".to_owned(),
            ..Settings::usual(
                "registry.example/recording-operator:1".into(),
                "https://broker:8443".into(),
                String::new(),
            )
        },
        admissions: Admissions::register(&mut registry),
    };
    let app = router(Arc::new(webhook), Arc::new(AcceptedPaths::new(present, Arc::default())));
    Bench { app, metrics: Metrics::new(registry), tls }
}

fn recorder() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "recorder-", "creationTimestamp": null,
            "labels": {"recordings.revenue.io/inject": "true"},
            "annotations": {"recordings.revenue.io/destination": "acme"},
        },
        "spec": {
            "containers": [{"name": "recorder", "image": "recorder", "resources": {}}],
            "volumes": [{"name": "recordings", "emptyDir": {}}],
        },
        "status": {},
    })
}

fn review(namespace: &str, pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "0c9a8d74-9cb7-44dd-b98e-09fd62def2f4",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE", "userInfo": {"username": "somebody"},
            "object": pod, "oldObject": null, "dryRun": false,
        },
    })
}

impl Bench {
    async fn post(&self, body: impl Into<Body>) -> (StatusCode, String) {
        self.send(Request::post(PATH).body(body.into()).unwrap()).await
    }

    async fn send(&self, request: Request) -> (StatusCode, String) {
        let answer = self.app.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The response within the AdmissionReview.
    async fn ask(&self, namespace: &str, pod: &Value) -> Value {
        let (status, body) = self.post(review(namespace, pod).to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        assert_eq!(answer["response"]["uid"], "0c9a8d74-9cb7-44dd-b98e-09fd62def2f4");
        answer["response"].clone()
    }

    fn counted(&self, result: &str) -> bool {
        self.metrics
            .render()
            .contains(&format!("recording_operator_admissions_total{{result=\"{result}\"}} 1\n"))
    }
}

fn patched(pod: &Value, response: &Value) -> Value {
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    // The bytes as a list of numbers, which Go reads into a []byte as it does base64.
    let patch: Vec<u8> = serde_json::from_value(response["patch"].clone()).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap()).unwrap();
    pod
}

#[tokio::test]
async fn a_labelled_pod_gets_its_sidecar_once() {
    let bench = bench();
    let response = bench.ask("calls", &recorder()).await;
    let injected = patched(&recorder(), &response);
    let sidecar = &injected["spec"]["initContainers"][0];
    assert_eq!(
        (&sidecar["name"], &sidecar["imagePullPolicy"]),
        (&json!("recording-uploader"), &json!("Never"))
    );
    let ca = std::fs::read_to_string(bench.tls.path().join("ca.crt")).unwrap();
    assert_eq!(sidecar["env"][1]["value"], ca);
    assert!(bench.counted("Injected"));

    let again = bench.ask("calls", &injected).await;
    assert_eq!((&again["allowed"], &again["patch"]), (&json!(true), &Value::Null));
    assert!(bench.counted("Unchanged"));
}

#[tokio::test]
async fn a_pod_is_refused_for_its_own_fault_with_403_and_a_sentence() {
    let bench = bench();
    let response = bench.ask("billing", &recorder()).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(403)));
    let sentence = response["status"]["message"].as_str().unwrap();
    assert!(
        sentence.starts_with("destination \"acme\" does not exist in namespace \"billing\": create"),
        "{sentence}"
    );

    let mut pod = recorder();
    pod["spec"]["hostNetwork"] = true.into();
    let response = bench.ask("calls", &pod).await;
    assert!(response["status"]["message"].as_str().unwrap().contains("on the host network"), "{response}");
}

#[tokio::test]
async fn a_fault_of_the_operator_refuses_the_pod_with_500_and_says_so() {
    let bench = bench();
    let response = bench.ask("unreachable", &recorder()).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(500)));
    let sentence = response["status"]["message"].as_str().unwrap();
    assert!(
        sentence.contains("connection refused") && sentence.contains("nothing is wrong with the pod"),
        "{sentence}"
    );
    assert!(bench.counted("Failed"));

    std::fs::write(bench.tls.path().join("ca.crt"), "not PEM").unwrap();
    let response = bench.ask("calls", &recorder()).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(500)));
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_told_nothing_and_its_body_is_not_read() {
    let bench = bench();
    let review = || Body::from(review("calls", &recorder()).to_string());
    let endless = || Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    for request in [
        Request::post("/inject").body(review()),
        Request::post("/").body(review()),
        Request::post("/inject/0123456789abcdef0123456789abcdee").body(endless()),
        Request::post(format!("{PATH}/")).body(endless()),
        Request::get(PATH).body(Body::empty()),
    ] {
        let answer = bench.send(request.unwrap()).await;
        assert_eq!(answer, (StatusCode::NOT_FOUND, "not found\n".to_owned()));
    }
    let timed = Request::post(format!("{PATH}?timeout=10s")).body(review()).unwrap();
    assert_eq!(bench.send(timed).await.0, StatusCode::OK, "as the API server calls");
}

#[tokio::test]
async fn a_namespace_that_is_no_name_is_looked_up_nowhere() {
    let bench = bench();
    for namespace in ["x/recordingdestinations?watch=true&timeoutSeconds=300&x=", "unreachable/..", ""] {
        let (status, message) = bench.post(review(namespace, &recorder()).to_string()).await;
        assert_eq!((status, message.contains("namespace is not a name")), (StatusCode::BAD_REQUEST, true));
    }
    let mut pod = recorder();
    pod["metadata"]["annotations"]["recordings.revenue.io/destination"] = "x?watch=true&y=".into();
    let response = bench.ask("calls", &pod).await;
    assert!(response["status"]["message"].as_str().unwrap().contains("cannot be the name"), "{response}");
    pod["metadata"]["annotations"]["recordings.revenue.io/destination"] = "a\n".repeat(10_000).into();
    let response = bench.ask("calls", &pod).await;
    assert!(response["status"]["message"].as_str().unwrap().len() < 1100, "and it is not repeated whole");
}

#[tokio::test]
async fn a_body_that_is_no_review_of_a_pod_is_a_bad_request() {
    let bench = bench();
    let mut without_object = review("calls", &recorder());
    without_object["request"]["object"] = Value::Null;
    let mut without_request = review("calls", &recorder());
    without_request["request"] = Value::Null;
    for (body, says) in [
        ("{".to_owned(), "EOF"),
        ("{}".to_owned(), "missing field"),
        (without_object.to_string(), "has no object"),
        (without_request.to_string(), "has no request"),
    ] {
        let (status, message) = bench.post(body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{message}");
        assert!(message.contains("not an AdmissionReview") && message.contains(says), "{message}");
    }
    let (status, _) = bench.post(vec![b' '; 4 * 1024 * 1024]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(bench.ask("calls", &recorder()).await["allowed"], true);
}

#[tokio::test]
async fn a_review_of_another_version_or_of_no_pod_is_a_bad_request() {
    let bench = bench();
    for (pointer, value, says) in [
        ("/apiVersion", "admission.k8s.io/v1beta1", "its version is admission.k8s.io/v1beta1"),
        ("/apiVersion", "v1", "its version is v1"),
        ("/kind", "Pod", "it is a Pod"),
    ] {
        let mut other = review("calls", &recorder());
        *other.pointer_mut(pointer).unwrap() = value.into();
        let (status, message) = bench.post(other.to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{pointer}: {message}");
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn a_review_with_a_key_twice_is_a_bad_request() {
    let bench = bench();
    let once = review("calls", &recorder()).to_string();
    assert_eq!(bench.post(once.clone()).await.0, StatusCode::OK);
    for (key, twice) in [
        ("containers", once.replacen("\"containers\":", "\"containers\":[],\"containers\":", 1)),
        ("uid", once.replacen("\"uid\":", "\"uid\":\"1\",\"uid\":", 1)),
    ] {
        assert_ne!(twice, once);
        let (status, message) = bench.post(twice).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(message.contains(&format!("the key \"{key}\" is there twice")), "{message}");
    }
}

#[tokio::test]
async fn a_review_that_is_nested_without_end_is_a_bad_request() {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut text = review("calls", &json!({"spec": "HERE"})).to_string();
    text = text.replace("\"HERE\"", &nested);
    let (status, message) = bench().post(text).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(message.contains("recursion limit"), "{message}");
}
