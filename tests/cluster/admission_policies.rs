//! What the ValidatingAdmissionPolicies refuse, each beside what they let through.

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Tenant, get, kubectl, kubectl_with};

const SIDECAR: &str = "/spec/initContainers/0";

/// A policy of the chart's for pods with another label, which the webhook does not see, because it would correct most of them. Taken
/// from the cluster, and the same but for its selectors.
struct Copy {
    name: String,
}

impl Copy {
    fn of(policy: &str, tenant: &Tenant) -> Self {
        let name = tenant.namespace.clone();
        let policy = get(&["validatingadmissionpolicy", policy]).unwrap();
        let mut spec = policy["spec"].clone();
        spec["matchConstraints"]["objectSelector"] = json!({"matchLabels": {"spoof": name}});
        spec["matchConstraints"]["namespaceSelector"] = json!({});
        let group = "admissionregistration.k8s.io/v1";
        for (kind, spec) in [
            ("ValidatingAdmissionPolicy", spec),
            ("ValidatingAdmissionPolicyBinding", json!({"policyName": name, "validationActions": ["Deny"]})),
        ] {
            let object = json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec});
            kubectl_with(&["apply", "--filename=-"], &object.to_string()).expect_ok();
        }
        Copy { name }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", &self.name]);
    }
}

/// The pod with one field set.
fn with(pod: &Value, pointer: &str, value: Value) -> Value {
    let mut pod = pod.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match pod.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(field.to_owned(), value)),
        Value::Array(entries) if field == "-" => entries.push(value),
        Value::Array(entries) => entries[field.parse::<usize>().unwrap()] = value,
        other => panic!("{pointer}: {other}"),
    }
    pod
}

#[test]
fn a_new_pod_with_an_altered_sidecar_is_refused_with_the_reason() {
    environment_or_skip!();
    let tenant = Tenant::new("spoof");
    tenant.apply_destination("acme", json!({}));
    let create = |pod: &Value| {
        let namespace = format!("--namespace={}", tenant.namespace);
        kubectl_with(
            &["create", &namespace, "--dry-run=server", "--output=json", "--filename=-"],
            &pod.to_string(),
        )
    };
    let injected = create(&tenant.recorder("recorder")).expect_ok();
    let mut ours: Value = serde_json::from_slice(&injected.stdout).unwrap();
    ours["metadata"] = json!({"name": "recorder", "labels": {"spoof": tenant.namespace}});
    assert_eq!(ours.pointer(SIDECAR).unwrap()["name"], "recording-uploader");
    let _copy = Copy::of("recording-operator-sidecar", &tenant);

    let variable = |name: &str| json!({"name": name, "value": "https://elsewhere.example"});
    let limit = |value: &str| json!({"name": "RECORDING_UPLOADER_BANDWIDTH_LIMIT", "value": value});
    let token = |audience: &str| json!({"serviceAccountToken": {"audience": audience, "path": "token", "expirationSeconds": 3600}});
    let mount = |path: &str| json!({"name": "recordings", "mountPath": path});
    let at = |field: &str| format!("{SIDECAR}/{field}");
    let volumes = ours["spec"]["volumes"].as_array().unwrap();
    let number = volumes.iter().position(|volume| volume["name"] == "recording-uploader-token").unwrap();
    let sources = format!("/spec/volumes/{number}/projected/sources");
    let mut init_container = ours.pointer(SIDECAR).unwrap().clone();
    for field in ["restartPolicy", "startupProbe", "livenessProbe"] {
        init_container.as_object_mut().unwrap().remove(field);
    }
    let rows = [
        (
            "no sidecar",
            "/spec/initContainers".to_owned(),
            json!([]),
            "has no init container recording-uploader",
        ),
        ("another name", at("name"), json!("uploader"), "has no init container recording-uploader"),
        ("another image", at("image"), json!("busybox:stable"), "must have the image"),
        ("another command", at("command"), json!(["/bin/sh"]), "must have the command"),
        ("no command", at("command"), json!(null), "must have the command"),
        ("arguments", at("args"), json!(["--token-file=/etc/passwd"]), "must have no args"),
        ("another broker", at("env/0/value"), json!("https://elsewhere.example"), "RECORDINGS_BROKER_URL"),
        ("a second broker", at("env/-"), variable("RECORDINGS_BROKER_URL"), "RECORDINGS_BROKER_URL"),
        ("a proxy", at("env/-"), variable("HTTPS_PROXY"), "env of others"),
        ("a library before all others", at("env/-"), variable("LD_PRELOAD"), "env of others"),
        ("environment from a Secret", at("envFrom"), json!([{"secretRef": {"name": "x"}}]), "envFrom"),
        ("a hook", at("lifecycle"), json!({"preStop": {"sleep": {"seconds": 1}}}), "lifecycle"),
        (
            "a command for a probe",
            at("livenessProbe"),
            json!({"exec": {"command": ["/recording-uploader"]}}),
            "exec probes",
        ),
        (
            "more arguments for a probe",
            at("startupProbe"),
            json!({"exec": {"command": ["/recording-uploader", "probe", "--spool=/"]}}),
            "exec probes",
        ),
        ("more CPU than the bound", at("resources/limits/cpu"), json!("4001m"), "uploader.resourceBounds"),
        (
            "less memory than the bound",
            at("resources/limits/memory"),
            json!("63Mi"),
            "uploader.resourceBounds",
        ),
        ("a log level of others", at("env/2/value"), json!("info,aws_smithy=trace"), "env of others"),
        ("another variable of ours", at("env/-"), variable("RECORDINGS_BROKER_PROXY"), "env of others"),
        ("a limit that is no number", at("env/-"), limit("10Mi"), "env of others"),
        (
            "something beside the token",
            format!("{sources}/-"),
            json!({"configMap": {"name": "kube-root-ca.crt"}}),
            "must project one",
        ),
        ("a binary mounted over ours", at("volumeMounts/-"), mount("/recording-uploader"), "mounted over"),
        ("the same in other words", at("volumeMounts/-"), mount("/./recording-uploader"), "mounted over"),
        ("a root mounted over all", at("volumeMounts/-"), mount("//"), "mounted over"),
        ("no sidecar but an init container", SIDECAR.to_owned(), init_container, "restartPolicy Always"),
        ("a writable root", at("securityContext/readOnlyRootFilesystem"), json!(false), "read-only root"),
        ("root", at("securityContext/runAsNonRoot"), json!(false), "non-root"),
        ("escalation", at("securityContext/allowPrivilegeEscalation"), json!(true), "privilege escalation"),
        ("a capability", at("securityContext/capabilities/add"), json!(["NET_RAW"]), "no capabilities"),
        ("no seccomp", at("securityContext/seccompProfile"), json!({"type": "Unconfined"}), "seccomp"),
        (
            "a token for somebody else",
            format!("{sources}/0"),
            token("https://elsewhere.example"),
            "audience recordings.revenue.io",
        ),
        ("a token for the API server", format!("{sources}/0"), token(""), "audience recordings.revenue.io"),
        ("a second token", format!("{sources}/-"), token("recordings.revenue.io"), "must project one"),
    ];
    // The policy takes a moment to be in force; from then on it lets ours through and refuses.
    let refuses = || !create(&with(&ours, "/spec/initContainers", json!([]))).ok;
    crate::support::wait_for("the policy", String::new, || refuses().then_some(()));
    create(&ours).expect_ok();
    create(&with(&ours, &at("volumeMounts/-"), mount("/var/run/mesh"))).expect_ok();
    create(&with(&ours, &at("env/-"), limit("10485760"))).expect_ok();
    create(&with(&ours, &at("resources/limits/cpu"), json!("4"))).expect_ok();
    create(&with(&ours, &at("resources/limits/memory"), json!("64Mi"))).expect_ok();
    let of_the_release_before = json!({"httpGet": {"path": "/healthz", "port": 19095}});
    create(&with(&ours, &at("startupProbe"), of_the_release_before)).expect_ok();
    for (what, pointer, value, says) in rows {
        let done = create(&with(&ours, &pointer, value));
        assert!(!done.ok, "{what} was let through");
        assert!(done.stderr.contains(says), "{what}: {}", done.stderr);
    }
}

