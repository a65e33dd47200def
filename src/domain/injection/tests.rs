mod resources;
mod restricted;

use std::path::Path;

use serde_json::json;

use super::*;

fn settings() -> Settings {
    Settings::usual(
        "registry.example/recording-operator:1".to_owned(),
        "https://recording-operator-broker.recording-operator.svc:8443".to_owned(),
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned(),
    )
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

/// Every `golden/NAME.in.yaml` becomes `golden/NAME.out.yaml`. `GOLDEN=write` updates the outputs.
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
fn a_bandwidth_limit_is_an_environment_variable_of_the_sidecar() {
    let limited = Settings { bandwidth_limit: Some(10 << 20), ..settings() };
    let without = inject(&recorder(), &settings()).unwrap();
    let with_one = inject(&recorder(), &limited).unwrap();
    assert_eq!(inject(&with_one, &limited).unwrap(), with_one, "injected again");
    let limit = json!({"name": "RECORDING_UPLOADER_BANDWIDTH_LIMIT", "value": "10485760"});
    let last = |pod: &Value| sidecar(pod)["env"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last(&with_one), limit);
    assert_ne!(last(&without), limit);
    assert_eq!(inject(&with_one, &settings()).unwrap(), without);
}

/// Each row is one thing wrong, beside the same thing in order. `GOLDEN=write` updates the sentences.
#[test]
fn a_pod_that_cannot_be_served_is_refused_with_the_golden_sentence() {
    let annotation = |name: &str| format!("/metadata/annotations/recordings.revenue.io~1{name}");
    let volume = |source: Value| {
        let mut volume = json!({"name": "recordings"});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!([volume])
    };
    let mounting =
        |field: &str, directory: &str| json!([{"name": "recordings", "mountPath": "/r", field: directory}]);
    let (pod_user, own_user) = ("/spec/securityContext", "/spec/containers/0/securityContext");
    let (volumes, mounts) = ("/spec/volumes", "/spec/containers/0/volumeMounts");
    let in_calls = with(recorder(), &annotation("spool-path"), json!("calls"));
    let rows = [
        (recorder(), annotation("destination"), Value::Null, json!("acme")),
        (recorder(), annotation("destination"), json!("../../secrets/x"), json!("acme.x")),
        (recorder(), annotation("destination"), json!(""), json!("a")),
        (recorder(), annotation("destination"), json!("Acme"), json!("acme")),
        (recorder(), annotation("spool-volume"), json!("spool"), json!("recordings")),
        (recorder(), annotation("spool-volume"), json!("recording-uploader-state"), Value::Null),
        (recorder(), annotation("spool-path"), json!("/calls"), json!("calls")),
        (recorder(), annotation("spool-path"), json!("calls/../.."), json!("calls/eu")),
        (recorder(), annotation("spool-path"), json!(""), Value::Null),
        (recorder(), annotation("spool-path"), json!("calls/$(POD_NAME)"), json!("calls/$POD")),
        (in_calls.clone(), mounts.to_owned(), mounting("subPath", "call"), mounting("subPath", "calls")),
        (
            in_calls,
            mounts.to_owned(),
            mounting("subPathExpr", "x/$(P)"),
            mounting("subPathExpr", "calls/$(P)"),
        ),
        (recorder(), annotation("credentials"), json!("Loopback"), json!("loopback")),
        (recorder(), annotation("sidecar-cpu-limit"), json!("much"), json!("1")),
        (recorder(), annotation("sidecar-memory-limit"), json!("-1Gi"), json!("1Gi")),
        (recorder(), annotation("sidecar-memory-limit"), json!("8Gi"), json!("2Gi")),
        (recorder(), annotation("sidecar-memory-limit"), json!("8Mi"), json!("64Mi")),
        (recorder(), annotation("sidecar-memory-request"), json!("512Mi"), json!("256Mi")),
        (recorder(), annotation("sidecar-log-level"), json!("trace"), json!("debug")),
        (recorder(), "/spec/hostNetwork".to_owned(), json!(true), json!(false)),
        (recorder(), volumes.to_owned(), json!([]), volume(json!({"emptyDir": {}}))),
        (
            recorder(),
            volumes.to_owned(),
            volume(json!({"persistentVolumeClaim": {"claimName": "c", "readOnly": true}})),
            volume(json!({"persistentVolumeClaim": {"claimName": "c"}})),
        ),
        (
            recorder(),
            volumes.to_owned(),
            volume(json!({"csi": {"driver": "d", "readOnly": true}})),
            volume(json!({"csi": {"driver": "d", "readOnly": false}})),
        ),
        (
            recorder(),
            volumes.to_owned(),
            volume(json!({"nfs": {"server": "s", "path": "/", "readOnly": true}})),
            volume(json!({"nfs": {"server": "s", "path": "/"}})),
        ),
        (
            recorder(),
            volumes.to_owned(),
            volume(json!({"configMap": {"name": "c"}})),
            volume(json!({"hostPath": {"path": "/r"}})),
        ),
        (recorder(), volumes.to_owned(), volume(json!({"secret": {}})), volume(json!({"ephemeral": {}}))),
        (recorder(), volumes.to_owned(), volume(json!({"projected": {}})), volume(json!({"emptyDir": {}}))),
        (recorder(), volumes.to_owned(), volume(json!({"downwardAPI": {}})), volume(json!({"emptyDir": {}}))),
        (recorder(), volumes.to_owned(), volume(json!({"image": {}})), volume(json!({"emptyDir": {}}))),
        (recorder(), pod_user.to_owned(), json!({"runAsUser": 0}), json!({"runAsUser": 1})),
        (recorder(), own_user.to_owned(), json!({"runAsUser": 0}), json!({"runAsUser": 1})),
        (recorder(), "/spec/containers/0/name".to_owned(), json!("recording-uploader"), json!("uploader")),
        (recorder(), "/spec/containers".to_owned(), json!("none"), json!([{"name": "recorder"}])),
    ];
    let mut sentences = String::new();
    for (pod, pointer, wrong, right) in rows {
        assert!(
            inject(&with(pod.clone(), &pointer, right.clone()), &settings()).is_ok(),
            "{pointer}: {right}"
        );
        let refusal = inject(&with(pod, &pointer, wrong.clone()), &settings()).unwrap_err();
        sentences.push_str(&format!("{}: {wrong}\n  {refusal}\n", pointer.replace("~1", "/")));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain/injection/golden/refusals.txt");
    if std::env::var("GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&golden, &sentences).unwrap();
    }
    assert_eq!(sentences, std::fs::read_to_string(golden).unwrap());
}

#[test]
fn annotations_that_are_in_order_are_taken() {
    let pod = with(recorder(), "/metadata/annotations/recordings.revenue.io~1spool-path", json!("calls/eu"));
    let injection = Injection::read(&pod).unwrap().unwrap();
    let asked = injection.request();
    assert_eq!((asked.destination.as_str(), asked.spool.path.as_deref()), ("acme", Some("calls/eu")));
    assert!(Injection::read(&with(recorder(), "/metadata/labels", json!({}))).unwrap().is_none());
}

#[test]
fn the_sidecar_runs_as_the_recorders_user() {
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

#[test]
fn a_grace_period_too_short_to_drain_in_is_raised_and_a_long_one_kept() {
    for (grace, expected) in
        [(Value::Null, 120), (json!(0), 120), (json!(30), 120), (json!(120), 120), (json!(600), 600)]
    {
        let input = with(recorder(), "/spec/terminationGracePeriodSeconds", grace);
        let injected = inject(&input, &settings()).unwrap();
        assert_eq!(injected["spec"]["terminationGracePeriodSeconds"], expected);
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
