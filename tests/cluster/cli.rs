//! `kubectl recordings`, as people type it.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Done, Tenant, recordings, repository, setting, wait_for};

/// A command about the tenant's namespace. Nothing that it prints may hold the External ID.
fn ask(tenant: &Tenant, arguments: &[&str]) -> Done {
    let done = recordings(&[arguments, &["--namespace", &tenant.namespace]].concat(), "", &[]);
    let shown = done.text() + &done.stderr;
    assert!(!shown.contains(&tenant.external_id), "the External ID shows: {arguments:?}");
    done
}

#[track_caller]
fn assert_answer(done: &Done, code: i32, words: &[&str]) {
    let shown = done.text() + &done.stderr;
    assert_eq!(done.code, Some(code), "{shown}");
    assert!(!shown.contains('\x1b'), "colours, and no terminal: {shown:?}");
    for word in words {
        assert!(shown.contains(word), "{word:?} is not in:\n{shown}");
    }
}

#[test]
fn status_explain_and_validate_name_the_side_and_the_remedy() {
    environment_or_skip!();
    let tenant = Tenant::ready("cli");
    assert_answer(&ask(&tenant, &["status"]), 0, &["acme", "True", "1 in all: 1 well"]);
    let of_tenant = format!("--namespace={}", tenant.namespace);
    let forced = recordings(&["status", &of_tenant], "", &[("CLICOLOR_FORCE", "1")]);
    assert!(forced.text().contains('\x1b'), "who asks for colours has them: {}", forced.text());
    assert_answer(
        &ask(&tenant, &["explain", "acme"]),
        0,
        &["acme is ready", "✓ AssumeRoleWithoutExternalID"],
    );

    tenant.customer(&["trust-open"]).expect_ok();
    let opened = ask(&tenant, &["validate", "acme"]);
    assert_answer(
        &opened,
        1,
        &["is not ready", "ExternalIDNotEnforced", "For the customer to do", "sts:ExternalId"],
    );
    assert_answer(&ask(&tenant, &["status"]), 1, &["ExternalIDNotEnforced", "customer", "1 not ready"]);
    let explained = ask(&tenant, &["explain", "acme", "--output=json"]);
    assert_eq!(explained.code, Some(1));
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(
        (&explained["side"], &explained["ready"]),
        (&json!("customer"), &json!("False")),
        "{explained}"
    );

    tenant.customer_with(&["trust-closed", "--external-id", "-"], &tenant.external_id).expect_ok();
    assert_answer(&ask(&tenant, &["validate", "acme"]), 0, &["acme is ready"]);

    let suspend = r#"{"spec":{"suspend":true}}"#;
    tenant
        .kubectl(&["patch", "recordingdestination", "acme", "--type=merge", "--patch", suspend])
        .expect_ok();
    tenant.wait_reason("acme", "False", "Suspended");
    assert_answer(
        &ask(&tenant, &["validate", "acme"]),
        1,
        &["nothing was validated: it is suspended", "kubectl patch"],
    );
    assert_answer(&ask(&tenant, &["status"]), 1, &["1 suspended"]);
}

#[test]
fn what_cannot_be_asked_is_told_from_what_is_wrong() {
    environment_or_skip!();
    let tenant = Tenant::new("cli-nobody");
    assert_answer(
        &ask(&tenant, &["explain", "acme"]),
        2,
        &["there is no RecordingDestination acme in namespace"],
    );
    assert_answer(&ask(&tenant, &["status"]), 0, &["there is no RecordingDestination in namespace"]);
    let no_context = ask(&tenant, &["status", "--context=nowhere"]);
    assert_answer(&no_context, 2, &["the kubeconfig cannot be used", "--context"]);
    let silent = tempfile::NamedTempFile::new().unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "silent",
        "clusters": [{"name": "silent", "cluster": {"server": "https://127.0.0.1:9"}}],
        "contexts": [{"name": "silent", "context": {"cluster": "silent", "user": "nobody"}}],
        "users": [{"name": "nobody", "user": {"token": "t"}}],
    });
    silent.as_file().write_all(kubeconfig.to_string().as_bytes()).unwrap();
    let file = silent.path().to_str().unwrap();
    assert_answer(&ask(&tenant, &["status", "--kubeconfig", file]), 2, &["the cluster does not answer"]);
}