#[test]
fn label_annotations_and_sidecar_of_a_running_pod_cannot_be_changed() {
    environment_or_skip!();
    let tenant = Tenant::new("altered");
    tenant.apply_destination("acme", json!({}));
    tenant.apply_destination("other", json!({}));
    let mut pod = tenant.recorder("recorder");
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    tenant.apply(&pod).expect_ok();
    let plain = {
        let mut plain = tenant.recorder("plain");
        plain["metadata"]["labels"] = json!({});
        tenant.apply(&plain).expect_ok();
        "plain"
    };
    let patch = |pod: &str, kind: &str, patch: Value| {
        let patch = format!("--patch={patch}");
        tenant.kubectl(&["patch", "pod", pod, &format!("--type={kind}"), "--dry-run=server", &patch])
    };
    let annotation = |name: &str, value: Value| json!({"metadata": {"annotations": {format!("recordings.revenue.io/{name}"): value}}});
    let label = |value: Value| json!({"metadata": {"labels": {"recordings.revenue.io/inject": value}}});
    for (what, pod, change, says) in [
        (
            "the label taken off",
            "recorder",
            label(json!(null)),
            "recordings.revenue.io/inject cannot be changed",
        ),
        (
            "the label changed",
            "recorder",
            label(json!("false")),
            "recordings.revenue.io/inject cannot be changed",
        ),
        ("the label put on", plain, label(json!("true")), "recordings.revenue.io/inject cannot be changed"),
        (
            "another destination",
            "recorder",
            annotation("destination", json!("other")),
            "destination cannot be changed",
        ),
        (
            "no destination",
            "recorder",
            annotation("destination", json!(null)),
            "destination cannot be changed",
        ),
        (
            "another volume",
            "recorder",
            annotation("spool-volume", json!("x")),
            "spool-volume cannot be changed",
        ),
        (
            "another directory",
            "recorder",
            annotation("spool-path", json!("x")),
            "spool-path cannot be changed",
        ),
        (
            "credentials",
            "recorder",
            annotation("credentials", json!("loopback")),
            "credentials cannot be changed",
        ),
        (
            "the sidecar's resources",
            "recorder",
            annotation("sidecar-cpu-limit", json!("1")),
            "sidecar-cpu-limit cannot be changed",
        ),
    ] {
        let done = patch(pod, "merge", change);
        assert!(!done.ok && done.stderr.contains(says), "{what}: {}{}", done.text(), done.stderr);
    }
    let image = |list: &str, image: &str| json!([{"op": "replace", "path": format!("/spec/{list}/0/image"), "value": image}]);
    let done = patch("recorder", "json", image("initContainers", "busybox:stable"));
    assert!(
        !done.ok && done.stderr.contains("image of init container recording-uploader"),
        "{}",
        done.stderr
    );
    // Through the status as well, which carries metadata along.
    let through_status = format!("--patch={}", label(json!(null)));
    let done = tenant.kubectl(&[
        "patch",
        "pod",
        "recorder",
        "--subresource=status",
        "--type=merge",
        "--dry-run=server",
        &through_status,
    ]);
    assert!(!done.ok || done.text().contains("no change"), "{}", done.text());

    patch("recorder", "json", image("containers", "busybox:other")).expect_ok();
    patch("recorder", "merge", json!({"metadata": {"annotations": {"example.com/note": "free"}}}))
        .expect_ok();
    tenant.kubectl(&["delete", "pod", "recorder", "--wait=false", "--grace-period=1"]).expect_ok();
    tenant
        .kubectl(&[
            "patch",
            "pod",
            "recorder",
            "--type=merge",
            "--patch={\"metadata\":{\"finalizers\":null}}",
        ])
        .expect_ok();
}

