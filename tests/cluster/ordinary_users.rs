//! The requests that the chart's admission policies and its webhook let pass, beside those that they refuse, made by people and
//! controllers that do not administer the operator.
//!
//! There is one table for each kind of object. A row is one request, as a server-side dry run, which passes the same admission.

mod controllers;
mod destinations;
pub mod namespaces;
mod pods;

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Tenant, get, kubectl, kubectl_with, wait_for};

/// An expression that does not fit the object's schema fails when it is evaluated, and with it the request.
#[test]
fn the_api_server_finds_no_fault_in_the_types_of_the_policies() {
    environment_or_skip!();
    let policies =
        get(&["validatingadmissionpolicies", "--selector=app.kubernetes.io/name=recording-operator"])
            .unwrap();
    let policies = policies["items"].as_array().unwrap();
    assert_eq!(policies.len(), 11);
    for policy in policies {
        let (metadata, status) = (&policy["metadata"], &policy["status"]);
        assert_eq!(status["observedGeneration"], metadata["generation"], "{metadata}");
        assert_eq!(status["typeChecking"], json!({}), "{metadata}");
    }
}

/// The user that kubectl impersonates for a request.
#[derive(Clone)]
pub struct Actor {
    name: String,
    groups: Vec<String>,
}

impl Actor {
    pub fn user(name: &str) -> Self {
        Actor { name: name.to_owned(), groups: vec![] }
    }

    pub fn service_account(namespace: &str, name: &str) -> Self {
        Actor::user(&format!("system:serviceaccount:{namespace}:{name}"))
    }

    /// The API server adds a ServiceAccount's own groups only if no group is named.
    pub fn in_group(mut self, group: &str) -> Self {
        self.groups.push(group.to_owned());
        self
    }

    /// RBAC permits everything, so that admission alone decides.
    fn with_every_right(self) -> Self {
        self.in_group("system:masters")
    }

    fn flags(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|group| format!("--as-group={group}"));
        std::iter::once(format!("--as={}", self.name)).chain(groups).collect()
    }

    /// As RBAC names it. A ServiceAccount may be named as a user.
    fn subject(&self) -> Value {
        json!({"kind": "User", "name": self.name, "apiGroup": "rbac.authorization.k8s.io"})
    }
}

/// What kubectl is given.
pub struct Request {
    arguments: Vec<String>,
    input: String,
}

impl Request {
    fn new(arguments: &[&str], input: String) -> Self {
        Request { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(), input }
    }

    fn create(object: &Value) -> Self {
        Request::new(&["create", "--dry-run=server", "--filename=-"], object.to_string())
    }

    fn replace(object: &Value) -> Self {
        Request::new(&["replace", "--dry-run=server", "--filename=-"], object.to_string())
    }

    /// As `kubectl apply` does it unless told otherwise.
    fn apply(object: &Value) -> Self {
        Request::new(&["apply", "--dry-run=server", "--filename=-"], object.to_string())
    }

    /// As GitOps tools do it.
    fn apply_server_side(object: &Value) -> Self {
        let flags = ["--server-side", "--force-conflicts", "--field-manager=gitops"];
        Request::new(
            &[&["apply", "--dry-run=server", "--filename=-"][..], &flags].concat(),
            object.to_string(),
        )
    }

    /// A merge patch of `object`, such as pod/recorder.
    fn patch(object: &str, patch: &Value) -> Self {
        let patch = format!("--patch={patch}");
        Request::new(&["patch", object, "--type=merge", "--dry-run=server", &patch], String::new())
    }

    fn patch_subresource(object: &str, subresource: &str, kind: &str, patch: &Value) -> Self {
        let (patch, subresource) = (format!("--patch={patch}"), format!("--subresource={subresource}"));
        let kind = format!("--type={kind}");
        Request::new(&["patch", object, &kind, "--dry-run=server", &subresource, &patch], String::new())
    }

    fn delete(object: &str) -> Self {
        Request::new(&["delete", object, "--dry-run=server"], String::new())
    }

