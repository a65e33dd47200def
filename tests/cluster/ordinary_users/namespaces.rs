//! Namespaces: the policy on the annotation that binds one to AWS accounts.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use serde_json::{Value, json};

use super::{Actor, Permitted, Refused, Request, Rights, Row, Verdict, check, judge};
use crate::environment_or_skip;
use crate::support::{get, kubectl, kubectl_with, wait_for};

const ACCOUNTS: &str = "recordings.revenue.io/allowed-accounts";

const ONLY_THE_GROUPS: Verdict = Refused {
    field: "metadata.annotations['recordings.revenue.io/allowed-accounts']",
    rule: "may set, change or remove it",
    fix: "leave it as it is, or have one of them do it",
};

#[test]
fn anyone_with_rbac_may_edit_namespaces_except_the_binding_annotation() {
    environment_or_skip!();
    check_who_binds(&Actor::user("namespace-developer"), &Actor::user("binder").in_group("system:masters"));
}

/// The whole table. `binder` is of a group that `tenancy.bindingGroups` names, and `developer` of none.
pub fn check_who_binds(developer: &Actor, binder: &Actor) {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let prefix = format!("people-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
    let gitops = Actor::service_account("flux-system", "kustomize-controller");
    let resources = [("", "namespaces"), ("", "namespaces/status"), ("", "namespaces/finalize")];
    let rights = Rights::grant(&prefix, &resources, &[developer, &gitops, binder]);
    wait_for("the policy", String::new, || {
        let bound = namespace(&format!("{prefix}-new"), json!({ACCOUNTS: "111111111111"}));
        judge("default", ("creates it bound", binder.clone(), Request::create(&bound), Permitted))
            .is_none()
            .then_some(())
    });
    let live = Live::new(&prefix, binder);

    let mut rows = created(&prefix, developer, &gitops, binder);
    rows.extend(unbound(&live.unbound, developer, &gitops, binder));
    rows.extend(bound(&live.bound, developer, &gitops, binder));
    check("default", rows);

    // Without dry run: the namespace controller finalizes a deleted namespace through a subresource.
    let own = format!("{prefix}-own");
    let as_developer = |arguments: &[&str]| {
        let flags = developer.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        kubectl(&[arguments, &flags].concat())
    };
    as_developer(&["create", "namespace", &own]).expect_ok();
    for namespace in [&own, &live.bound] {
        as_developer(&["delete", "namespace", namespace, "--timeout=60s"]).expect_ok();
        assert!(get(&["namespace", namespace]).is_none());
    }
    drop((live, rights));
}

/// Two namespaces that exist, with an unrelated annotation.
struct Live {
    unbound: String,
    bound: String,
}

impl Live {
    fn new(prefix: &str, binder: &Actor) -> Self {
        let live = Live { unbound: format!("{prefix}-unbound"), bound: format!("{prefix}-bound") };
        for (name, accounts) in [(&live.unbound, None), (&live.bound, Some("111111111111"))] {
            let mut namespace = namespace(name, json!({"example.com/owner": "somebody"}));
            if let Some(accounts) = accounts {
                namespace["metadata"]["annotations"][ACCOUNTS] = json!(accounts);
            }
            let flags = binder.flags();
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let create = [&["create", "--filename=-"][..], &flags].concat();
            kubectl_with(&create, &namespace.to_string()).expect_ok();
        }
        live
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        kubectl(&["delete", "namespace", &self.unbound, &self.bound, "--wait=false", "--ignore-not-found"]);
    }
}

fn namespace(name: &str, annotations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations}})
}

fn created(prefix: &str, developer: &Actor, gitops: &Actor, binder: &Actor) -> Vec<Row> {
    let name = format!("{prefix}-new");
    let with = |annotations: Value| namespace(&name, annotations);
    let bound = with(json!({ACCOUNTS: "111111111111"}));
    let bare = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let labelled = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": "voice"}}});
    let generated = |annotations: Value| {
        let metadata = json!({"generateName": format!("{prefix}-"), "annotations": annotations});
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    };
    let note = json!({"example.com/note": "free"});
    let by = |actor: &Actor| actor.clone();
    vec![
        ("creates it bare", by(developer), Request::create(&bare), Permitted),
        ("creates it with a label", by(developer), Request::create(&labelled), Permitted),
        (
            "creates it with another annotation",
            by(developer),
            Request::create(&with(note.clone())),
            Permitted,
        ),
        (
            "creates it under a generated name",
            by(developer),
            Request::create(&generated(note.clone())),
            Permitted,
        ),
        ("applies it bare", by(developer), Request::apply(&bare), Permitted),
        ("applies it bare, server-side", by(gitops), Request::apply_server_side(&bare), Permitted),
        (
            "applies it with a label, server-side",
            by(gitops),
            Request::apply_server_side(&labelled),
            Permitted,
        ),
        ("applies it annotated, server-side", by(gitops), Request::apply_server_side(&with(note)), Permitted),
        ("creates it bound", by(binder), Request::create(&bound), Permitted),
        ("applies it bound, server-side", by(binder), Request::apply_server_side(&bound), Permitted),
        ("creates it bound", by(developer), Request::create(&bound), ONLY_THE_GROUPS),
        (
            "creates it bound to no account",
            by(developer),
            Request::create(&with(json!({ACCOUNTS: ""}))),
            ONLY_THE_GROUPS,
        ),
        (
            "creates it bound, under a generated name",
            by(developer),
            Request::create(&generated(json!({ACCOUNTS: "111111111111"}))),
            ONLY_THE_GROUPS,
        ),
        ("applies it bound", by(developer), Request::apply(&bound), ONLY_THE_GROUPS),
        ("applies it bound, server-side", by(gitops), Request::apply_server_side(&bound), ONLY_THE_GROUPS),
    ]
}

