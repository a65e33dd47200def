//! Two destinations that want the same, and namespaces that are bound to AWS accounts.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::logs::ControllerWrites;
use crate::support::{Tenant, kubectl, kubectl_with, repository, wait_for};

/// What a role of the customer's account may do, and which callers it accepts.
fn add_role(tenant: &Tenant, role: &str, external_id: &str) -> String {
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::103850359708:user/RingDNA_Web"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
    }]});
    let permissions = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["s3:PutObject", "s3:PutObjectAcl", "s3:GetObject", "s3:DeleteObject"],
        "Resource": format!("arn:aws:s3:::{}/*", tenant.bucket),
    }]});
    tenant.customer_with(&["create-role", "--role", role], &trust.to_string()).expect_ok();
    tenant.customer_with(&["set-permissions", "--role", role], &permissions.to_string()).expect_ok();
    format!("arn:aws:iam::{}:role/{role}", tenant.account)
}

/// How often AWS was asked for that role, by the stand-in's own record.
fn calls_for(role_arn: &str) -> usize {
    let log = fs::read_to_string(repository().join("target/dev/run/aws/access.jsonl")).unwrap();
    log.lines().filter(|line| line.contains(&format!("\"{role_arn}\""))).count()
}

fn bind(tenant: &Tenant, accounts: &str) {
    let annotation = format!("recordings.revenue.io/allowed-accounts={accounts}");
    kubectl(&["annotate", "namespace", &tenant.namespace, "--overwrite", &annotation]).expect_ok();
}

#[test]
fn a_later_claim_is_refused_until_the_first_is_deleted() {
    environment_or_skip!();
    type Arrange = fn(&Tenant, &Tenant) -> Value;
    let rows: [(&str, Arrange); 3] = [
        ("same-external-id-in-another-account", |first, second| {
            let trust = ["trust-closed", "--external-id", "-"];
            second.customer_with(&trust, &first.external_id).expect_ok();
            second.apply_secret(&first.external_id);
            json!({})
        }),
        ("same-role-from-another-namespace", |first, second| {
            second.apply_secret(&first.external_id);
            json!({"roleARN": first.role_arn(), "bucket": first.bucket, "prefix": "elsewhere/"})
        }),
        ("overlapping-prefix", |first, second| {
            second.apply_secret(&second.external_id);
            let role = add_role(first, "second", &second.external_id);
            json!({"roleARN": role, "bucket": first.bucket, "prefix": "calls/"})
        }),
    ];
    let waiting: Vec<_> = rows
        .into_iter()
        .map(|(name, arrange)| {
            let first = Tenant::ready("first");
            let second = Tenant::new(name);
            let changes = arrange(&first, &second);
            second.apply_destination("acme", changes);
            (name, first, second)
        })
        .collect();
    for (name, first, second) in &waiting {
        second.wait_reason("acme", "False", "DestinationConflict");
        let status = second.get(&["recordingdestination", "acme"]).unwrap()["status"].to_string();
        // The bucket's name it named itself.
        let told = status.replace(&first.bucket, "").contains(&first.namespace);
        assert!(!told, "{name} must not learn of {}: {status}", first.namespace);
        assert_eq!(second.condition("acme", "ExternalIDEnforced").unwrap()["status"], "True", "{name}");
    }
    for (name, first, second) in &waiting {
        let ready = first.condition("acme", "Ready").unwrap();
        assert_eq!(ready["status"], "True", "{name}: the first keeps it");
        first.kubectl(&["delete", "recordingdestination", "acme"]).expect_ok();
        second.wait_ready("acme");
        // A destination that is created again has to prove again, and is the later claim.
        first.apply_destination("acme", json!({}));
        first.wait_reason("acme", "False", "DestinationConflict");
    }
}

/// For longer than the time between two looks at whether a claim has ended.
const LONGER_THAN_A_LOOK: Duration = Duration::from_secs(15);