#[test]
fn a_debug_container_may_target_the_recorder_but_not_the_sidecar() {
    environment_or_skip!();
    let tenant = Tenant::new("debugged");
    tenant.apply_destination("acme", json!({}));
    tenant.start_recorder("recorder");
    let mut shared = tenant.recorder("shared");
    shared["spec"]["shareProcessNamespace"] = json!(true);
    tenant.apply(&shared).expect_ok();
    let debug_in = |pod: &str, name: &str, change: Value| {
        let mut debugger =
            json!({"name": name, "image": "busybox:stable", "imagePullPolicy": "Never", "command": ["true"]});
        debugger.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let patch = format!("--patch={}", json!({"spec": {"ephemeralContainers": [debugger]}}));
        tenant.kubectl(&[
            "patch",
            "pod",
            pod,
            "--subresource=ephemeralcontainers",
            "--type=strategic",
            &patch,
        ])
    };
    let debug = |name: &str, change: Value| debug_in("recorder", name, change);
    let mount = |volume: &str| json!({"volumeMounts": [{"name": volume, "mountPath": "/seen"}]});
    let refused = debug("one", json!({"targetContainerName": "recording-uploader"}));
    assert!(
        !refused.ok && refused.stderr.contains("may not target recording-uploader"),
        "{}",
        refused.stderr
    );
    for volume in ["recording-uploader-token", "recording-uploader-state"] {
        let refused = debug("two", mount(volume));
        assert!(!refused.ok && refused.stderr.contains("may not mount"), "{volume}: {}", refused.stderr);
    }
    let refused = debug_in("shared", "two", json!({}));
    assert!(!refused.ok && refused.stderr.contains("shareProcessNamespace"), "{}", refused.stderr);
    debug("three", json!({"targetContainerName": "recorder"})).expect_ok();
    debug("four", mount("recordings")).expect_ok();
}

#[test]
fn an_earlier_debugger_does_not_block_a_new_one() {
    environment_or_skip!();
    let tenant = Tenant::before_set_up("debugged", None);
    let mut pod = tenant.recorder("recorder");
    pod["metadata"]["labels"] = json!({"spoof": tenant.namespace});
    pod["spec"]["containers"][0]["name"] = json!("recording-uploader");
    tenant.apply(&pod).expect_ok();
    let debug = |name: &str, target: Option<&str>, options: &[&str]| {
        let mut debugger = json!({"name": name, "image": "busybox:stable", "command": ["true"]});
        if let Some(target) = target {
            debugger["targetContainerName"] = json!(target);
        }
        let patch = format!("--patch={}", json!({"spec": {"ephemeralContainers": [debugger]}}));
        let patch =
            ["patch", "pod", "recorder", "--subresource=ephemeralcontainers", "--type=strategic", &patch];
        tenant.kubectl(&[&patch, options].concat())
    };
    debug("before", Some("recording-uploader"), &[]).expect_ok();
    let _copy = Copy::of("recording-operator-debuggers", &tenant);
    let another = || debug("another", Some("recording-uploader"), &["--dry-run=server"]);
    let refused = || another().stderr.contains("may not target recording-uploader").then_some(());
    crate::support::wait_for("the policy", || another().stderr, refused);
    debug("after", None, &[]).expect_ok();
}
