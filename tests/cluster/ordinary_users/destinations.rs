//! Destinations: the policy on who writes their status.

use serde_json::{Value, json};

use super::{Actor, Permitted, Refused, Request, Row, Verdict, bind_role, check};
use crate::environment_or_skip;
use crate::support::{Tenant, wait_for};

const OURS_ALONE: Verdict = Refused {
    field: "the status of a RecordingDestination",
    rule: "is written by recording-operator alone",
    fix: "set the annotation recordings.revenue.io/revalidate",
};
const REPORTS_ALONE: Verdict = Refused {
    field: "status.uploaders, status.lastUploadTime and status.lastLosses",
    rule: "and nothing else",
    fix: "leave the rest of the status to the controller",
};

#[test]
fn anyone_with_rbac_may_edit_destinations_except_the_status() {
    environment_or_skip!();
    let tenant = Tenant::new("owned");
    tenant.apply_secret(&tenant.external_id);
    tenant.apply_destination("acme", json!({"suspend": true}));
    let suspended = || tenant.condition("acme", "Ready").map(drop);
    wait_for("a first status", || tenant.describe(), suspended);
    // Every verb on everything in the namespace, the status included, as those who administer one usually have.
    let owner = Actor::user("namespace-owner");
    let gitops = Actor::service_account(&tenant.namespace, "gitops");
    for actor in [&owner, &gitops] {
        bind_role(&tenant, "cluster-admin", actor);
    }
    let mut rows = specs(&tenant, &owner, &gitops);
    rows.extend(statuses(&tenant, &owner, &gitops));
    check(&tenant.namespace, rows);
}

fn specs(tenant: &Tenant, owner: &Actor, gitops: &Actor) -> Vec<Row> {
    let new = |metadata: Value| {
        let mut destination = tenant.destination("new", json!({"prefix": "new/"}));
        destination["metadata"] = metadata;
        destination
    };
    let bare = new(json!({"name": "new"}));
    let labelled =
        new(json!({"name": "new", "labels": {"team": "voice"}, "annotations": {"example.com/note": "free"}}));
    let generated = new(json!({"generateName": "acme-"}));
    // As exported from another cluster. The API server drops the status.
    let mut exported = bare.clone();
    exported["status"] = json!({"observedGeneration": 1, "conditions": []});
    let mut dotted = bare.clone();
    dotted["spec"]["bucket"] = json!("acme.recordings");
    let metadata =
        |metadata: Value| Request::patch("recordingdestination/acme", &json!({"metadata": metadata}));
    let spec = |spec: Value| Request::patch("recordingdestination/acme", &json!({"spec": spec}));
    let of_kubernetes = |name: &str| Actor::service_account("kube-system", name);
    let by = |actor: &Actor| actor.clone();
    vec![
        ("creates it", by(owner), Request::create(&bare), Permitted),
        ("creates it with labels and annotations", by(owner), Request::create(&labelled), Permitted),
        ("creates it under a generated name", by(owner), Request::create(&generated), Permitted),
        ("creates it with a status", by(owner), Request::create(&exported), Permitted),
        ("applies it", by(owner), Request::apply(&bare), Permitted),
        ("applies it, server-side", by(gitops), Request::apply_server_side(&labelled), Permitted),
        (
            "applies it with a status, server-side",
            by(gitops),
            Request::apply_server_side(&exported),
            Permitted,
        ),
        ("labels it", by(owner), metadata(json!({"labels": {"team": "voice"}})), Permitted),
        (
            "asks for a validation",
            by(owner),
            metadata(json!({"annotations": {"recordings.revenue.io/revalidate": "now"}})),
            Permitted,
        ),
        (
            "holds it by a finalizer",
            by(owner),
            metadata(json!({"finalizers": ["example.com/held"]})),
            Permitted,
        ),
        ("edits it", by(owner), spec(json!({"prefix": "calls/"})), Permitted),
        ("resumes it", by(gitops), spec(json!({"suspend": false})), Permitted),
        ("deletes it", by(owner), Request::delete("recordingdestination/acme"), Permitted),
        (
            "deletes it",
            of_kubernetes("namespace-controller"),
            Request::delete("recordingdestination/acme"),
            Permitted,
        ),
        (
            "names a bucket with dots",
            by(owner),
            Request::create(&dotted),
            Refused {
                field: "spec.bucket",
                rule: "dots",
                fix: "use one named like customer-name-recordings",
            },
        ),
    ]
}