/// Requests that every namespace allows, bound or not.
fn unrelated_edits(name: &str, developer: &Actor, gitops: &Actor) -> Vec<Row> {
    let object = format!("namespace/{name}");
    let patch = |metadata: Value| Request::patch(&object, &json!({"metadata": metadata}));
    let through = |subresource: &str| {
        let patch = json!({"metadata": {"annotations": {"example.com/note": "free"}}});
        Request::patch_subresource(&object, subresource, "merge", &patch)
    };
    let mut live = get(&["namespace", name]).unwrap();
    live["metadata"]["annotations"]["example.com/note"] = json!("free");
    let finalize = || Request::raw("replace", &format!("/api/v1/namespaces/{name}/finalize"), &live);
    let of_kubernetes = |name: &str| Actor::service_account("kube-system", name);
    let by = |actor: &Actor| actor.clone();
    vec![
        ("labels it", by(developer), patch(json!({"labels": {"team": "voice"}})), Permitted),
        (
            "annotates it otherwise",
            by(developer),
            patch(json!({"annotations": {"example.com/note": "free"}})),
            Permitted,
        ),
        (
            "takes another annotation off",
            by(developer),
            patch(json!({"annotations": {"example.com/owner": null}})),
            Permitted,
        ),
        ("replaces it with another note", by(developer), Request::replace(&live), Permitted),
        (
            "applies a label, server-side",
            by(gitops),
            Request::apply_server_side(
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": "voice"}}}),
            ),
            Permitted,
        ),
        ("writes its status", by(developer), through("status"), Permitted),
        ("finalizes it", by(developer), finalize(), Permitted),
        ("finalizes it", of_kubernetes("namespace-controller"), finalize(), Permitted),
        ("deletes it", by(developer), Request::delete(&object), Permitted),
        ("deletes it", by(gitops), Request::delete(&object), Permitted),
    ]
}

/// A namespace without the annotation.
fn unbound(name: &str, developer: &Actor, gitops: &Actor, binder: &Actor) -> Vec<Row> {
    let object = format!("namespace/{name}");
    let set = |accounts: &str| json!({"metadata": {"annotations": {ACCOUNTS: accounts}}});
    let mut live = get(&["namespace", name]).unwrap();
    live["metadata"]["annotations"][ACCOUNTS] = json!("111111111111");
    let finalize = Request::raw("replace", &format!("/api/v1/namespaces/{name}/finalize"), &live);
    let status = Request::patch_subresource(&object, "status", "merge", &set("111111111111"));
    let applied = namespace(name, json!({ACCOUNTS: "111111111111"}));
    let by = |actor: &Actor| actor.clone();
    let mut rows = unrelated_edits(name, developer, gitops);
    rows.extend([
        ("binds it", by(binder), Request::patch(&object, &set("111111111111")), Permitted),
        ("binds it, server-side", by(binder), Request::apply_server_side(&applied), Permitted),
        ("binds it", by(developer), Request::patch(&object, &set("111111111111")), ONLY_THE_GROUPS),
        ("binds it to no account", by(developer), Request::patch(&object, &set("")), ONLY_THE_GROUPS),
        // A text that an expression might use in place of a missing annotation.
        ("binds it to (absent)", by(developer), Request::patch(&object, &set("(absent)")), ONLY_THE_GROUPS),
        ("binds it, server-side", by(gitops), Request::apply_server_side(&applied), ONLY_THE_GROUPS),
        ("binds it through its status", by(developer), status, ONLY_THE_GROUPS),
        ("binds it while finalizing it", by(developer), finalize, ONLY_THE_GROUPS),
    ]);
    rows
}

/// A namespace with the annotation, set by a member of the groups.
fn bound(name: &str, developer: &Actor, gitops: &Actor, binder: &Actor) -> Vec<Row> {
    let object = format!("namespace/{name}");
    let set = |accounts: Value| json!({"metadata": {"annotations": {ACCOUNTS: accounts}}});
    let patch = |accounts: Value| Request::patch(&object, &set(accounts));
    let mut live = get(&["namespace", name]).unwrap();
    live["metadata"]["annotations"].as_object_mut().unwrap().remove(ACCOUNTS);
    let finalize = Request::raw("replace", &format!("/api/v1/namespaces/{name}/finalize"), &live);
    let status = Request::patch_subresource(&object, "status", "merge", &set(json!(null)));
    let applied = |accounts: &str| Request::apply_server_side(&namespace(name, json!({ACCOUNTS: accounts})));
    let by = |actor: &Actor| actor.clone();
    let mut rows = unrelated_edits(name, developer, gitops);
    rows.extend([
        ("applies what it is bound to", by(gitops), applied("111111111111"), Permitted),
        ("sets what it is bound to", by(developer), patch(json!("111111111111")), Permitted),
        ("binds it to another account", by(binder), patch(json!("222222222222")), Permitted),
        ("takes the annotation off", by(binder), patch(json!(null)), Permitted),
        ("binds it to another account", by(developer), patch(json!("222222222222")), ONLY_THE_GROUPS),
        ("binds it to one more account", by(gitops), applied("111111111111,222222222222"), ONLY_THE_GROUPS),
        ("binds it to no account", by(developer), patch(json!("")), ONLY_THE_GROUPS),
        ("takes the annotation off", by(developer), patch(json!(null)), ONLY_THE_GROUPS),
        ("replaces it without the annotation", by(developer), Request::replace(&live), ONLY_THE_GROUPS),
        ("takes the annotation off through its status", by(developer), status, ONLY_THE_GROUPS),
        ("takes the annotation off while finalizing it", by(developer), finalize, ONLY_THE_GROUPS),
    ]);
    rows
}