#[test]
fn a_passing_fault_of_the_first_claim_does_not_give_its_bucket_away() {
    environment_or_skip!();
    let (first, second) = (Tenant::ready("first"), Tenant::new("second"));
    second.apply_secret(&second.external_id);
    let role = add_role(&first, "second", &second.external_id);
    second.apply_destination("acme", json!({"roleARN": role, "bucket": first.bucket, "prefix": "calls/"}));
    second.wait_reason("acme", "False", "DestinationConflict");
    let log = ControllerWrites::from_now();

    let trust = |external_id| first.customer_with(&["trust-closed", "--external-id", "-"], external_id);
    trust("another-one").expect_ok();
    first.revalidate("acme");
    first.wait_reason("acme", "False", "AssumeRoleDenied");
    sleep(LONGER_THAN_A_LOOK);
    trust(&first.external_id).expect_ok();
    first.wait_ready("acme");

    first.kubectl(&["delete", "secret", "acme-external-id"]).expect_ok();
    first.revalidate("acme");
    first.wait_reason("acme", "False", "SecretNotFound");
    sleep(LONGER_THAN_A_LOOK);
    first.apply_secret(&first.external_id);
    first.wait_ready("acme");

    let said = log.statuses(&second.namespace, "acme");
    let had: Vec<_> = said.iter().filter(|written| written.condition("Ready").0 == "True").collect();
    assert!(had.is_empty(), "it got the bucket at {}", had[0].time);
    second.wait_reason("acme", "False", "DestinationConflict");
}

#[test]
fn a_squatter_who_cannot_write_to_the_bucket_keeps_its_owner_from_nothing() {
    environment_or_skip!();
    let (owner, squatter) = (Tenant::new("owner"), Tenant::new("squatter"));
    squatter.apply_secret(&squatter.external_id);
    let theirs = json!({"bucket": owner.bucket, "expectedBucketOwner": owner.account});
    squatter.apply_destination("acme", theirs);
    squatter.wait_reason("acme", "False", "PutObjectDenied");
    owner.apply_secret(&owner.external_id);
    owner.apply_destination("acme", json!({}));
    owner.wait_ready("acme");
    squatter.revalidate("acme");
    squatter.wait_reason("acme", "False", "PutObjectDenied");
}

/// As after a restore from a backup, which brings no status: all are new, and all prove at once.
#[test]
fn of_destinations_that_race_for_one_bucket_one_is_ready_and_never_two() {
    environment_or_skip!();
    let log = ControllerWrites::from_now();
    let tenant = Tenant::new("racing");
    let names: Vec<_> = (0..6).map(|n| format!("racer-{n}")).collect();
    let mut manifests = Vec::new();
    for name in &names {
        let external_id = format!("{}-{name}", tenant.external_id);
        let role = add_role(&tenant, name, &external_id);
        manifests.push(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": "recordings.revenue.io/external-id", "stringData": {"externalID": external_id},
        }));
        manifests
            .push(tenant.destination(name, json!({"roleARN": role, "externalIDSecretRef": {"name": name}})));
    }
    tenant.apply(&json!({"apiVersion": "v1", "kind": "List", "items": manifests})).expect_ok();
    let count = |status: &str| {
        let of = |name: &String| tenant.condition(name, "Ready").is_some_and(|c| c["status"] == status);
        names.iter().filter(|name| of(name)).count()
    };
    wait_for(
        "all to be judged",
        || tenant.describe(),
        || (count("True") == 1 && count("False") == names.len() - 1).then_some(()),
    );
    let mut ready = BTreeSet::new();
    for write in log.in_namespace(&tenant.namespace) {
        let name = write["objectRef"]["name"].as_str().unwrap_or_default().to_owned();
        let conditions = write["responseObject"]["status"]["conditions"].as_array();
        match conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready") {
            Some(condition) if condition["status"] == "True" => ready.insert(name),
            _ => ready.remove(&name),
        };
        assert!(ready.len() <= 1, "at the same time: {ready:?}");
    }
    assert_eq!(ready.len(), 1);
    for name in names.iter().filter(|name| tenant.condition(name, "Ready").unwrap()["status"] == "False") {
        assert_eq!(tenant.condition(name, "Ready").unwrap()["reason"], "DestinationConflict");
    }
}

#[test]
fn a_namespace_tries_sixty_new_external_ids_an_hour_and_others_are_not_held_up() {
    environment_or_skip!();
    let (guesser, neighbour) = (Tenant::new("guesser"), Tenant::new("neighbour"));
    let guesses: Vec<_> = (0..62).map(|n| format!("guess-{n:02}")).collect();
    let mut manifests = Vec::new();
    for name in &guesses {
        manifests.push(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": "recordings.revenue.io/external-id", "stringData": {"externalID": format!("{name}-of-an-id")},
        }));
        let changes = json!({"prefix": format!("{name}/"), "externalIDSecretRef": {"name": name}});
        manifests.push(guesser.destination(name, changes));
    }
    guesser.apply(&json!({"apiVersion": "v1", "kind": "List", "items": manifests})).expect_ok();
    let count = |reason: &str| {
        let of = |name: &&String| guesser.condition(name, "Ready").is_some_and(|c| c["reason"] == reason);
        guesses.iter().filter(of).count()
    };
    wait_for(
        "all to be judged",
        || guesser.describe(),
        || (count("AssumeRoleDenied") == 60 && count("ExternalIDsLimited") == 2).then_some(()),
    );
    let described = guesser.describe();
    assert!(described.contains("the next is tried at"), "the message names the time: {described}");
    neighbour.apply_secret(&neighbour.external_id);
    neighbour.apply_destination("acme", json!({}));
    neighbour.wait_ready("acme");
}

