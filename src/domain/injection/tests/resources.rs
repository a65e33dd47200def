//! Requests, limits and log level of the sidecar.

use super::*;

fn annotated(annotations: &[(&str, &str)]) -> Value {
    annotations.iter().fold(recorder(), |pod, (name, value)| {
        with(pod, &format!("/metadata/annotations/recordings.revenue.io~1sidecar-{name}"), json!(value))
    })
}

/// The sidecar's requests and limits.
fn resources(pod: &Value, settings: &Settings) -> Value {
    sidecar(&inject(pod, settings).unwrap())["resources"].clone()
}

/// The same pod with a sidecar that was given these by others.
fn given(pod: &Value, theirs: Value) -> Value {
    let mut pod = inject(pod, &settings()).unwrap();
    for part in ["requests", "limits"] {
        let amounts = pod.pointer_mut(&format!("/spec/initContainers/0/resources/{part}")).unwrap();
        amounts
            .as_object_mut()
            .unwrap()
            .extend(theirs[part].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
    }
    pod
}

#[test]
fn annotations_choose_requests_and_limits_and_the_others_stay_as_usual() {
    for (annotations, expected) in [
        (&[][..], json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}})),
        (
            &[("cpu-limit", "500m"), ("ephemeral-storage-limit", "1Gi")][..],
            json!({
                "requests": {"cpu": "10m", "memory": "32Mi"},
                "limits": {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "1Gi"},
            }),
        ),
        (
            &[
                ("cpu-request", "1"),
                ("memory-request", "512Mi"),
                ("memory-limit", "1Gi"),
                ("ephemeral-storage-request", "1Mi"),
            ][..],
            json!({
                "requests": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "1Mi"},
                "limits": {"memory": "1Gi"},
            }),
        ),
    ] {
        assert_eq!(resources(&annotated(annotations), &settings()), expected, "{annotations:?}");
    }
}

#[test]
fn a_usual_request_gives_way_to_a_lower_limit() {
    let high = Resources { requests: [("memory".into(), "200Mi".into())].into(), ..Resources::usual() };
    let settings = Settings { resources: high, ..settings() };
    let resources = resources(&annotated(&[("memory-limit", "64Mi")]), &settings);
    assert_eq!(
        (&resources["requests"]["memory"], &resources["limits"]["memory"]),
        (&json!("64Mi"), &json!("64Mi"))
    );
}

#[test]
fn each_bound_is_the_last_amount_that_is_accepted() {
    for (annotation, accepted, refused, says) in [
        ("cpu-limit", "50m", "49m", "no less than 50m (the chart's value uploader.resourceBounds.min.cpu)"),
        ("cpu-limit", "4", "4001m", "at most 4 (the chart's value uploader.resourceBounds.max.cpu)"),
        ("cpu-request", "4000m", "5", "at most 4 (the"),
        ("memory-limit", "64Mi", "63Mi", "no less than 64Mi"),
        ("memory-limit", "2Gi", "2049Mi", "at most 2Gi"),
        ("memory-request", "256Mi", "3Gi", "at most 2Gi"),
        ("ephemeral-storage-limit", "16Mi", "15Mi", "no less than 16Mi"),
        ("ephemeral-storage-request", "4Gi", "5Gi", "at most 4Gi"),
    ] {
        assert!(
            inject(&annotated(&[(annotation, accepted)]), &settings()).is_ok(),
            "{annotation} {accepted}"
        );
        let refusal = inject(&annotated(&[(annotation, refused)]), &settings()).unwrap_err().to_string();
        assert!(refusal.contains(says) && refusal.contains(annotation), "{refusal}");
        let unbounded = Settings { resource_bounds: ResourceBounds::default(), ..settings() };
        let with_limit = [(annotation, refused), ("memory-limit", "8Gi")];
        let annotations = if annotation == "memory-request" { &with_limit[..] } else { &with_limit[..1] };
        assert!(inject(&annotated(annotations), &unbounded).is_ok(), "{annotation} {refused}");
    }
}

#[test]
fn what_others_gave_the_sidecar_stays_within_the_bounds() {
    for (theirs, expected) in [
        (json!({"limits": {"cpu": "500m"}}), json!("500m")),
        (json!({"limits": {"cpu": "16"}}), json!("4")),
        (json!({"limits": {"cpu": "20m"}}), json!("50m")),
        (json!({"limits": {"cpu": "16"}, "requests": {"ephemeral-storage": "1Mi"}}), json!("4")),
    ] {
        let resources = resources(&given(&recorder(), theirs.clone()), &settings());
        assert_eq!(resources["limits"]["cpu"], expected, "{theirs}");
        assert_eq!(resources["limits"]["memory"], "256Mi");
        assert_eq!(resources["requests"]["ephemeral-storage"], theirs["requests"]["ephemeral-storage"]);
    }
    let of_another_kind = json!({"limits": {"hugepages-2Mi": "2Mi"}});
    assert_eq!(
        resources(&given(&recorder(), of_another_kind), &settings())["limits"]["hugepages-2Mi"],
        "2Mi"
    );
}

