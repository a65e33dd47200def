//! Pod security `restricted`, rule by rule, asked of the golden pods.

use super::*;

/// Kinds of volumes that the profile lets be.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What a container's own fields break of the profile. What it leaves to the pod's is broken too, as
/// ours leaves nothing.
fn broken_by_container(container: &Value) -> Vec<&'static str> {
    let context = &container["securityContext"];
    let capabilities = &context["capabilities"];
    let absent = |value: &Value| value.is_null();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let probes = ["startupProbe", "livenessProbe", "readinessProbe"].map(|name| &container[name]);
    let rules = [
        ("privileged", absent(&context["privileged"]) || context["privileged"] == false),
        ("allowPrivilegeEscalation", context["allowPrivilegeEscalation"] == false),
        ("capabilities.drop", list(&capabilities["drop"]).contains(&json!("ALL"))),
        ("capabilities.add", list(&capabilities["add"]).iter().all(|added| added == "NET_BIND_SERVICE")),
        ("runAsNonRoot", context["runAsNonRoot"] == true),
        ("runAsUser", context["runAsUser"].as_i64().is_some_and(|uid| uid != 0)),
        ("seccompProfile", context["seccompProfile"]["type"] == "RuntimeDefault"),
        ("appArmorProfile", absent(&context["appArmorProfile"])),
        ("seLinuxOptions", absent(&context["seLinuxOptions"])),
        ("procMount", absent(&context["procMount"])),
        ("windowsOptions", absent(&context["windowsOptions"])),
        ("hostPort", list(&container["ports"]).iter().all(|port| absent(&port["hostPort"]))),
        ("probe host", probes.iter().all(|probe| absent(&probe["httpGet"]["host"]))),
        ("lifecycle", absent(&container["lifecycle"])),
    ];
    rules.iter().filter(|(_, holds)| !holds).map(|(rule, _)| *rule).collect()
}

fn has_kind(volume: &Value) -> bool {
    VOLUMES.iter().any(|kind| !volume[*kind].is_null())
}

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain/injection/golden").join(name);
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn what_is_injected_breaks_no_rule_of_pod_security_restricted() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain/injection/golden");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(before) = name.strip_suffix(".out.yaml").map(|name| golden(&format!("{name}.in.yaml")))
        else {
            continue;
        };
        let after = golden(&name);
        if Injection::read(&after).unwrap().is_none() {
            continue;
        }
        assert_eq!(broken_by_container(sidecar(&after)), Vec::<&str>::new(), "{name}");
        let volumes = |pod: &Value| pod["spec"]["volumes"].as_array().unwrap().clone();
        let (before_ours, after_ours) = (volumes(&before), volumes(&after));
        assert!(after_ours.iter().all(|volume| before_ours.contains(volume) || has_kind(volume)), "{name}");
        seen += 1;
    }
    assert!(seen > 5, "{seen} golden pods");
}

#[test]
fn a_restricted_pod_is_restricted_still() {
    let (before, after) = (golden("restricted.in.yaml"), golden("restricted.out.yaml"));
    assert!(after["spec"]["volumes"].as_array().unwrap().iter().all(has_kind));
    assert_eq!(after["spec"]["securityContext"], before["spec"]["securityContext"]);
    let context = |pod: &Value| pod["spec"]["containers"][0]["securityContext"].clone();
    assert_eq!(context(&after), context(&before));
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(after["spec"][field].is_null());
    }
}

#[test]
fn each_rule_of_the_profile_can_be_broken() {
    let ours = sidecar(&golden("recorder.out.yaml")).clone();
    for (pointer, value, rule) in [
        ("/securityContext/privileged", json!(true), "privileged"),
        ("/securityContext/allowPrivilegeEscalation", Value::Null, "allowPrivilegeEscalation"),
        ("/securityContext/capabilities/drop", json!(["NET_RAW"]), "capabilities.drop"),
        ("/securityContext/capabilities/add", json!(["SYS_ADMIN"]), "capabilities.add"),
        ("/securityContext/runAsNonRoot", Value::Null, "runAsNonRoot"),
        ("/securityContext/runAsUser", json!(0), "runAsUser"),
        ("/securityContext/seccompProfile", json!({"type": "Unconfined"}), "seccompProfile"),
        ("/securityContext/procMount", json!("Unmasked"), "procMount"),
        ("/ports/0/hostPort", json!(80), "hostPort"),
        ("/startupProbe/httpGet", json!({"host": "169.254.169.254"}), "probe host"),
    ] {
        assert_eq!(broken_by_container(&with(ours.clone(), pointer, value)), [rule], "{pointer}");
    }
    assert!(!has_kind(&json!({"name": "recordings", "hostPath": {"path": "/"}})));
}