#[test]
fn a_namespace_is_held_to_the_accounts_it_is_bound_to_before_aws_is_asked() {
    environment_or_skip!();
    let tenant = Tenant::new("bound");
    tenant.apply_secret(&tenant.external_id);
    bind(&tenant, "999999999999");
    tenant.apply_destination("acme", json!({}));
    tenant.wait_reason("acme", "False", "AccountNotAllowed");
    assert_eq!(calls_for(&tenant.role_arn()), 0, "nothing is asked in its name");
    let described = tenant.describe();
    let command = format!("allowed-accounts={}", tenant.account);
    assert!(described.contains(&command), "the remedy is a command: {described}");

    bind(&tenant, &format!("999999999999,{}", tenant.account));
    tenant.wait_ready("acme");
    assert!(calls_for(&tenant.role_arn()) > 0);
    bind(&tenant, "999999999999");
    tenant.wait_reason("acme", "False", "AccountNotAllowed");
    assert_eq!(
        tenant.condition("acme", "RoleAssumable").unwrap()["status"],
        "True",
        "what was proved is not unsaid"
    );
}

#[test]
fn a_bound_namespace_comes_before_one_that_is_not() {
    environment_or_skip!();
    let (unbound, bound) = (Tenant::ready("unbound"), Tenant::new("binding"));
    bound.apply_secret(&bound.external_id);
    let role = add_role(&unbound, "second", &bound.external_id);
    bound.apply_destination("acme", json!({"roleARN": role, "bucket": unbound.bucket}));
    bound.wait_reason("acme", "False", "DestinationConflict");
    bind(&bound, &unbound.account);
    bound.wait_ready("acme");
    unbound.wait_reason("acme", "False", "DestinationConflict");
}

#[test]
fn only_the_named_groups_bind_a_namespace() {
    environment_or_skip!();
    let tenant = Tenant::new("binders");
    let name = &tenant.namespace;
    let rights = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
         "rules": [{"apiGroups": [""], "resources": ["namespaces", "namespaces/status"],
                    "resourceNames": [name], "verbs": ["get", "patch"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
         "subjects": [{"kind": "User", "name": "namespace-editor", "apiGroup": "rbac.authorization.k8s.io"}]},
    ]});
    kubectl_with(&["apply", "--filename=-"], &rights.to_string()).expect_ok();
    let as_editor = |annotation: &str| {
        kubectl(&["--as=namespace-editor", "annotate", "namespace", name, "--overwrite", annotation])
    };
    // The rights and the policy are known to the API server a moment after they were made.
    wait_for("the editor's rights", String::new, || as_editor("note=1").ok.then_some(()));
    let forged = as_editor("recordings.revenue.io/allowed-accounts=111111111111");
    assert!(!forged.ok && forged.stderr.contains("tenancy.bindingGroups"), "{}", forged.stderr);
    let through_status = |patch: &str| {
        let patch = format!("--patch={patch}");
        kubectl(&[
            "--as=namespace-editor",
            "patch",
            "namespace",
            name,
            "--subresource=status",
            "--type=merge",
            &patch,
        ])
    };
    let forged = through_status(
        r#"{"metadata":{"annotations":{"recordings.revenue.io/allowed-accounts":"111111111111"}}}"#,
    );
    assert!(!forged.ok && forged.stderr.contains("tenancy.bindingGroups"), "{}", forged.stderr);
    through_status(r#"{"metadata":{"annotations":{"note":"3"}}}"#).expect_ok();
    bind(&tenant, "111111111111");
    let widened = as_editor("recordings.revenue.io/allowed-accounts-");
    assert!(!widened.ok && widened.stderr.contains("tenancy.bindingGroups"), "{}", widened.stderr);
    assert!(as_editor("note=2").ok, "the rest of the namespace is theirs");
    kubectl(&["delete", "clusterrole,clusterrolebinding", name]);
}