#[test]
fn an_amount_that_the_api_server_writes_otherwise_is_no_change() {
    let pod = annotated(&[("cpu-limit", "0.5"), ("memory-limit", "1024Mi")]);
    let injected = inject(&pod, &settings()).unwrap();
    let canonical = given(&pod, json!({"limits": {"cpu": "500m", "memory": "1Gi"}}));
    assert_ne!(injected, canonical);
    assert_eq!(inject(&canonical, &settings()).unwrap(), canonical);
}

#[test]
fn the_log_level_is_the_operators_unless_the_pod_names_one() {
    let level = |pod: &Value, settings: &Settings| sidecar(&inject(pod, settings).unwrap())["env"][2].clone();
    let warn = Settings { log_level: LogLevel::Warn, ..settings() };
    for (annotations, settings, expected) in [
        (&[][..], &settings(), "info"),
        (&[][..], &warn, "warn"),
        (&[("log-level", "debug")][..], &warn, "debug"),
    ] {
        assert_eq!(level(&annotated(annotations), settings), json!({"name": "RUST_LOG", "value": expected}));
    }
}

/// Volume, limits of ephemeral storage (of recorder and sidecar), and what the sidecar is told.
#[test]
fn the_sidecar_is_told_its_volume_and_the_size_at_which_its_pod_is_evicted() {
    let mebi = |count: u64| Some((count << 20).to_string());
    for (volume, recorders, sidecars, kind, limit) in [
        (json!({"emptyDir": {}}), None, None, "emptyDir", None),
        (json!({}), None, None, "emptyDir", None),
        (json!({"emptyDir": {"sizeLimit": "500Mi"}}), None, None, "emptyDir", mebi(500)),
        (json!({"emptyDir": {"sizeLimit": "500Mi"}}), Some("1Gi"), Some("1Gi"), "emptyDir", mebi(500)),
        (json!({"emptyDir": {"sizeLimit": "5Gi"}}), Some("1Gi"), Some("64Mi"), "emptyDir", mebi(1024 + 64)),
        (json!({"emptyDir": {}}), None, Some("64Mi"), "emptyDir", mebi(64)),
        (
            json!({"emptyDir": {"medium": "Memory", "sizeLimit": "500Mi"}}),
            Some("1Gi"),
            None,
            "emptyDir",
            None,
        ),
        (
            json!({"persistentVolumeClaim": {"claimName": "calls-0"}}),
            Some("1Gi"),
            None,
            "persistentVolumeClaim/calls-0",
            None,
        ),
        (json!({"hostPath": {"path": "/calls"}}), None, None, "hostPath", None),
        (json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}), None, None, "ephemeral", None),
        (json!({"csi": {"driver": "d"}}), None, None, "csi", None),
    ] {
        let mut source = json!({"name": "recordings"});
        source.as_object_mut().unwrap().extend(volume.as_object().unwrap().clone());
        let annotations: Vec<_> =
            sidecars.map(|limit| ("ephemeral-storage-limit", limit)).into_iter().collect();
        let mut pod = with(annotated(&annotations), "/spec/volumes", json!([source]));
        if let Some(limit) = recorders {
            pod = with(pod, "/spec/containers/0/resources", json!({"limits": {"ephemeral-storage": limit}}));
        }
        let injected = inject(&pod, &settings()).unwrap();
        let variable = |name: &str| {
            let variables = sidecar(&injected)["env"].as_array().unwrap();
            variables.iter().find(|it| it["name"] == name).map(|it| it["value"].as_str().unwrap().to_owned())
        };
        assert_eq!(variable("RECORDINGS_SPOOL_VOLUME").as_deref(), Some(kind), "{volume}");
        assert_eq!(variable("RECORDINGS_SPOOL_SIZE_LIMIT"), limit, "{volume} {recorders:?} {sidecars:?}");
    }
}

#[test]
fn settings_that_cannot_be_meant_are_not_taken() {
    for (text, is_taken) in [
        (r#"{"requests": {"cpu": "1"}, "limits": {}}"#, true),
        (r#"{"limits": {"ephemeral-storage": "1Gi"}}"#, true),
        (r#"{"limits": {"cpu": "much"}}"#, false),
        (r#"{"limits": {"gpu": "1"}}"#, false),
        (r#"{"limit": {"cpu": "1"}}"#, false),
        (r#"{"limits": {"cpu": 1}}"#, false),
        ("", false),
    ] {
        assert_eq!(Resources::from_json(text).is_ok(), is_taken, "{text}");
    }
    assert!(ResourceBounds::from_json(r#"{"min": {"cpu": "1"}, "max": {}}"#).is_ok());
    assert!(ResourceBounds::from_json(r#"{"most": {"cpu": "1"}}"#).is_err());
}

#[test]
fn the_charts_defaults_are_those_of_a_preview() {
    let values = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/recording-operator/values.yaml");
    let values: Value = serde_yaml::from_str(&std::fs::read_to_string(values).unwrap()).unwrap();
    let uploader = |name: &str| values["uploader"][name].clone();
    let usual = settings();
    assert_eq!(Resources::from_json(&uploader("resources").to_string()), Ok(usual.resources));
    assert_eq!(ResourceBounds::from_json(&uploader("resourceBounds").to_string()), Ok(usual.resource_bounds));
    assert_eq!(uploader("logLevel"), usual.log_level.to_string());
}
