//! Pods: the webhook, and the policies on new pods, on pods that live, and on their debuggers.

use serde_json::{Value, json};

use super::{Actor, Permitted, Refused, Request, Rights, Row, Verdict, bind_role, check, controllers};
use crate::environment_or_skip;
use crate::support::Tenant;

const LABEL: &str = "recordings.revenue.io/inject";

const LABEL_STAYS: Verdict = Refused {
    field: "recordings.revenue.io/inject",
    rule: "cannot be changed on an existing pod",
    fix: "create the pod anew",
};
const ANNOTATION_STAYS: Verdict = Refused {
    field: "recordings.revenue.io/destination",
    rule: "cannot be changed on an existing pod",
    fix: "create the pod anew",
};
const IMAGE_STAYS: Verdict = Refused {
    field: "the image of init container recording-uploader",
    rule: "cannot be changed on an existing pod",
    fix: "create the pod anew",
};

struct People {
    /// Kubernetes' own roles.
    admin: Actor,
    editor: Actor,
    /// Every verb on everything in the namespace, subresources included.
    owner: Actor,
    gitops: Actor,
}

#[test]
fn anyone_with_rbac_may_edit_pods_except_what_makes_them_recorders() {
    environment_or_skip!();
    let tenant = Tenant::new("pods");
    tenant.apply_destination("acme", json!({}));
    tenant.apply_destination("other", json!({}));
    let people = People {
        admin: Actor::user("namespace-admin"),
        editor: Actor::user("namespace-editor"),
        owner: Actor::user("namespace-owner"),
        gitops: Actor::service_account(&tenant.namespace, "gitops"),
    };
    for (role, actor) in [
        ("admin", &people.admin),
        ("edit", &people.editor),
        ("cluster-admin", &people.owner),
        ("edit", &people.gitops),
    ] {
        bind_role(&tenant, role, actor);
    }
    // Pods that exist: one with the label, one without it, and one that no node accepts.
    let (labelled, plain) = (tenant.recorder("labelled"), without_label(&tenant.recorder("plain")));
    let mut waiting = tenant.recorder("waiting");
    waiting["spec"]["nodeSelector"] = json!({"no": "node"});
    for pod in [&labelled, &plain, &waiting] {
        tenant.apply(pod).expect_ok();
    }
    tenant
        .kubectl(&["wait", "--for=condition=Ready", "--timeout=90s", "pod/labelled", "pod/plain"])
        .expect_ok();

    let mut rows = created(&tenant, &people);
    rows.extend(edited("labelled", &people));
    rows.extend(edited("plain", &people));
    rows.extend(kept(&people));
    rows.extend(debugged(&people));
    rows.extend(controllers::rows(&tenant.namespace, &people.editor));
    check(&tenant.namespace, rows);
    controllers::workloads_get_their_pods(&tenant);
}

#[test]
fn labelled_pods_in_exempt_namespaces_are_admitted_unchanged() {
    environment_or_skip!();
    let tenant = Tenant::before_set_up("exempt", None);
    let editor = Actor::user(&format!("editor-{}", tenant.namespace));
    let _rights = Rights::grant(&tenant.namespace, &[("", "pods")], &[&editor]);
    let create = Request::create(&tenant.recorder("recorder"));
    let no_destination = Refused {
        field: "recordings.revenue.io/destination",
        rule: "does not exist in namespace",
        fix: "create the RecordingDestination first",
    };
    for namespace in ["kube-system", "recording-operator"] {
        let row =
            ("creates it labelled", editor.clone(), Request::create(&tenant.recorder("recorder")), Permitted);
        assert_eq!(super::judge(namespace, row), None, "{namespace}");
    }
    assert_eq!(
        super::judge(&tenant.namespace, ("creates it labelled", editor, create, no_destination)),
        None
    );
}

fn without_label(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["labels"] = json!({});
    pod
}