/// What goes on around a destination is in no status. The CLI asks with the user's rights, and says where they end.
#[test]
fn status_names_pods_without_sidecar_and_workloads_that_are_refused() {
    environment_or_skip!();
    let tenant = Tenant::ready("cli-around");
    let mut unlabelled = tenant.recorder("unlabelled");
    unlabelled["metadata"]["labels"] = json!({});
    tenant.apply(&unlabelled).expect_ok();
    let mut refused = tenant.recorder("refused");
    refused["metadata"]["annotations"]["recordings.revenue.io/destination"] = json!("nowhere");
    let labels = refused["metadata"]["labels"].clone();
    let replica_set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "refused"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": refused["metadata"], "spec": {
                "containers": refused["spec"]["containers"], "volumes": refused["spec"]["volumes"],
                "securityContext": refused["spec"]["securityContext"],
            }},
        },
    });
    tenant.apply(&replica_set).expect_ok();
    let is_shown = || {
        let done = ask(&tenant, &["status"]);
        let text = done.text();
        (text.contains("refused (ReplicaSet)") && text.contains("unlabelled: it has the annotation"))
            .then_some(done)
    };
    let shown = wait_for("the ReplicaSet's refusal", || ask(&tenant, &["status"]).text(), is_shown);
    assert_answer(&shown, 1, &["destination \"nowhere\" does not exist", "1 in all: 1 well"]);
    let explained = ask(&tenant, &["explain", "acme"]);
    assert_answer(
        &explained,
        1,
        &["is ready", "1 pod that names it has no sidecar", "unlabelled: it has the annotation"],
    );

    let account = format!("{}:default", tenant.namespace);
    let impersonated = format!("--as=system:serviceaccount:{account}");
    let forbidden = ask(&tenant, &["status", &impersonated]);
    assert_answer(&forbidden, 2, &["the cluster does not let you"]);
    let role = [
        "create",
        "role",
        "viewer",
        "--verb=get,list",
        "--resource=recordingdestinations.recordings.revenue.io,pods,events",
    ];
    tenant.kubectl(&role).expect_ok();
    let binding =
        ["create", "rolebinding", "viewer", "--role=viewer", &format!("--serviceaccount={account}")];
    tenant.kubectl(&binding).expect_ok();
    let limited = wait_for(
        "the rights of a viewer",
        || ask(&tenant, &["status", &impersonated]).stderr,
        || Some(ask(&tenant, &["status", &impersonated])).filter(|done| done.code == Some(1)),
    );
    assert_answer(
        &limited,
        1,
        &["refused (ReplicaSet)", "cannot tell whether controller, webhook and broker run"],
    );
}

#[test]
fn status_takes_the_selection_of_kubectl_get() {
    environment_or_skip!();
    let tenant = Tenant::ready("cli-flags");
    tenant.kubectl(&["label", "recordingdestination", "acme", "team=voice"]).expect_ok();
    assert_answer(&ask(&tenant, &["status", "-l", "team=voice"]), 0, &["1 in all"]);
    assert_answer(&ask(&tenant, &["status", "-l", "team!=voice"]), 0, &["there is no RecordingDestination"]);
    let all = recordings(&["status", "-A", "-l", "team=voice", "--request-timeout=30s"], "", &[]);
    assert!(all.text().contains(&tenant.namespace), "{}", all.text());
    let here = recordings(&["status"], "", &[]);
    assert!(!here.text().contains(&tenant.namespace), "the context's namespace is another: {}", here.text());
}

/// The way of a new tenant: its manifests, the customer's set-up, AWS asked from here, and then the cluster.
#[test]
fn what_init_writes_and_check_proves_turns_ready() {
    environment_or_skip!();
    let tenant = Tenant::new("cli-init");
    let Tenant { namespace, account, bucket, .. } = &tenant;
    let init = ["init", "acme", "--namespace", namespace, "--account", account, "--bucket", bucket];
    let written = recordings(&init, "", &[]).expect_ok().text();
    let secret = written.split("externalID: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    assert_answer(&recordings(&["lint", "--filename=-"], &written, &[]), 0, &["nothing is wrong"]);

    let key: Value = {
        let file = repository().join("target/dev/run/platform-credentials.json");
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    };
    let (endpoint, principal) =
        (setting("AWS_ENDPOINT_URL").unwrap(), setting("PLATFORM_PRINCIPAL_ARN").unwrap());
    let check = |id: &str, key: &str| {
        let variables =
            [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", key), ("AWS_ENDPOINT_URL", &*endpoint)];
        let done = recordings(
            &["check", "--platform-principal-arn", &principal, "--filename=-"],
            &written,
            &variables,
        );
        let shown = done.text() + &done.stderr;
        assert!(!shown.contains(&secret), "the External ID shows: {shown}");
        done
    };
    let as_platform =
        || check(key["accessKeyID"].as_str().unwrap(), key["secretAccessKey"].as_str().unwrap());

    // The role knows another External ID as yet.
    assert_answer(&as_platform(), 1, &["acme is not ready", "AssumeRoleDenied", "For the customer to do"]);
    tenant.customer_with(&["trust-closed", "--external-id", "-"], &secret).expect_ok();
    assert_answer(
        &as_platform(),
        0,
        &["acme is ready", "✓ AssumeRoleAgain", "✓ PutObject", "✓ DeleteObject"],
    );
    // No role accepts another principal, which must not pass for enforcement.
    assert_answer(&check(account, "test"), 3, &["inconclusive", account, "nothing was asked of any role"]);
    tenant.customer(&["trust-open"]).expect_ok();
    assert_answer(&as_platform(), 1, &["ExternalIDNotEnforced", "✗ AssumeRoleWithoutExternalID"]);
    assert_eq!(tenant.objects(), [""; 0], "probes leave nothing");
    tenant.customer_with(&["trust-closed", "--external-id", "-"], &secret).expect_ok();

    crate::support::kubectl_with(&["apply", "--filename=-"], &written).expect_ok();
    tenant.wait_ready("acme");
}

/// kubectl asks the command `kubectl_complete-recordings` on PATH.
#[test]
fn kubectl_completes_commands_and_options() {
    environment_or_skip!();
    let bin = repository().join("target/dev/bin");
    let complete = |words: &[&str]| {
        let output = std::process::Command::new(bin.join("kubectl"))
            .args(["__complete", "recordings"])
            .args(words)
            .env("PATH", &bin)
            .env("KUBECONFIG", setting("KUBECONFIG").unwrap())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = complete(&["va"]);
    assert!(commands.starts_with("validate\t"), "{commands}");
    let options = complete(&["explain", "--nam"]);
    assert!(options.starts_with("--namespace"), "{options}");
    let formats = complete(&["status", "--output", "j"]);
    assert!(formats.starts_with("json"), "{formats}");
}