fn statuses(tenant: &Tenant, owner: &Actor, gitops: &Actor) -> Vec<Row> {
    let patch = |status: Value| {
        let patch = json!({"status": status});
        Request::patch_subresource("recordingdestination/acme", "status", "merge", &patch)
    };
    let time = "2026-01-01T00:00:00Z";
    let ready = || {
        let condition = json!({"type": "Ready", "status": "True", "reason": "Validated", "message": "",
            "observedGeneration": 1, "lastTransitionTime": time});
        patch(json!({"conditions": [condition]}))
    };
    let upload = || patch(json!({"lastUploadTime": time}));
    let losses = || {
        let loss = json!({"pod": "p", "uid": "u", "time": time, "files": 1, "bytes": 2, "spool": "emptyDir",
            "kind": "Lost"});
        patch(json!({"lastLosses": [loss]}))
    };
    let mut applied = json!({"apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination"});
    applied["metadata"] = json!({"name": "acme"});
    applied["status"] = json!({"accountID": "999999999999", "observedGeneration": 1});
    let applied = || {
        let mut request = Request::apply_server_side(&applied);
        request.arguments.push("--subresource=status".to_owned());
        request
    };
    // The policy compares the user name only. The group lets kubectl read the status before it patches it.
    let ours = |namespace: &str, name: &str| {
        Actor::service_account(namespace, &format!("recording-operator-{name}")).with_every_right()
    };
    let (controller, broker) =
        (|| ours("recording-operator", "controller"), || ours("recording-operator", "broker"));
    let by = |actor: &Actor| actor.clone();
    vec![
        ("says that it is Ready", controller(), ready(), Permitted),
        ("applies a status, server-side", controller(), applied(), Permitted),
        ("says when uploads last came", broker(), upload(), Permitted),
        ("says what a pod lost", broker(), losses(), Permitted),
        ("says that it is Ready", by(owner), ready(), OURS_ALONE),
        ("says when uploads last came", by(owner), upload(), OURS_ALONE),
        ("says what a pod lost", by(owner), losses(), OURS_ALONE),
        ("applies a status, server-side", by(gitops), applied(), OURS_ALONE),
        ("says that it is Ready", Actor::user("cluster-admin").with_every_right(), ready(), OURS_ALONE),
        ("says that it is Ready", ours(&tenant.namespace, "controller"), ready(), OURS_ALONE),
        ("says that it is Ready", ours("recording-operator", "webhook"), ready(), OURS_ALONE),
        ("says that it is Ready", broker(), ready(), REPORTS_ALONE),
        ("says that it was proved", broker(), patch(json!({"establishedTime": time})), REPORTS_ALONE),
        ("applies a status, server-side", broker(), applied(), REPORTS_ALONE),
    ]
}

/// Kubernetes' own roles, which the chart's aggregated roles extend.
#[test]
fn view_and_edit_read_destinations_and_admin_writes_them() {
    environment_or_skip!();
    let tenant = Tenant::new("roles");
    tenant.apply_destination("acme", json!({"suspend": true}));
    let may = |role: &str, verb: &str, more: &[&str]| {
        let user = format!("--as=roles-{role}");
        tenant.kubectl(&[&["auth", "can-i", verb, "recordingdestinations", &user], more].concat()).ok
    };
    let allowed = |role: &str, verb: &str| may(role, verb, &[]);
    for role in ["view", "edit", "admin"] {
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
            "subjects": [{"kind": "User", "name": format!("roles-{role}"), "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}});
        tenant.apply(&binding).expect_ok();
        let reads = || allowed(role, "get").then_some(());
        wait_for(&format!("the rights of {role}"), String::new, reads);
        assert!(allowed(role, "list") && allowed(role, "watch"));
        for verb in ["create", "update", "patch", "delete"] {
            assert_eq!(allowed(role, verb), role == "admin", "{role} {verb}");
            assert!(!may(role, verb, &["--subresource=status"]), "{role} {verb}");
        }
    }
}