fn created(tenant: &Tenant, people: &People) -> Vec<Row> {
    let pod = |change: &dyn Fn(&mut Value)| {
        let mut pod = tenant.recorder("new");
        change(&mut pod);
        pod
    };
    let labels = |labels: Value| pod(&move |pod| pod["metadata"]["labels"] = labels.clone());
    let plain = labels(json!({}));
    let not_asked = labels(json!({LABEL: "false"}));
    let busy = pod(&|pod| {
        pod["metadata"]["labels"]["app"] = json!("recorder");
        pod["metadata"]["annotations"]["example.com/note"] = json!("free");
        pod["metadata"]["finalizers"] = json!(["example.com/held"]);
    });
    let generated = pod(&|pod| {
        pod["metadata"].as_object_mut().unwrap().remove("name");
        pod["metadata"]["generateName"] = json!("recorder-");
    });
    let destination = |name: Value| {
        pod(&move |pod| pod["metadata"]["annotations"]["recordings.revenue.io/destination"] = name.clone())
    };
    let unnamed = pod(&|pod| pod["metadata"]["annotations"] = json!({}));
    let spoofed = pod(&|pod| {
        let mut sidecar = pod["spec"]["containers"][0].clone();
        sidecar["name"] = json!("recording-uploader");
        pod["spec"]["containers"].as_array_mut().unwrap().push(sidecar);
    });
    let labelled = tenant.recorder("new");
    let by = |actor: &Actor| actor.clone();
    vec![
        ("creates it without a label", by(&people.editor), Request::create(&plain), Permitted),
        ("creates it labelled false", by(&people.editor), Request::create(&not_asked), Permitted),
        (
            "applies it without a label, server-side",
            by(&people.gitops),
            Request::apply_server_side(&plain),
            Permitted,
        ),
        ("creates it labelled", by(&people.editor), Request::create(&labelled), Permitted),
        ("creates it labelled", by(&people.admin), Request::create(&labelled), Permitted),
        ("applies it labelled", by(&people.editor), Request::apply(&labelled), Permitted),
        (
            "applies it labelled, server-side",
            by(&people.gitops),
            Request::apply_server_side(&labelled),
            Permitted,
        ),
        ("creates it labelled, and much else", by(&people.owner), Request::create(&busy), Permitted),
        ("creates it under a generated name", by(&people.editor), Request::create(&generated), Permitted),
        (
            "creates it without a destination",
            by(&people.editor),
            Request::create(&unnamed),
            Refused {
                field: "recordings.revenue.io/destination",
                rule: "does not say where its recordings go",
                fix: "name a RecordingDestination",
            },
        ),
        (
            "creates it for a destination that is not there",
            by(&people.gitops),
            Request::apply_server_side(&destination(json!("nowhere"))),
            Refused {
                field: "recordings.revenue.io/destination",
                rule: "\"nowhere\" does not exist in namespace",
                fix: "create the RecordingDestination first",
            },
        ),
        (
            "creates it with a container of the sidecar's name",
            by(&people.owner),
            Request::create(&spoofed),
            Refused {
                field: "spec.containers",
                rule: "recording-uploader is the sidecar's",
                fix: "rename the container",
            },
        ),
    ]
}

/// Requests that every pod allows, labelled or not.
fn edited(name: &str, people: &People) -> Vec<Row> {
    let object = format!("pod/{name}");
    let metadata = |metadata: Value| Request::patch(&object, &json!({"metadata": metadata}));
    let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "busybox:other"}]);
    let image = Request::new(
        &["patch", &object, "--type=json", "--dry-run=server", &format!("--patch={image}")],
        String::new(),
    );
    let applied =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"team": "voice"}}});
    let by = |actor: &Actor| actor.clone();
    vec![
        ("labels it", by(&people.editor), metadata(json!({"labels": {"team": "voice"}})), Permitted),
        (
            "annotates it",
            by(&people.editor),
            metadata(json!({"annotations": {"example.com/note": "free"}})),
            Permitted,
        ),
        ("applies a label, server-side", by(&people.gitops), Request::apply_server_side(&applied), Permitted),
        (
            "holds it by a finalizer",
            by(&people.owner),
            metadata(json!({"finalizers": ["example.com/held"]})),
            Permitted,
        ),
        ("changes the recorder's image", by(&people.editor), image, Permitted),
        ("deletes it", by(&people.editor), Request::delete(&object), Permitted),
        ("deletes it", by(&people.gitops), Request::delete(&object), Permitted),
    ]
}

