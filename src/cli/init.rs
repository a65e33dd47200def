//! `init`: the manifests of a new tenant, with a random External ID.

use serde::Serialize;
use serde_json::{Value, json};

use super::files::Source;
use super::lint::Manifests;
use super::output::{CommandOutcome, Failure, Report};
use super::yaml;
use crate::api::{ALLOWED_ACCOUNTS_ANNOTATION, DESTINATIONS_PER_NAMESPACE, EXTERNAL_ID_SECRET_TYPE};

/// What a ResourceQuota calls the number of destinations.
const QUOTA: &str = "count/recordingdestinations.recordings.revenue.io";

/// What is known of the tenant.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Name of the destination.
    name: String,
    /// Namespace of the tenant; of the context in which it is applied when absent.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The customer's AWS account, 12 digits.
    #[arg(long, required_unless_present = "role_arn")]
    account: Option<String>,
    /// ARN of the customer's role; revenue-call-recording-writer of the account when absent.
    #[arg(long)]
    role_arn: Option<String>,
    /// The customer's bucket; NAME-recordings when absent.
    #[arg(long)]
    bucket: Option<String>,
    /// The bucket's region.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Prefix of every key, such as calls/.
    #[arg(long)]
    prefix: Option<String>,
    /// Write the Namespace too, bound to the customer's AWS account.
    #[arg(long, requires = "namespace")]
    bind_namespace: bool,
    /// Write a Role and RoleBinding that let the operator read this one Secret, for a chart that was installed without
    /// the right to read all.
    #[arg(long, requires = "namespace")]
    per_tenant_role: bool,
    /// Namespace of the operator, for --per-tenant-role.
    #[arg(long, default_value = "recording-operator")]
    operator_namespace: String,
    /// Release of the operator's chart, for --per-tenant-role.
    #[arg(long, default_value = "recording-operator")]
    release: String,
}

/// The tenant's objects. Among them is the Secret, so they are for the cluster and not for a log.
#[derive(Serialize)]
pub(super) struct Tenant {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Value>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Tenant, Failure> {
    let external_id = guid(rand::random());
    let tenant = Tenant { api_version: "v1", kind: "List", items: objects(arguments, &external_id) };
    // What is wrong is wrong with an argument.
    let text = serde_json::to_string(&tenant).expect("JSON values serialize");
    let source = Source { name: "init".to_owned(), documents: yaml::documents(&text) };
    match Manifests::read(&[source]).findings.first() {
        None => Ok(tenant),
        Some((field, message)) => Err(Failure::Undone(format!("{field}: {message}"))),
    }
}

/// A random GUID (RFC 9562, version 4): 122 bits, in the form that customers know.
fn guid(random: u128) -> String {
    let guid = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let [a, b, c, d] = [guid >> 96, guid >> 80 & 0xffff, guid >> 64 & 0xffff, guid >> 48 & 0xffff];
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{:012x}", guid & 0xffff_ffff_ffff)
}

fn objects(arguments: &Arguments, external_id: &str) -> Vec<Value> {
    let Arguments { name, namespace, account, region, release, .. } = arguments;
    // As the chart names its objects.
    let chart = "recording-operator";
    let release = if release.contains(chart) { release.clone() } else { format!("{release}-{chart}") };
    let secret = format!("{name}-external-id");
    let account = account.as_deref().unwrap_or_default();
    let role = || format!("arn:aws:iam::{account}:role/revenue-call-recording-writer");
    let role_arn = arguments.role_arn.clone().unwrap_or_else(role);
    let bucket = arguments.bucket.clone().unwrap_or_else(|| format!("{name}-recordings"));
    let metadata = |name: &str| match namespace {
        Some(namespace) => json!({"name": name, "namespace": namespace}),
        None => json!({"name": name}),
    };
    let mut objects = Vec::new();
    if let Some(namespace) = namespace.as_ref().filter(|_| arguments.bind_namespace) {
        let account = role_arn.split(':').nth(4).unwrap_or_default();
        objects.push(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "annotations": {ALLOWED_ACCOUNTS_ANNOTATION: account}},
        }));
    }
    if arguments.per_tenant_role {
        let reader = format!("{release}-reads-{secret}");
        let account = |component: &str| {
            let operator = &arguments.operator_namespace;
            json!({"kind": "ServiceAccount", "name": format!("{release}-{component}"), "namespace": operator})
        };
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata(&reader),
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}],
        }));
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata(&reader),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": reader},
            "subjects": [account("controller"), account("broker")],
        }));
    }
    objects.push(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata(&secret),
        "type": EXTERNAL_ID_SECRET_TYPE, "stringData": {"externalID": external_id},
    }));
    let mut destination = json!({
        "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination", "metadata": metadata(name),
        "spec": {
            "bucket": bucket, "region": region, "roleARN": role_arn,
            "externalIDSecretRef": {"name": secret},
        },
    });
    if let Some(prefix) = &arguments.prefix {
        destination["spec"]["prefix"] = json!(prefix);
    }
    objects.push(destination);
    // Last, because the API server creates nothing that a quota counts before it knows how many there are.
    objects.push(json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata("recordingdestinations"),
        "spec": {"hard": {QUOTA: DESTINATIONS_PER_NAMESPACE}},
    }));
    objects
}

impl Report for Tenant {
    fn text(&self) -> String {
        let documents =
            self.items.iter().map(|object| serde_yaml::to_string(object).expect("JSON values serialize"));
        documents.collect::<Vec<_>>().join("---\n")
    }

    fn outcome(&self) -> CommandOutcome {
        CommandOutcome::Well
    }
}