    /// What kubectl has no command for. `verb` is `create` for POST and `replace` for PUT.
    fn raw(verb: &str, path: &str, body: &Value) -> Self {
        Request::new(&[verb, "--raw", &format!("{path}?dryRun=All"), "--filename=-"], body.to_string())
    }
}

pub enum Verdict {
    Permitted,
    /// The message names the field, the rule that it breaks, and what to do.
    Refused {
        field: &'static str,
        rule: &'static str,
        fix: &'static str,
    },
}

pub use Verdict::{Permitted, Refused};

/// A description, the user, the request, and its verdict.
pub type Row = (&'static str, Actor, Request, Verdict);

/// Makes every request and fails with all rows that have another verdict.
#[track_caller]
pub fn check(namespace: &str, rows: Vec<Row>) {
    let count = rows.len();
    let refused = rows.iter().filter(|row| matches!(row.3, Refused { .. })).count();
    let wrong: Vec<String> = rows.into_iter().filter_map(|row| judge(namespace, row)).collect();
    println!("{} requests permitted, {refused} refused", count - refused);
    assert!(wrong.is_empty(), "{} of {count} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert!(refused > 0 && refused < count, "a refusal counts only beside what is permitted");
}

fn judge(namespace: &str, (what, who, request, verdict): Row) -> Option<String> {
    let mut arguments = vec![format!("--namespace={namespace}")];
    arguments.extend(who.flags());
    arguments.extend(request.arguments);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = kubectl_with(&arguments, &request.input);
    let wrong = match verdict {
        Permitted => (!done.ok).then(|| format!("was refused: {}", done.stderr)),
        Refused { .. } if done.ok => Some(format!("was permitted: {}", done.text())),
        Refused { field, rule, fix } => {
            let missing = [field, rule, fix].into_iter().find(|text| !done.stderr.contains(text));
            missing.map(|text| format!("was refused without {text:?}: {}", done.stderr))
        }
    };
    wrong.map(|wrong| format!("- {what} ({}): {wrong}", who.name))
}

/// Cluster-wide rights for users of the test, until this is dropped.
pub struct Rights {
    name: String,
}

impl Rights {
    /// Every verb on these resources, each with its API group.
    pub fn grant(name: &str, resources: &[(&str, &str)], people: &[&Actor]) -> Self {
        let rules: Vec<Value> = resources
            .iter()
            .map(|(group, resource)| json!({"apiGroups": [group], "resources": [resource], "verbs": ["*"]}))
            .collect();
        let subjects: Vec<Value> = people.iter().map(|actor| actor.subject()).collect();
        let group = "rbac.authorization.k8s.io";
        let metadata = json!({"name": name});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": metadata, "rules": rules},
            {"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": metadata, "subjects": subjects,
             "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name}},
        ]});
        kubectl_with(&["apply", "--filename=-"], &list.to_string()).expect_ok();
        for actor in people {
            wait_until_granted(actor, resources[0].1, &["--all-namespaces"]);
        }
        Rights { name: name.to_owned() }
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        kubectl(&["delete", "clusterrolebinding,clusterrole", &self.name]);
    }
}

/// Gives a ClusterRole in the tenant's namespace.
fn bind_role(tenant: &Tenant, role: &str, actor: &Actor) {
    let group = "rbac.authorization.k8s.io";
    let name = format!("{role}-{}", actor.name.rsplit(':').next().unwrap());
    tenant
        .apply(&json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
            "subjects": [actor.subject()], "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role}}))
        .expect_ok();
    wait_until_granted(actor, "pods", &["--namespace", &tenant.namespace]);
}

/// The API server applies new rights a moment after they are created.
fn wait_until_granted(actor: &Actor, resource: &str, options: &[&str]) {
    let flags = actor.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let asked = || kubectl(&[&["auth", "can-i", "create", resource][..], options, &flags].concat());
    wait_for(&format!("the rights of {}", actor.name), || asked().text(), || asked().ok.then_some(()));
}
