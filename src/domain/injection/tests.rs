use std::path::Path;

use serde_json::json;

use super::*;

fn settings() -> Settings {
    Settings {
        image: "registry.example/recording-operator:1".to_owned(),
        image_pull_policy: "IfNotPresent".to_owned(),
        broker_url: "https://recording-operator-broker.recording-operator.svc:8443".to_owned(),
        broker_ca: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned(),
    }
}

/// A pod that is injected; each test breaks or changes one thing.
fn recorder() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "recorder",
            "labels": {"recordings.revenue.io/inject": "true"},
            "annotations": {"recordings.revenue.io/destination": "acme"},
        },
        "spec": {
            "containers": [{
                "name": "recorder", "image": "recorder",
                "volumeMounts": [{"name": "recordings", "mountPath": "/recordings"}],
            }],
            "volumes": [{"name": "recordings", "emptyDir": {}}],
        },
    })
}

fn sidecar(pod: &Value) -> &Value {
    pod["spec"]["initContainers"].as_array().unwrap().last().unwrap()
}

/// Every `golden/NAME.in.yaml` becomes `golden/NAME.out.yaml`. `GOLDEN=write` writes the outputs anew.
#[test]
fn pods_become_the_golden_pods_and_a_second_injection_changes_nothing() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain/injection/golden");
    let mut seen = 0;
    for entry in std::fs::read_dir(golden).unwrap() {
        let input = entry.unwrap().path();
        let Some(name) = input.to_str().unwrap().strip_suffix(".in.yaml") else { continue };
        let output = format!("{name}.out.yaml");
        let pod: Value = serde_yaml::from_str(&std::fs::read_to_string(&input).unwrap()).unwrap();
        let injected = inject(&pod, &settings()).unwrap();
        if std::env::var("GOLDEN").is_ok_and(|value| value == "write") {
            std::fs::write(&output, serde_yaml::to_string(&injected).unwrap()).unwrap();
        }
        let expected: Value = serde_yaml::from_str(&std::fs::read_to_string(&output).unwrap()).unwrap();
        assert_eq!(injected, expected, "{name}");
        assert_eq!(inject(&injected, &settings()).unwrap(), injected, "{name}, injected again");
        seen += 1;
    }
    assert!(seen > 0, "no golden pods found");
}

#[test]
fn a_pod_that_cannot_be_served_is_refused_with_what_to_do() {
    assert!(inject(&recorder(), &settings()).is_ok());
    let annotation = |name: &str| format!("/metadata/annotations/recordings.revenue.io~1{name}");
    for (pointer, value, refusal, remedy) in [
        (
            annotation("destination"),
            Value::Null,
            "does not say where its recordings go",
            "or take the label off",
        ),
        (annotation("destination"), json!("../../secrets/x"), "cannot be the name", "correct the annotation"),
        (annotation("destination"), json!(""), "cannot be the name", "correct the annotation"),
        (annotation("destination"), json!("Acme"), "cannot be the name", "lower-case letters"),
        (annotation("spool-volume"), json!("spool"), "no volume \"spool\"", "add the volume to spec.volumes"),
        (annotation("spool-path"), json!("/calls"), "does not stay within", "give a relative directory"),
        (annotation("spool-path"), json!("calls/../.."), "does not stay within", "give a relative directory"),
        (annotation("spool-path"), json!(""), "does not stay within", "leave the annotation out"),
        (annotation("credentials"), json!("Loopback"), "credentials is \"Loopback\"", "or leave it out"),
        ("/spec/hostNetwork".to_owned(), json!(true), "on the host network", "take hostNetwork out"),
        ("/spec/volumes".to_owned(), json!([]), "no volume \"recordings\"", "add the volume to spec.volumes"),
        (
            "/spec/securityContext".to_owned(),
            json!({"runAsUser": 0}),
            "spec.securityContext.runAsUser is 0",
            "set it to another UID",
        ),
        (
            "/spec/containers/0/securityContext".to_owned(),
            json!({"runAsUser": 0}),
            "securityContext.runAsUser of container recorder is 0",
            "set it to another UID",
        ),
        (
            "/spec/containers/0/name".to_owned(),
            json!("recording-uploader"),
            "is the sidecar's",
            "rename the container",
        ),
        ("/spec/containers".to_owned(), json!("none"), "not a pod that can be read", "correct the manifest"),
    ] {
        let refused = inject(&with(recorder(), &pointer, value), &settings()).unwrap_err().to_string();
        assert!(refused.contains(refusal) && refused.contains(remedy), "{pointer}: {refused}");
    }
}

#[test]
fn annotations_that_are_in_order_are_taken() {
    let pod = with(recorder(), "/metadata/annotations/recordings.revenue.io~1spool-path", json!("calls/eu"));
    let asked = request(&pod).unwrap().unwrap();
    assert_eq!((asked.destination.as_str(), asked.spool_path.as_deref()), ("acme", Some("calls/eu")));
    assert_eq!(request(&with(recorder(), "/metadata/labels", json!({}))).unwrap(), None);
}

#[test]
fn the_sidecar_runs_as_whom_the_recorder_runs() {
    for (container, pod, expected) in [
        (json!({}), json!({}), (65532, 65532)),
        (json!({}), json!({"runAsUser": 7, "runAsGroup": 8}), (7, 8)),
        (json!({"runAsUser": 5}), json!({"runAsUser": 7, "runAsGroup": 8}), (5, 8)),
        (json!({"runAsUser": 5, "runAsGroup": 6}), json!({"runAsUser": 0}), (5, 6)),
        (json!({"runAsUser": 5, "runAsGroup": 0}), json!({}), (5, 0)),
    ] {
        let input = with(recorder(), "/spec/containers/0/securityContext", container);
        let injected = inject(&with(input, "/spec/securityContext", pod.clone()), &settings()).unwrap();
        let context = &sidecar(&injected)["securityContext"];
        assert_eq!(
            (context["runAsUser"].clone(), context["runAsGroup"].clone()),
            (json!(expected.0), json!(expected.1))
        );
        assert_eq!(injected["spec"]["securityContext"], pod, "the pod's own is left alone");
    }
}

#[test]
fn the_token_outlasts_the_grace_period_within_bounds() {
    for (grace, expected) in
        [(json!(0), 3600), (json!(30), 3600), (json!(1800), 10_800), (json!(i64::MAX), 86_400)]
    {
        let input = with(recorder(), "/spec/terminationGracePeriodSeconds", grace);
        let injected = inject(&input, &settings()).unwrap();
        let token = injected.pointer("/spec/volumes/2/projected/sources/0/serviceAccountToken").unwrap();
        assert_eq!(token["expirationSeconds"], expected);
    }
}

/// The pod with one field set, or taken out when the value is null.
fn with(mut pod: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = pod.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    let field = field.replace("~1", "/");
    match value {
        Value::Null => drop(parent.remove(&field)),
        value => drop(parent.insert(field, value)),
    }
    pod
}
