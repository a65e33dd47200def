//! One tenant and its customer, and the commands that their people type.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What a wait may take at most: far beyond what it does take, as these machines are noisy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The environment that `make up` wrote. Where a node cannot run, a test says so and ends.
#[macro_export]
macro_rules! environment_or_skip {
    () => {
        if !$crate::support::environment_is_up() {
            eprintln!("skipped: no environment; `make up` starts one");
            return;
        }
    };
}

/// What needs more time than CI has says so in a short run, and ends.
#[macro_export]
macro_rules! long_run_or_skip {
    () => {
        if !$crate::support::is_long() {
            eprintln!("left out: `make test-long` runs it");
            return;
        }
    };
}

pub fn environment_is_up() -> bool {
    let up = setting("KUBECONFIG").is_some() && setting("AWS_ENDPOINT_URL").is_some();
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let must = root || std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(
        up || !must,
        "no environment: `make up` starts one; where it can run, a skipped test is a failure"
    );
    up
}

/// From the caller's environment, else from target/dev/env.
pub fn setting(name: &str) -> Option<String> {
    let written = || {
        let file = std::fs::read_to_string(repository().join("target/dev/env")).ok()?;
        let values: BTreeMap<&str, &str> = file.lines().filter_map(|line| line.split_once('=')).collect();
        values.get(name).map(|value| (*value).to_owned())
    };
    std::env::var(name).ok().or_else(written)
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A finished command.
pub struct Done {
    pub ok: bool,
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub fn expect_ok(self) -> Self {
        assert!(self.ok, "failed: {}{}", self.text(), self.stderr);
        self
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let (ok, code) = (output.status.success(), output.status.code());
        Done { ok, code, stdout: output.stdout, stderr }
    }
}

pub fn kubectl(arguments: &[&str]) -> Done {
    kubectl_with(arguments, "")
}

/// kubectl with a manifest on standard input.
pub fn kubectl_with(arguments: &[&str], manifest: &str) -> Done {
    let mut command = Command::new(repository().join("target/dev/bin/kubectl"));
    command.args(arguments).env("KUBECONFIG", setting("KUBECONFIG").unwrap());
    run(command, manifest)
}

/// `kubectl recordings`, found by kubectl on PATH as people have it; `variables` are added to the environment.
pub fn recordings(arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Done {
    let bin = repository().join("target/dev/bin");
    let mut command = Command::new(bin.join("kubectl"));
    command.arg("recordings").args(arguments).env("KUBECONFIG", setting("KUBECONFIG").unwrap());
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    command.envs(variables.iter().copied());
    run(command, input)
}

fn run(mut command: Command, input: &str) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

/// The object as JSON, if it is there.
pub fn get(arguments: &[&str]) -> Option<Value> {
    let done = kubectl(&[&["get", "--output=json"], arguments].concat());
    done.ok.then(|| serde_json::from_slice(&done.stdout).unwrap())
}

/// Whether the tables run whole: what a short run leaves out needs more time than CI has.
pub fn is_long() -> bool {
    std::env::var("RECORDINGS_TEST_LONG").is_ok()
}

/// A command of `python3 -m dev`, with standard input: an External ID is never an argument.
pub fn dev(module: &str, arguments: &[&str], input: &str) -> Done {
    let mut command = Command::new("python3");
    command.args(["-m", module]).args(arguments).current_dir(repository());
    command.env("AWS_ENDPOINT_URL", setting("AWS_ENDPOINT_URL").unwrap());
    run(command, input)
}

/// Waits until `probe` gives something; otherwise fails and shows what `describe` says.
#[track_caller]
pub fn wait_for<T>(what: &str, describe: impl Fn() -> String, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}; last seen:\n{}", describe());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A namespace of a tenant, and the AWS account of its customer.
pub struct Tenant {
    pub namespace: String,
    pub account: String,
    pub bucket: String,
    pub external_id: String,
}

pub const ROLE: &str = "revenue-call-recording-writer";

impl Tenant {
    /// A namespace, and a customer's account with bucket, role and External ID. `name` is the test's.
    pub fn new(name: &str) -> Self {
        Self::with(name, None, &[])
    }

    /// The same with an External ID of the test's choice, and options of `customer create`.
    pub fn with(name: &str, external_id: Option<&str>, options: &[&str]) -> Self {
        let tenant = Tenant::before_set_up(name, external_id);
        let create = [&["create", "--bucket", &tenant.bucket, "--external-id", "-"], options].concat();
        tenant.customer_with(&create, &tenant.external_id).expect_ok();
        tenant
    }

    /// A namespace, and a customer's account in which there is nothing yet.
    pub fn before_set_up(name: &str, external_id: Option<&str>) -> Self {
        // Tests are processes of their own, and may make many tenants at once.
        static NEXT: LazyLock<AtomicU64> =
            LazyLock::new(|| AtomicU64::new(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_millis().into()));
        let number = u64::from(std::process::id()) * 1_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000;
        let tenant = Tenant {
            namespace: format!("{name}-{number}"),
            account: format!("{:012}", 200_000_000_000 + number),
            bucket: format!("{name}-{number}-recordings"),
            external_id: external_id.map_or_else(|| format!("{number:08x}-Test-{name}"), str::to_owned),
        };
        kubectl(&["create", "namespace", &tenant.namespace]).expect_ok();
        tenant
    }

    /// A tenant with a destination `acme` that has turned Ready.
    pub fn ready(name: &str) -> Self {
        let tenant = Tenant::new(name);
        tenant.apply_secret(&tenant.external_id);
        tenant.apply_destination("acme", json!({}));
        tenant.wait_ready("acme");
        tenant
    }

    pub fn role_arn(&self) -> String {
        format!("arn:aws:iam::{}:role/{ROLE}", self.account)
    }

    /// The customer acts in its own account.
    pub fn customer(&self, arguments: &[&str]) -> Done {
        self.customer_with(arguments, "")
    }

    /// The same, with a document or a value on standard input.
    pub fn customer_with(&self, arguments: &[&str], input: &str) -> Done {
        let (command, rest) = arguments.split_first().unwrap();
        dev("dev.aws", &[&["customer", *command, "--account", &self.account], rest].concat(), input)
    }

    /// Calls to AWS that concern this customer's role and bucket meet a fault: see dev/aws/faults.py for the kinds.
    pub fn fault(&self, kind: &str, options: &[&str]) {
        self.customer(&[&["fault", "--kind", kind], options].concat()).expect_ok();
    }

    /// AWS is itself again.
    pub fn no_fault(&self) {
        self.fault("none", &[]);
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Done {
        kubectl(&[&["--namespace", &self.namespace], arguments].concat())
    }

    pub fn apply(&self, manifest: &Value) -> Done {
        kubectl_with(&["--namespace", &self.namespace, "apply", "--filename=-"], &manifest.to_string())
    }

    pub fn apply_secret(&self, external_id: &str) {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-external-id"},
            "type": "recordings.revenue.io/external-id", "stringData": {"externalID": external_id},
        }))
        .expect_ok();
    }

    /// A destination for the customer's bucket, with `changes` merged into the spec.
    pub fn destination(&self, name: &str, changes: Value) -> Value {
        let mut spec = json!({
            "bucket": self.bucket, "region": "us-east-1", "roleARN": self.role_arn(),
            "externalIDSecretRef": {"name": "acme-external-id"},
        });
        for (field, value) in changes.as_object().unwrap() {
            spec[field] = value.clone();
        }
        json!({"apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination", "metadata": {"name": name}, "spec": spec})
    }

    pub fn apply_destination(&self, name: &str, changes: Value) {
        self.apply(&self.destination(name, changes)).expect_ok();
    }

    pub fn get(&self, arguments: &[&str]) -> Option<Value> {
        get(&[&["--namespace", &self.namespace], arguments].concat())
    }

    /// A destination's condition, at the current generation.
    pub fn condition(&self, name: &str, kind: &str) -> Option<Value> {
        let destination = self.get(&["recordingdestination", name])?;
        let conditions = destination["status"]["conditions"].as_array()?.clone();
        conditions
            .into_iter()
            .find(|c| c["type"] == kind && c["observedGeneration"] == destination["metadata"]["generation"])
    }

    pub fn describe(&self) -> String {
        self.kubectl(&["describe", "recordingdestinations,pods"]).text()
    }

    #[track_caller]
    pub fn wait_ready(&self, name: &str) {
        self.wait_reason(name, "True", "Validated");
    }

    /// Waits until Ready is `status` for `reason`.
    #[track_caller]
    pub fn wait_reason(&self, name: &str, status: &str, reason: &str) {
        let what = format!("{name} Ready={status} {reason}");
        wait_for(
            &what,
            || self.describe(),
            || self.condition(name, "Ready").filter(|c| c["status"] == status && c["reason"] == reason),
        );
    }

    /// Asks for a validation now.
    pub fn revalidate(&self, name: &str) {
        let token = format!(
            "recordings.revenue.io/revalidate={:?}",
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
        );
        self.kubectl(&["annotate", "--overwrite", "recordingdestination", name, &token]).expect_ok();
    }

    /// Keys in the customer's bucket.
    pub fn objects(&self) -> Vec<String> {
        let listed = self.customer(&["list-objects", "--bucket", &self.bucket]).expect_ok();
        listed.text().lines().map(str::to_owned).collect()
    }

    /// An object's bytes, as the customer reads them.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        let done = self.customer(&["get-object", "--bucket", &self.bucket, "--key", key]);
        done.ok.then_some(done.stdout)
    }

    /// A pod that records: a shell that keeps running, with a spool.
    pub fn recorder(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": {"recordings.revenue.io/inject": "true"},
                "annotations": {"recordings.revenue.io/destination": "acme"},
            },
            "spec": {
                "terminationGracePeriodSeconds": 30,
                "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "recorder", "image": "busybox:stable", "imagePullPolicy": "Never",
                    "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "recordings", "mountPath": "/recordings"}],
                }],
                "volumes": [{"name": "recordings", "emptyDir": {}}],
            },
        })
    }

    #[track_caller]
    pub fn start_recorder(&self, name: &str) {
        self.start(&self.recorder(name));
    }

    #[track_caller]
    pub fn start(&self, pod: &Value) {
        self.apply(pod).expect_ok();
        let name = format!("pod/{}", pod["metadata"]["name"].as_str().unwrap());
        self.kubectl(&["wait", "--for=condition=Ready", "--timeout=90s", &name]).expect_ok();
    }

    /// Starts a pod that is not gone before it is let go, however it ends.
    #[track_caller]
    pub fn start_held(&self, mut pod: Value) -> HeldPod<'_> {
        pod["metadata"]["finalizers"] = json!(["example.com/held"]);
        let held = HeldPod { tenant: self, name: pod["metadata"]["name"].as_str().unwrap().to_owned() };
        self.start(&pod);
        held
    }

    /// Runs a shell command in the recorder container.
    pub fn shell(&self, pod: &str, script: &str) -> Done {
        self.kubectl(&["exec", pod, "--container=recorder", "--", "sh", "-c", script])
    }
}

/// A pod that is kept by a finalizer after its end, until it is released.
pub struct HeldPod<'a> {
    tenant: &'a Tenant,
    name: String,
}

impl HeldPod<'_> {
    pub fn release(&self) -> Done {
        let free = r#"--patch={"metadata": {"finalizers": null}}"#;
        self.tenant.kubectl(&["patch", "pod", &self.name, "--type=merge", free])
    }
}

impl Drop for HeldPod<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.describe());
        }
        kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
        self.no_fault();
        self.customer(&["delete", "--bucket", &self.bucket]);
    }
}