/// Changes of the label, the annotations and the sidecar, which are immutable after creation.
fn kept(people: &People) -> Vec<Row> {
    let label = |value: Value| json!({"metadata": {"labels": {LABEL: value}}});
    let destination =
        |value: Value| json!({"metadata": {"annotations": {"recordings.revenue.io/destination": value}}});
    let pod = |name: &str, metadata: Value| {
        let mut metadata = metadata;
        metadata["name"] = json!(name);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    };
    let image = json!([{"op": "replace", "path": "/spec/initContainers/0/image", "value": "busybox:stable"}]);
    let image = Request::new(
        &["patch", "pod/labelled", "--type=json", "--dry-run=server", &format!("--patch={image}")],
        String::new(),
    );
    let resize =
        json!({"spec": {"containers": [{"name": "recorder", "resources": {"requests": {"cpu": "2m"}}}]}});
    let resize = Request::patch_subresource("pod/labelled", "resize", "strategic", &resize);
    let status = |value: Value| Request::patch_subresource("pod/labelled", "status", "merge", &label(value));
    let by = |actor: &Actor| actor.clone();
    let (editor, gitops, owner) = (&people.editor, &people.gitops, &people.owner);
    vec![
        ("keeps the label", by(editor), Request::patch("pod/labelled", &label(json!("true"))), Permitted),
        (
            "keeps the destination",
            by(editor),
            Request::patch("pod/labelled", &destination(json!("acme"))),
            Permitted,
        ),
        (
            "applies what it has, server-side",
            by(gitops),
            Request::apply_server_side(&pod("labelled", json!({"labels": {LABEL: "true"}}))),
            Permitted,
        ),
        ("resizes the recorder", by(owner), resize, Permitted),
        ("labels it false", by(editor), Request::patch("pod/plain", &label(json!("false"))), Permitted),
        (
            "names a destination",
            by(editor),
            Request::patch("pod/plain", &destination(json!("other"))),
            Permitted,
        ),
        ("takes the label off", by(editor), Request::patch("pod/labelled", &label(json!(null))), LABEL_STAYS),
        (
            "changes the label",
            by(editor),
            Request::patch("pod/labelled", &label(json!("false"))),
            LABEL_STAYS,
        ),
        ("changes the label through the status", by(owner), status(json!("false")), LABEL_STAYS),
        ("puts the label on", by(editor), Request::patch("pod/plain", &label(json!("true"))), LABEL_STAYS),
        (
            "puts the label on, server-side",
            by(gitops),
            Request::apply_server_side(&pod("plain", json!({"labels": {LABEL: "true"}}))),
            LABEL_STAYS,
        ),
        (
            "names another destination",
            by(editor),
            Request::patch("pod/labelled", &destination(json!("other"))),
            ANNOTATION_STAYS,
        ),
        (
            "names another destination, server-side",
            by(gitops),
            Request::apply_server_side(&pod(
                "labelled",
                json!({"annotations": {"recordings.revenue.io/destination": "other"}}),
            )),
            ANNOTATION_STAYS,
        ),
        (
            "names no destination",
            by(owner),
            Request::patch("pod/labelled", &destination(json!(null))),
            ANNOTATION_STAYS,
        ),
        ("changes the sidecar's image", by(owner), image, IMAGE_STAYS),
    ]
}

/// `kubectl debug`.
fn debugged(people: &People) -> Vec<Row> {
    let debug = |pod: &str, change: Value| {
        let mut debugger = json!({"name": "debugger", "image": "busybox:stable", "command": ["true"]});
        debugger.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let patch = json!({"spec": {"ephemeralContainers": [debugger]}});
        Request::patch_subresource(&format!("pod/{pod}"), "ephemeralcontainers", "strategic", &patch)
    };
    let target = |name: &str| json!({"targetContainerName": name});
    let mount = |volume: &str| json!({"volumeMounts": [{"name": volume, "mountPath": "/seen"}]});
    let by = || people.owner.clone();
    vec![
        ("debugs it", by(), debug("plain", json!({})), Permitted),
        ("debugs its container", by(), debug("plain", target("recorder")), Permitted),
        ("debugs it with its volume", by(), debug("plain", mount("recordings")), Permitted),
        ("debugs it", by(), debug("labelled", json!({})), Permitted),
        ("debugs the recorder", by(), debug("labelled", target("recorder")), Permitted),
        ("debugs it with the spool", by(), debug("labelled", mount("recordings")), Permitted),
        (
            "debugs the sidecar",
            by(),
            debug("labelled", target("recording-uploader")),
            Refused {
                field: "ephemeral container",
                rule: "may not target recording-uploader",
                fix: "--target=recorder",
            },
        ),
        (
            "debugs it with the sidecar's token",
            by(),
            debug("labelled", mount("recording-uploader-token")),
            Refused {
                field: "ephemeral container",
                rule: "may not mount recording-uploader-token",
                fix: "leave the mount out",
            },
        ),
    ]
}
